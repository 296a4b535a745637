import { EpollContext } from '#poll/epoll-context.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { MsiSink } from '../irq-chip.ts';
import type { IrqRouter } from '../irq-router.ts';

interface Message {
  readonly address: number;
  readonly data: number;
}

/**
 * The main thread waits for the eventfds and sends the messages to the local APICs. It never reads them: a device that a guest has
 * taken over could make the read block. Edge-triggered, each signal shows once, and the counters may grow.
 */
export class SoftwareIrqRouter implements IrqRouter {
  readonly #sink: MsiSink;
  readonly #poll = new EpollContext(u64AsNumber);
  readonly #irqfds = new Map<number, Fd>();
  readonly #routes = new Map<number, Message>();

  constructor(sink: MsiSink) {
    this.#sink = sink;
  }

  get waiting(): HasFd {
    return this.#poll;
  }

  addIrqfd(gsi: number, irqfd: Fd): void {
    assert(!this.#irqfds.has(gsi), 'one eventfd for a GSI');
    this.#poll.add(irqfd, gsi, { readable: true, edgeTriggered: true });
    this.#irqfds.set(gsi, irqfd);
  }

  setMsiRoute(gsi: number, address: number, data: number): void {
    this.#routes.set(gsi, { address, data });
  }

  turn(): void {
    const events = this.#poll.wait(0);
    for (let index = 0; index < events.length; index++) {
      // Without a route the signal is nobody's.
      const message = this.#routes.get(events.at(index).token);
      if (message !== undefined) this.#sink.send(message.address, message.data);
    }
  }

  [Symbol.dispose](): void {
    this.#poll[Symbol.dispose]();
    for (const irqfd of this.#irqfds.values()) irqfd.close();
  }
}
