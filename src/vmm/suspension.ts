import type { HasFd } from '#sys/fd.ts';
import { type Clock, hostClock, type PausableClock } from '#util/clock.ts';
import { VmControlError } from '#vm-control/vm-request.ts';
import type { RunState } from './run-state.ts';

/** Within this time a machine stands still, or goes on. */
export const SUSPEND_LIMIT_MS = 900;

const NS_PER_MS = 1e6;

/** For whom the machine stands still: it goes on when nobody wants that any more. */
export type Holder = 'user' | 'debugger';

export type SuspensionState = 'running' | 'suspending' | 'suspended';

export interface SuspensionOptions {
  readonly runState: RunState;
  /** An eventfd: each vCPU's thread writes it when it stands still. */
  readonly standing: HasFd & { read(): unknown };
  /** The machine's clocks. */
  readonly clock: Pick<PausableClock, 'stop' | 'go'>;
  readonly vcpuCount: number;
  /** Makes the vCPUs' threads look at the run state. */
  readonly kick: () => void;
  readonly hostClock?: Clock;
}

/** Told once that the machine stands still, or why it does not. */
export type SuspendDone = (error?: VmControlError) => void;

/** The main thread's side of a standstill. vCPUs and devices stop by themselves; the machine's clock stops when they have. */
export class Suspension {
  readonly #options: SuspensionOptions;
  readonly #hostClock: Clock;
  #state: SuspensionState = 'running';
  #untilNs = Infinity;
  #waiting: { readonly holder: Holder; readonly done: SuspendDone }[] = [];
  readonly #holders = new Set<Holder>();

  constructor(options: SuspensionOptions) {
    this.#options = options;
    this.#hostClock = options.hostClock ?? hostClock;
  }

  get state(): SuspensionState {
    return this.#state;
  }

  /** Readable when `turn` has something to do. */
  get waiting(): HasFd {
    return this.#options.standing;
  }

  /** How long the loop may wait until `turn` is needed; undefined: without end. */
  get timeoutMs(): number | undefined {
    if (this.#state !== 'suspending') return undefined;
    return Math.max(0, Math.ceil((this.#untilNs - this.#hostClock.nowNs()) / NS_PER_MS));
  }

  /** A machine that stands still already is done at once. */
  suspend(done: SuspendDone, holder: Holder = 'user'): void {
    this.#holders.add(holder);
    if (this.#state === 'suspended') {
      done();
      return;
    }
    this.#waiting.push({ holder, done });
    if (this.#state === 'suspending') return;
    const { runState, kick } = this.#options;
    this.#state = 'suspending';
    this.#untilNs = this.#hostClock.nowNs() + SUSPEND_LIMIT_MS * NS_PER_MS;
    runState.askStandstill();
    kick();
  }

  /** The machine goes on, unless another holds it; who waits for a standstill of this holder waits in vain. */
  resume(holder: Holder = 'user'): void {
    if (!this.#holders.delete(holder)) return;
    const own = this.#waiting.filter((each) => each.holder === holder);
    this.#waiting = this.#waiting.filter((each) => each.holder !== holder);
    if (this.#holders.size === 0 && this.#state !== 'running') {
      const { clock, runState } = this.#options;
      clock.go();
      this.#state = 'running';
      runState.askRun();
    }
    for (const { done } of own) done(new VmControlError('WRONG_STATE', 'the virtual machine was resumed'));
  }

  /** Notes who stands still, and gives up what takes too long. */
  turn(): void {
    const { standing, runState, vcpuCount, clock } = this.#options;
    standing.read();
    if (this.#state !== 'suspending') return;
    if (runState.standing === vcpuCount) {
      clock.stop();
      this.#state = 'suspended';
      this.#settle();
    } else if (this.#hostClock.nowNs() >= this.#untilNs) {
      this.#state = 'running';
      this.#holders.clear();
      runState.askRun();
      const message = `the virtual machine did not stand still within ${SUSPEND_LIMIT_MS} ms; it goes on`;
      this.#settle(new VmControlError('TOO_LATE', message));
    }
  }

  #settle(error?: VmControlError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { done } of waiting) done(error);
  }
}
