import { EpollContext } from '#poll/epoll-context.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { MsiSink } from '../irq-chip.ts';
import type { IrqRouter } from '../irq-router.ts';

/** What the router passes interrupts on to. */
export interface IrqSink extends MsiSink {
  /** As SoftwareIrqChip has it. */
  assertUntilEnd(gsi: number): void;
  /** From now on the descriptor, which stays the router's, is signalled at each end of what `assertUntilEnd` asserted. */
  addResample(gsi: number, resample: HasFd): void;
}

interface Message {
  readonly address: number;
  readonly data: number;
}

interface Irqfd {
  readonly gsi: number;
  readonly isLevel: boolean;
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
    this.#watch(irqfd, { gsi, isLevel: false });
  }

  addLevelIrqfd(gsi: number, irqfd: Fd, resample: Fd): void {
    assert(!this.#irqfds.some((each) => each.gsi === gsi && !each.isLevel), 'a GSI that sends no message');
    this.#owned.use(resample);
    this.#watch(irqfd, { gsi, isLevel: true });
    this.#sink.addResample(gsi, resample);
  }

  setMsiRoute(gsi: number, address: number, data: number): void {
    this.#routes.set(gsi, { address, data });
  }

  turn(): void {
    const events = this.#poll.wait(0);
    for (let index = 0; index < events.length; index++) {
      const { gsi, isLevel } = this.#irqfds[events.at(index).token]!;
      if (isLevel) {
        this.#sink.assertUntilEnd(gsi);
        continue;
      }
      // Without a route the signal is nobody's.
      const message = this.#routes.get(gsi);
      if (message !== undefined) this.#sink.send(message.address, message.data);
    }
  }

  [Symbol.dispose](): void {
    this.#poll[Symbol.dispose]();
    this.#owned.dispose();
  }

  #watch(fd: Fd, irqfd: Irqfd): void {
    this.#owned.use(fd);
    this.#poll.add(fd, this.#irqfds.length, { readable: true, edgeTriggered: true });
    this.#irqfds.push(irqfd);
  }
}
