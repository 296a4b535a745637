/**
 * Ioevents of a function that come and go while the guest runs. Main sets their places in shared memory, every thread's bus looks
 * there; the eventfds stay the same. A write of the guest in the moment of a change meets the old place or the new one.
 */
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import type { IoEvent } from '../pci/pci-device.ts';

/** Words of an event. BAR holds the number of the BAR and 1, so that memory of zeros has no places. */
const WORD = { BAR: 0, OFFSET: 1, COUNT: 2 } as const;

/** Plain data, for the vCPU threads. The descriptors are the main thread's. */
export interface SharedIoeventsDescription {
  readonly words: Int32Array;
  readonly fds: readonly number[];
}

/** Main's side: `count` eventfds, which it owns, without a place. */
export class SharedIoevents implements Disposable {
  readonly #events: readonly EventFd[];
  readonly #words: Int32Array;

  constructor(count: number) {
    this.#events = Array.from({ length: count }, () => EventFd.create());
    this.#words = new Int32Array(new SharedArrayBuffer(count * WORD.COUNT * Int32Array.BYTES_PER_ELEMENT));
  }

  describe(): SharedIoeventsDescription {
    return { words: this.#words, fds: this.#events.map(({ fd }) => fd) };
  }

  /** Gives an event its place. Returns a descriptor of it, for the caller. */
  set(index: number, { bar, offset }: { readonly bar: number; readonly offset: number }): Fd {
    Atomics.store(this.#words, index * WORD.COUNT + WORD.OFFSET, offset | 0);
    Atomics.store(this.#words, index * WORD.COUNT + WORD.BAR, bar + 1);
    return new Fd(this.#events[index]!.fd).duplicate();
  }

  clear(index: number): void {
    Atomics.store(this.#words, index * WORD.COUNT + WORD.BAR, 0);
  }

  [Symbol.dispose](): void {
    for (const event of this.#events) event.close();
  }
}

/** This thread's objects. They borrow the descriptors. */
export function sharedIoeventsOf({ words, fds }: SharedIoeventsDescription): readonly IoEvent[] {
  return fds.map((fd, index) => ({
    event: EventFd.fromFd(new Fd(fd)),
    comesAndGoes: true,
    get bar(): number {
      return Atomics.load(words, index * WORD.COUNT + WORD.BAR) - 1;
    },
    get offset(): number {
      return Atomics.load(words, index * WORD.COUNT + WORD.OFFSET) >>> 0;
    },
  }));
}
