import { EpollContext } from '#poll/epoll-context.ts';
import { EventFd } from '#poll/event-fd.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { IrqRouter } from '../irq-router.ts';
import { GSI_COUNT, type IrqfdKind, Irqfds, type IrqfdsDescription, irqfdToken, irqfdWords } from './irqfds.ts';

export interface SoftwareIrqRouterOptions {
  readonly vcpuCount: number;
  /** From now on the descriptor, which stays the router's, is to be signalled at each end of what the GSI's irqfds asserted. */
  readonly addResample: (gsi: number, resample: HasFd) => void;
}

/** The main thread says what each eventfd means; the vCPUs' threads wait for them by `Irqfds`. */
export class SoftwareIrqRouter implements IrqRouter {
  readonly #owned = new DisposableStack();
  readonly #epoll = this.#owned.use(new EpollContext(u64AsNumber));
  readonly #gsis = { message: new Set<number>(), level: new Set<number>(), edge: new Set<number>() };
  readonly #addResample: SoftwareIrqRouterOptions['addResample'];
  readonly #description: IrqfdsDescription;
  readonly #irqfds: Irqfds;

  constructor({ vcpuCount, addResample }: SoftwareIrqRouterOptions) {
    this.#addResample = addResample;
    const bytes = irqfdWords(vcpuCount) * Int32Array.BYTES_PER_ELEMENT;
    this.#description = {
      epollFd: this.#epoll.fd,
      words: new Int32Array(new SharedArrayBuffer(bytes)),
      wakeFds: Array.from({ length: vcpuCount }, () => this.#owned.use(EventFd.create()).fd),
    };
    this.#irqfds = new Irqfds(this.#description);
  }

  /** For `Irqfds` of other threads. */
  describe(): IrqfdsDescription {
    return this.#description;
  }

  addIrqfd(gsi: number, irqfd: Fd): void {
    const { message, level, edge } = this.#gsis;
    assert(!message.has(gsi) && !level.has(gsi) && !edge.has(gsi), 'one eventfd for a GSI');
    this.#watch(gsi, irqfd, 'message');
  }

  addEdgeIrqfd(gsi: number, irqfd: Fd): void {
    const { message, level } = this.#gsis;
    assert(!message.has(gsi) && !level.has(gsi), 'a GSI with an edge trigger');
    this.#watch(gsi, irqfd, 'edge');
  }

  addLevelIrqfd(gsi: number, irqfd: Fd, resample: Fd): void {
    assert(!this.#gsis.message.has(gsi), 'a GSI that sends no message');
    this.#owned.use(resample);
    this.#watch(gsi, irqfd, 'level');
    this.#addResample(gsi, resample);
  }

  setMsiRoute(gsi: number, address: number, data: number): void {
    this.#irqfds.setRoute(gsi, address, data);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }

  #watch(gsi: number, fd: Fd, kind: IrqfdKind): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < GSI_COUNT, 'a GSI of the routing table');
    this.#owned.use(fd);
    this.#epoll.add(fd, irqfdToken(gsi, kind), { readable: true, edgeTriggered: true });
    this.#gsis[kind].add(gsi);
  }
}
