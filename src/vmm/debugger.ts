import type { DebugTarget, InsertResult, TargetStop, ThreadAction } from '#gdb/debug-target.ts';
import { type Breakpoint, type DebugFeatures, type DebugState, isOfCode, noDebugState } from '#hypervisor/debug.ts';
import { walkPages } from '#hypervisor/page-walk.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { BREAKPOINTS_MAX, type DebugChannel } from './debug-channel.ts';
import type { RunState } from './run-state.ts';
import type { Suspension } from './suspension.ts';

export interface DebuggerOptions {
  readonly channel: DebugChannel;
  readonly runState: RunState;
  readonly suspension: Suspension;
  readonly memory: GuestMemory;
  readonly features: DebugFeatures;
  readonly vcpuCount: number;
  /** The machine stands still for the debugger. */
  readonly onStopped: (stop: TargetStop) => void;
}

const INT3 = 0xcc;
const ADDRESSES = 1n << 64n;

/** An INT3 in guest memory, and what was there. */
interface Patch {
  readonly physical: number;
  readonly original: number;
}

interface Placed {
  readonly breakpoint: Breakpoint;
  /** Of a breakpoint that is an INT3: its guest-physical address. */
  readonly physical: number | undefined;
}

/** The main thread's side of debugging: the machine's standstills, its vCPUs' registers by way of their threads, its memory, its breakpoints. */
export class Debugger implements DebugTarget {
  readonly threadCount: number;
  readonly #options: DebuggerOptions;
  readonly #states = new Map<number, DebugState>();
  #placed: readonly Placed[] = [];
  /** In place while the machine runs. */
  #patches: readonly Patch[] = [];
  #isStanding = false;
  #isStopping = false;
  #isReleasing = false;
  /** The vCPUs whose stops have been told of since they last ran. */
  #told: ReadonlySet<number> = new Set();
  /** The vCPU that the next stop is told of where none has stopped by itself. */
  #currentThread = 0;

  constructor(options: DebuggerOptions) {
    this.#options = options;
    this.threadCount = options.vcpuCount;
  }

  get isStanding(): boolean {
    return this.#isStanding;
  }

  /** Has the machine stand still. `onStopped` is called when it does, perhaps at once. */
  stop(): void {
    this.#isReleasing = false;
    this.#halt();
  }

