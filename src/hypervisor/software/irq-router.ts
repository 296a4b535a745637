import { EpollContext } from '#poll/epoll-context.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { MsiSink } from '../irq-chip.ts';
import type { IrqRouter } from '../irq-router.ts';

/** What the router passes interrupts on to. */
export interface IrqSink extends MsiSink {
  /** Both as SoftwareIrqChip has them. */
  assertUntilEnd(gsi: number): void;
  pulse(gsi: number): void;
  /** From now on the descriptor, which stays the router's, is signalled at each end of what `assertUntilEnd` asserted. */
  addResample(gsi: number, resample: HasFd): void;
}

interface Message {
  readonly address: number;
  readonly data: number;
}

interface Irqfd {
  readonly gsi: number;
  readonly kind: 'message' | 'level' | 'edge';
}

/**
 * The main thread waits for the eventfds and passes the interrupts on to the chips. It never reads them: a device that a guest has
 * taken over could make the read block. Edge-triggered, each signal shows once, and the counters may grow.
 */
export class SoftwareIrqRouter implements IrqRouter {
  readonly #sink: IrqSink;
  readonly #poll = new EpollContext(u64AsNumber);
  /** The token of an eventfd is its place here. */
  readonly #irqfds: Irqfd[] = [];
  readonly #routes = new Map<number, Message>();
  readonly #owned = new DisposableStack();

  constructor(sink: IrqSink) {
    this.#sink = sink;
  }

  get waiting(): HasFd {
    return this.#poll;
  }

  addIrqfd(gsi: number, irqfd: Fd): void {
    assert(!this.#irqfds.some((each) => each.gsi === gsi), 'one eventfd for a GSI');
    this.#watch(irqfd, { gsi, kind: 'message' });
  }

  addEdgeIrqfd(gsi: number, irqfd: Fd): void {
    assert(!this.#irqfds.some((each) => each.gsi === gsi && each.kind !== 'edge'), 'a GSI with an edge trigger');
    this.#watch(irqfd, { gsi, kind: 'edge' });
  }

  addLevelIrqfd(gsi: number, irqfd: Fd, resample: Fd): void {
    assert(!this.#irqfds.some((each) => each.gsi === gsi && each.kind === 'message'), 'a GSI that sends no message');
    this.#owned.use(resample);
    this.#watch(irqfd, { gsi, kind: 'level' });
    this.#sink.addResample(gsi, resample);
  }

  setMsiRoute(gsi: number, address: number, data: number): void {
    this.#routes.set(gsi, { address, data });
  }

  turn(): void {
    const events = this.#poll.wait(0);
    for (let index = 0; index < events.length; index++) {
      this.#pass(this.#irqfds[events.at(index).token]!);
    }
  }

  [Symbol.dispose](): void {
    this.#poll[Symbol.dispose]();
    this.#owned.dispose();
  }

  #pass({ gsi, kind }: Irqfd): void {
    if (kind === 'level') this.#sink.assertUntilEnd(gsi);
    else if (kind === 'edge') this.#sink.pulse(gsi);
    else {
      // Without a route the signal is nobody's.
      const message = this.#routes.get(gsi);
      if (message !== undefined) this.#sink.send(message.address, message.data);
    }
  }

  #watch(fd: Fd, irqfd: Irqfd): void {
    this.#owned.use(fd);
    this.#poll.add(fd, this.#irqfds.length, { readable: true, edgeTriggered: true });
    this.#irqfds.push(irqfd);
  }
}
