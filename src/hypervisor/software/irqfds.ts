import { PollEvents } from '#poll/epoll-context.ts';
import { EventFd } from '#poll/event-fd.ts';
import { EpollEvent, epollWait, PollFlag, PollSet } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import { u64AsNumber, viewOf } from '#util/struct.ts';
import type { MsiSink } from '../irq-chip.ts';
import type { LocalApic } from './local-apic.ts';

/** What interrupts are passed on to. */
export interface IrqSink extends MsiSink {
  /** Both as SoftwareIrqChip has them. */
  assertUntilEnd(gsi: number): void;
  pulse(gsi: number): void;
}

/** As many as KVM's routing table has, the chips' pins among them. */
export const GSI_COUNT = 4096;

/** Words that the threads share: a lock of the routes, the routes, then a word for each vCPU that says whether it sleeps. */
const WORD = { MUTEX: 0, ROUTES: 1, SLEEPS: 1 + 2 * GSI_COUNT } as const;
/** Words of a route. Messages to addresses from 4 GiB on are no interrupts: their route is as none. */
const ROUTE = { ADDRESS: 0, DATA: 1, WORDS: 2 } as const;
const ADDRESS_END = 2 ** 32;

/** Eventfds that are looked at at once; epoll hands out the rest the next time. */
const EVENTS_MAX = 64;

/** Plain data, for the vCPUs' threads. The descriptors are the main thread's. */
export interface IrqfdsDescription {
  /** An epoll of the eventfds, edge-triggered, with the tokens of `irqfdToken`. */
  readonly epollFd: number;
  readonly words: Int32Array;
  /** An eventfd for each vCPU, which ends its sleep. */
  readonly wakeFds: readonly number[];
}

export const irqfdWords = (vcpuCount: number): number => WORD.SLEEPS + vcpuCount;

/** What a signal does: sends the GSI's message, asserts its pin until the end of the service, or pulses it. */
const IRQFD_KINDS = ['message', 'level', 'edge'] as const;
export type IrqfdKind = (typeof IRQFD_KINDS)[number];

export const irqfdToken = (gsi: number, kind: IrqfdKind): number =>
  gsi * IRQFD_KINDS.length + IRQFD_KINDS.indexOf(kind);

/**
 * Eventfds that are interrupts, as one thread sees them. The vCPUs' threads pass the interrupts on themselves: between slices of
 * instructions they look, and while the guest halts they wait, with nobody's hands in between. The eventfds are never read: a
 * device that a guest has taken over could make the read block. Edge-triggered, each signal shows once, to one of the threads,
 * and the counters may grow.
 */
export class Irqfds {
  readonly #epollFd: number;
  readonly #words: Int32Array;
  readonly #mutex: SharedMutex;
  readonly #wakes: readonly EventFd[];
  readonly #buffer = new Uint8Array(EVENTS_MAX * EpollEvent.size);
  readonly #events = new PollEvents(viewOf(this.#buffer), u64AsNumber);
  /** By vCPU, made when it first sleeps. */
  readonly #polls: (PollSet | undefined)[] = [];

  constructor({ epollFd, words, wakeFds }: IrqfdsDescription) {
    this.#epollFd = epollFd;
    this.#words = words;
    this.#mutex = new SharedMutex(words, WORD.MUTEX);
    this.#wakes = wakeFds.map((fd) => EventFd.fromFd(new Fd(fd)));
  }

  /** From now on the GSI sends this message. */
  setRoute(gsi: number, address: number, data: number): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < GSI_COUNT, 'a GSI of the routing table');
    const at = WORD.ROUTES + gsi * ROUTE.WORDS;
    this.#mutex.lock();
    this.#words[at + ROUTE.ADDRESS] = address < ADDRESS_END ? address : 0;
    this.#words[at + ROUTE.DATA] = data;
    this.#mutex.unlock();
  }

  /** Passes on the interrupts that wait. */
  turn(sink: IrqSink): void {
    const events = this.#events.fill(epollWait(this.#epollFd, this.#buffer, 0));
    for (let index = 0; index < events.length; index++) {
      const { token } = events.at(index);
      const gsi = Math.floor(token / IRQFD_KINDS.length);
      const kind = IRQFD_KINDS[token % IRQFD_KINDS.length];
      if (kind === 'level') sink.assertUntilEnd(gsi);
      else if (kind === 'edge') sink.pulse(gsi);
      else this.#send(gsi, sink);
    }
  }

  /**
   * The processor's sleep, on its thread: until a bit of `mask` is pending or one is posted, an interrupt waits for `turn`, or the time is
   * over. May end early. The bits are looked at once the processor counts as sleeping: who posts one later finds that out and wakes it.
   */
  sleep(processor: Pick<LocalApic, 'id' | 'pending'>, mask: number, timeoutNs: number): void {
    const { id } = processor;
    const at = WORD.SLEEPS + id;
    this.#polls[id] ??= this.#pollOf(id);
    const poll = this.#polls[id]!;
    Atomics.store(this.#words, at, 1);
    if ((processor.pending() & mask) === 0 && poll.wait(timeoutNs) && poll.isReady(0)) this.#wakes[id]!.clear();
    Atomics.store(this.#words, at, 0);
  }

  /** Ends a vCPU's sleep. From any thread, once what it is to see can be seen. */
  wake(vcpuIndex: number): void {
    if (Atomics.compareExchange(this.#words, WORD.SLEEPS + vcpuIndex, 1, 0) === 1) this.#wakes[vcpuIndex]!.write();
  }

  #pollOf(vcpuIndex: number): PollSet {
    return new PollSet([this.#wakes[vcpuIndex]!.fd, this.#epollFd], PollFlag.IN);
  }

  #send(gsi: number, sink: IrqSink): void {
    const at = WORD.ROUTES + gsi * ROUTE.WORDS;
    this.#mutex.lock();
    const address = this.#words[at + ROUTE.ADDRESS]! >>> 0;
    const data = this.#words[at + ROUTE.DATA]! >>> 0;
    this.#mutex.unlock();
    // Without a route the signal is nobody's.
    if (address !== 0) sink.send(address, data);
  }
}
