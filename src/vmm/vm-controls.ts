import type { Board } from '#arch/x86_64/board.ts';
import type { HasFd } from '#sys/fd.ts';
import { hostClock } from '#util/clock.ts';
import type { VmStatus } from '#vm-control/vm-request.ts';
import { ControlServer } from './control-server.ts';
import type { ControlRequests } from './run-control.ts';

export interface VmControlsOptions {
  /** Listens; stays the caller's. */
  readonly listener: HasFd;
  readonly board: Board;
  /** What does not change while the machine runs. */
  readonly facts: Pick<VmStatus, 'version' | 'hypervisor' | 'cpus' | 'memoryMib'>;
}

/** What the public control socket can do with a machine. */
export class VmControls implements ControlRequests, Disposable {
  readonly #server: ControlServer;
  #isStopping = false;

  constructor({ listener, board, facts }: VmControlsOptions) {
    const startNs = hostClock.nowNs();
    this.#server = new ControlServer({
      listener,
      clock: hostClock,
      ownerUid: process.geteuid?.() ?? 0,
      handlers: {
        status: () => ({
          ...facts,
          state: 'running',
          pid: process.pid,
          uptimeMs: Math.round((hostClock.nowNs() - startNs) / 1e6),
        }),
        stop: () => {
          this.#isStopping = true;
        },
        powerButton: () => board.pressPowerButton(),
      },
    });
  }

  get waiting(): HasFd {
    return this.#server.waiting;
  }

  turn(): boolean {
    this.#server.turn();
    return this.#isStopping;
  }

  tick(): void {
    this.#server.tidy();
  }

  [Symbol.dispose](): void {
    this.#server[Symbol.dispose]();
  }
}
