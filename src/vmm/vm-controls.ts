import type { Board } from '#arch/x86_64/board.ts';
import { RemoteError } from '#msg-socket/protocol.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { hostClock } from '#util/clock.ts';
import { CodedError } from '#util/errors.ts';
import { VmControlError, type VmStatus } from '#vm-control/vm-request.ts';
import { ControlServer } from './control-server.ts';
import type { BalloonClient } from './devices/plans/balloon.ts';
import type { DiskClient } from './devices/plans/block.ts';
import type { ControlRequests } from './run-control.ts';
import type { Suspension } from './suspension.ts';

export interface VmControlsOptions {
  /** Listens; stays the caller's. */
  readonly listener: HasFd;
  readonly board: Board;
  readonly suspension: Suspension;
  /** Where the machine has one. */
  readonly balloon: BalloonClient | undefined;
  readonly disks: readonly DiskClient[];
  /** What does not change while the machine runs. */
  readonly facts: Pick<VmStatus, 'version' | 'hypervisor' | 'cpus' | 'memoryMib'>;
}

/** What the public control socket can do with a machine. */
export class VmControls implements ControlRequests, Disposable {
  readonly #poll = new PollContext<'requests' | 'standing'>(namedTokens('requests', 'standing'));
  readonly #server: ControlServer;
  readonly #suspension: Suspension;
  #isStopping = false;

  constructor({ listener, board, facts, suspension, balloon, disks }: VmControlsOptions) {
    this.#suspension = suspension;
    const startNs = hostClock.nowNs();
    this.#server = new ControlServer({
      listener,
      clock: hostClock,
      ownerUid: process.geteuid?.() ?? 0,
      handlers: {
        status: () => ({
          ...facts,
          state: suspension.state,
          pid: process.pid,
          uptimeMs: Math.round((hostClock.nowNs() - startNs) / 1e6),
        }),
        stop: () => {
          this.#isStopping = true;
        },
        powerButton: () => board.pressPowerButton(),
        suspend: (done) => suspension.suspend(done),
        resume: () => suspension.resume(),
        balloon: (sizeBytes) => askBalloon(balloon, (device) => device.adjust({ sizeBytes })),
        diskResize: (index, sizeBytes) => resizeDisk(disks, index, sizeBytes),
        balloonStats: () => askBalloon(balloon, (device) => device.state()),
      },
    });
    this.#poll.add(this.#server.waiting, 'requests');
    this.#poll.add(suspension.waiting, 'standing');
  }

  get waiting(): HasFd {
    return this.#poll;
  }

  get timeoutMs(): number | undefined {
    return this.#suspension.timeoutMs;
  }

  turn(): boolean {
    this.#suspension.turn();
    this.#server.turn();
    return this.#isStopping;
  }

  tick(): void {
    this.#suspension.turn();
    this.#server.tidy();
  }

  [Symbol.dispose](): void {
    this.#poll.close();
    this.#server[Symbol.dispose]();
  }
}

/** Asks the balloon's process, which answers at once unless it hangs; that it ends or hangs is told elsewhere. */
function askBalloon<Answer>(balloon: BalloonClient | undefined, ask: (balloon: BalloonClient) => Answer): Answer {
  if (balloon === undefined) {
    throw new VmControlError('NO_DEVICE', 'the virtual machine has no balloon; every one with a virtio device has');
  }
  try {
    return ask(balloon);
  } catch (error) {
    if (error instanceof CodedError)
      throw new VmControlError('TOO_LATE', `the balloon does not answer: ${error.message}`);
    throw error;
  }
}

/** What a disk's process may answer with; whatever else it says is a failure of the disk. */
const DISK_CODES = ['READ_ONLY', 'BAD_SIZE'] as const;

/** The process answers when the image has its new length on the medium, which takes as long as the host's disk does. */
function resizeDisk(disks: readonly DiskClient[], index: number, sizeBytes: number): void {
  const disk = disks[index];
  if (disk === undefined) throw new VmControlError('NO_DEVICE', `the virtual machine has ${disks.length} disks`);
  try {
    disk.resize({ sizeBytes });
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    if (!(error instanceof RemoteError))
      throw new VmControlError('TOO_LATE', `the disk does not answer, and may grow later: ${error.message}`);
    const code = DISK_CODES.find((each) => each === error.code) ?? 'DISK_FAILED';
    throw new VmControlError(code, error.message);
  }
}