  #halt(): void {
    if (this.#isStanding || this.#isStopping) return;
    this.#isStopping = true;
    this.#options.suspension.suspend((error) => {
      this.#isStopping = false;
      // A device that takes long has let all go on: once more, as long as it takes.
      if (error?.code === 'TOO_LATE') this.#halt();
      else if (error === undefined) this.#standing();
    }, 'debugger');
  }

  /** A vCPU has stopped by itself. */
  vcpuStopped(): void {
    if (this.#stopped() !== undefined) this.#halt();
  }

  /** The machine goes on without a debugger. */
  release(): void {
    this.#placed = [];
    if (this.#isStanding) this.#goOn(this.#all('run'));
    else {
      // Those that hold still, and the breakpoints, are let go from a standstill.
      this.#isReleasing = true;
      this.#halt();
    }
  }

  registers(thread: number): DebugState {
    const known = this.#states.get(thread);
    if (known !== undefined) return known;
    const { channel } = this.#options;
    const state = channel.read(thread, this.#ring) ?? noDebugState();
    this.#states.set(thread, state);
    return state;
  }

  setRegisters(thread: number, state: DebugState): boolean {
    this.#states.delete(thread);
    return this.#options.channel.write(thread, state, this.#ring);
  }

  readMemory(thread: number, address: bigint, sizeBytes: number): Uint8Array {
    const bytes = new Uint8Array(sizeBytes);
    let done = 0;
    for (const { physical, count } of this.#pieces(thread, address, sizeBytes)) {
      this.#options.memory.readBytes(physical, bytes.subarray(done, done + count));
      done += count;
    }
    return bytes.subarray(0, done);
  }

  writeMemory(thread: number, address: bigint, data: Uint8Array): boolean {
    const pieces = [...this.#pieces(thread, address, data.length)];
    if (pieces.reduce((sum, { count }) => sum + count, 0) < data.length) return false;
    let done = 0;
    for (const { physical, count } of pieces) {
      this.#options.memory.writeBytes(physical, data.subarray(done, done + count));
      done += count;
    }
    return true;
  }

  insert(thread: number, breakpoint: Breakpoint): InsertResult {
    if (this.#placed.some((each) => isSame(each.breakpoint, breakpoint))) return 'done';
    const { features } = this.#options;
    const { kind } = breakpoint;
    const isSoftware = kind === 'software';
    if (!isOfCode(breakpoint) && !features.canWatch(breakpoint)) return 'refused';
    const hardware = this.#placed.filter((each) => each.breakpoint.kind !== 'software').length;
    if (!isSoftware && hardware === features.hardwareMax) return 'no-room';
    if (this.#placed.length === BREAKPOINTS_MAX) return 'no-room';
    let physical: number | undefined;
    if (isSoftware && features.needsInt3) {
      physical = this.#pieces(thread, breakpoint.address, 1).next().value?.physical;
      if (physical === undefined) return 'refused';
    }
    this.#placed = [...this.#placed, { breakpoint, physical }];
    return 'done';
  }

  remove(breakpoint: Breakpoint): void {
    this.#placed = this.#placed.filter((each) => !isSame(each.breakpoint, breakpoint));
  }

  resume(actions: readonly ThreadAction[]): void {
    // One that met its data while another stopped has not been told of: what it met would be forgotten.
    const kept = this.#untold(actions);
    if (kept !== undefined) {
      this.#options.onStopped(kept);
      return;
    }
    this.#currentThread = Math.max(0, actions.indexOf('step'));
    this.#goOn(actions);
  }

  interrupt(): void {
    this.stop();
  }

  readonly #ring = (): void => this.#options.runState.ring();

  #standing(): void {
    this.#isStanding = true;
    this.#unpatch();
    this.#states.clear();
    if (this.#isReleasing) {
      this.#isReleasing = false;
      this.#goOn(this.#all('run'));
      return;
    }
    const stopped = this.#stopped();
    this.#told = new Set(stopped === undefined ? [] : [stopped.thread]);
    this.#options.onStopped(stopped ?? { thread: this.#currentThread, stop: { cause: 'interrupt' } });
  }

  #untold(actions: readonly ThreadAction[]): TargetStop | undefined {
    for (const [thread, action] of actions.entries()) {
      const stop = this.#options.channel.stopOf(thread);
      if (action === 'stay' || stop === undefined || this.#told.has(thread)) continue;
      // At a breakpoint of code it stops again.
      if (stop.cause === 'step' || isOfCode({ kind: stop.cause })) continue;
      this.#told = new Set([...this.#told, thread]);
      return { thread, stop };
    }
    return undefined;
  }

  /** The first vCPU that has stopped by itself; one that has only stepped comes after others. */
  #stopped(): TargetStop | undefined {
    let step: TargetStop | undefined;
    for (let thread = 0; thread < this.threadCount; thread++) {
      const stop = this.#options.channel.stopOf(thread);
      if (stop === undefined) continue;
      if (stop.cause !== 'step') return { thread, stop };
      step ??= { thread, stop };
    }
    return step;
  }

  #goOn(actions: readonly ThreadAction[]): void {
    const { channel, suspension } = this.#options;
    channel.set(
      actions,
      this.#placed.map(({ breakpoint }) => breakpoint),
    );
    this.#patch();
    this.#states.clear();
    this.#isStanding = false;
    suspension.resume('debugger');
  }

  #all(action: ThreadAction): ThreadAction[] {
    return Array.from({ length: this.threadCount }, () => action);
  }

  #patch(): void {
    const { memory } = this.#options;
    this.#patches = this.#placed.flatMap(({ physical }) => {
      if (physical === undefined || !memory.contains(physical, 1)) return [];
      const original = memory.readU8(physical);
      memory.writeU8(physical, INT3);
      return [{ physical, original }];
    });
  }

  /** In the other order, for two may be at one place. What the guest has written there meanwhile stays. */
  #unpatch(): void {
    const { memory } = this.#options;
    for (const { physical, original } of this.#patches.toReversed()) {
      if (memory.readU8(physical) === INT3) memory.writeU8(physical, original);
    }
    this.#patches = [];
  }

  /** What of a linear range is RAM, page by page, up to the first byte that is none. */
  *#pieces(thread: number, address: bigint, sizeBytes: number): Generator<{ physical: number; count: number }> {
    const { memory } = this.#options;
    const state = this.registers(thread);
    for (let done = 0; done < sizeBytes; ) {
      const linear = address + BigInt(done);
      if (linear >= ADDRESSES) return;
      const physical = walkPages(state, memory, linear);
      if (physical === undefined) return;
      const count = Math.min(sizeBytes - done, PAGE_SIZE_BYTES - (physical % PAGE_SIZE_BYTES));
      if (!memory.contains(physical, count)) return;
      yield { physical, count };
      done += count;
    }
  }
}

const isSame = (one: Breakpoint, other: Breakpoint): boolean =>
  one.kind === other.kind && one.address === other.address && one.sizeBytes === other.sizeBytes;
