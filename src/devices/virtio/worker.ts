import type { EventFd } from '#poll/event-fd.ts';
import { PollContext, type Watch } from '#poll/poll-context.ts';
import type { TokenType } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { MiB } from '#util/bits.ts';
import { type Clock, hostClock } from '#util/clock.ts';
import type { Interrupt } from './interrupt.ts';
import { ChainReader, ChainWriter } from './queue/chain-cursor.ts';
import type { DescriptorChain } from './queue/descriptor-chain.ts';
import type { Queue } from './queue/queue.ts';
import { QUEUE_FAULTS, type QueueFault } from './queue/queue-fault.ts';

/**
 * The work of an active device: a descriptor that is readable while there is some, and `turn`, which does it. A process with
 * nothing else to wait for calls `turn()` for ever; one with more adds the worker to its own PollContext and calls `turn(0)`.
 */
export interface Worker extends HasFd, Disposable {
  /** Handles what waits. Waits for it at most `timeoutMs`, without end when absent. */
  turn(timeoutMs?: number): void;
}

/** Where the transport puts workers: the loop of the device's process. */
export interface WorkerHost {
  add(worker: Worker): void;
  /** Before the worker is closed. */
  remove(worker: Worker): void;
}

/** A worker over one PollContext: each source has a token, and `handle` gets the token of what is readable. */
export class EventWorker<Token> implements Worker {
  readonly #poll: PollContext<Token>;
  readonly #handle: (token: Token) => void;

  /** Throws SyscallError. The sources stay the caller's and outlive the worker. */
  constructor(tokens: TokenType<Token>, sources: Iterable<readonly [HasFd, Token]>, handle: (token: Token) => void) {
    this.#handle = handle;
    this.#poll = new PollContext(tokens);
    try {
      for (const [source, token] of sources) this.#poll.add(source, token);
    } catch (error) {
      this.#poll.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#poll.fd;
  }

  turn(timeoutMs?: number): void {
    const events = this.#poll.wait(timeoutMs);
    for (let index = 0; index < events.length; index++) this.#handle(events.at(index).token);
  }

  /** Waits for a further source. Throws SyscallError. */
  add(source: HasFd, token: Token, watch?: Watch): void {
    this.#poll.add(source, token, watch);
  }

  /** Waits for something else of a source. */
  modify(source: HasFd, token: Token, watch: Watch): void {
    this.#poll.modify(source, token, watch);
  }

  /** Stops waiting for a source. */
  remove(source: HasFd): void {
    this.#poll.remove(source);
  }

  [Symbol.dispose](): void {
    this.#poll[Symbol.dispose]();
  }
}

/** Answers one request. `reader` and `writer` are at its beginning; all three are refilled for the next. */
export interface RequestHandler {
  /** Returns how many bytes it wrote from the first writable one on, or a fault that stops the queue. */
  handle(chain: DescriptorChain, reader: ChainReader, writer: ChainWriter): number | QueueFault;
}

/** A turn ends after this time: the bus is answered between turns, and a device that does not answer for seconds is taken for dead. */
const TURN_NS = 50e6;
/** The clock is looked at after so many requests, and after each large one. */
const REQUESTS_PER_LOOK = 8;
const LARGE_BYTES = MiB;

export interface QueueServerOptions {
  readonly queue: Queue;
  readonly event: EventFd;
  readonly interrupt: Interrupt;
  /** The host's by default. */
  readonly clock?: Pick<Clock, 'nowNs'>;
}

/** A queue with what serving it needs, made once. */
export class QueueServer {
  readonly queue: Queue;
  readonly event: EventFd;
  readonly chain: DescriptorChain;
  readonly reader: ChainReader;
  readonly writer: ChainWriter;
  readonly #interrupt: Interrupt;
  readonly #clock: Pick<Clock, 'nowNs'>;
  #faultReported = false;

  constructor({ queue, event, interrupt, clock = hostClock }: QueueServerOptions) {
    this.queue = queue;
    this.event = event;
    this.#interrupt = interrupt;
    this.#clock = clock;
    this.chain = queue.createChain();
    this.reader = new ChainReader(this.chain.memory);
    this.writer = new ChainWriter(this.chain.memory);
  }

  /** Takes the driver's kicks. */
  takeKick(): void {
    this.event.clear();
  }

  /** Takes the next chain and goes to its beginning; false when there is none. */
  next(): boolean {
    if (!this.queue.pop(this.chain)) {
      this.#reportFault();
      return false;
    }
    this.reader.begin(this.chain);
    this.writer.begin(this.chain);
    return true;
  }

  /** Stops the queue at the chain that was taken last, and says so. */
  fail(fault: QueueFault): void {
    this.queue.fail(fault);
    this.#reportFault();
  }

  /** Tells the driver of what was given back, if it wants to know. */
  signal(): void {
    if (this.queue.needsInterrupt()) this.#interrupt.signalUsedQueue(this.queue.vector);
  }

  /**
   * Answers requests until there are none, or as many as the queue holds or a turn has time for: a driver that adds them without
   * end, or asks for what takes long, must not keep the process from its other work, so the rest waits for the next turn.
   */
  serve(handler: RequestHandler): void {
    this.takeKick();
    const { queue, chain } = this;
    const endNs = this.#clock.nowNs() + TURN_NS;
    let left = queue.size;
    while (this.next()) {
      const answer = handler.handle(chain, this.reader, this.writer);
      if (typeof answer !== 'number') {
        this.fail(answer);
        break;
      }
      queue.addUsed(chain.head, answer);
      left -= 1;
      if (left === 0 || this.#isLate(left, endNs)) {
        this.event.write();
        break;
      }
    }
    this.signal();
  }

  #isLate(left: number, endNs: number): boolean {
    const isLarge = this.chain.readableBytes + this.chain.writableBytes >= LARGE_BYTES;
    return (isLarge || left % REQUESTS_PER_LOOK === 0) && this.#clock.nowNs() >= endNs;
  }

  #reportFault(): void {
    const { fault } = this.queue;
    if (fault === undefined || this.#faultReported) return;
    this.#faultReported = true;
    this.#interrupt.signalNeedsReset(`${fault}: ${QUEUE_FAULTS[fault]}`);
  }
}
