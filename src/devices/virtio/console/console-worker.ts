import type { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { KiB } from '#util/bits.ts';
import type { ActiveQueues } from '../device.ts';
import type { Interrupt } from '../interrupt.ts';
import type { ChainReader } from '../queue/chain-cursor.ts';
import type { DescriptorChain } from '../queue/descriptor-chain.ts';
import { EventWorker, QueueServer, type RequestHandler, type Worker } from '../worker.ts';
import { ConsoleQueue } from './constants.ts';

/** What is typed. Its descriptor can be polled (no regular file) and does not block. */
export interface ConsoleInput extends HasFd {
  /** The next bytes: their count, 0 at the end, undefined when there are none now. */
  read(target: Uint8Array): number | undefined;
}

/** Where the output goes. */
export interface ConsoleOutput {
  /** Takes all of `bytes`, which are valid during the call. */
  write(bytes: Uint8Array): void;
}

export interface ConsoleEnds {
  readonly input?: ConsoleInput | undefined;
  readonly output: ConsoleOutput;
}

/** Bytes that are moved at a time. */
const PIECE_BYTES = 4 * KiB;

const tokens = namedTokens('receive', 'transmit', 'input');
type Token = 'receive' | 'transmit' | 'input';

/** Passes on what the driver transmits. */
class Transmission implements RequestHandler {
  readonly #output: ConsoleOutput;
  readonly #piece = new Uint8Array(PIECE_BYTES);

  constructor(output: ConsoleOutput) {
    this.#output = output;
  }

  handle(_chain: DescriptorChain, reader: ChainReader): number {
    while (reader.remaining > 0) {
      const count = reader.read(this.#piece);
      this.#output.write(this.#piece.subarray(0, count));
    }
    return 0;
  }
}

/** Input goes into the driver's buffers. While there are none the input is not looked at, so that it waits where it is. */
class Reception {
  readonly #server: QueueServer;
  readonly #input: ConsoleInput;
  readonly #worker: EventWorker<Token>;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #isWatched = false;
  #hasEnded = false;

  constructor(server: QueueServer, input: ConsoleInput, worker: EventWorker<Token>) {
    this.#server = server;
    this.#input = input;
    this.#worker = worker;
  }

  /** New buffers. */
  onKick(): void {
    this.#server.takeKick();
    this.#watch(!this.#hasEnded);
  }

  onInput(): void {
    for (let left = this.#server.queue.size; left > 0 && this.#fillNext(); left--);
    this.#server.signal();
  }

  /** False when there are no buffers or no input. */
  #fillNext(): boolean {
    const { queue, writer, chain } = this.#server;
    if (!this.#server.next()) {
      this.#watch(false);
      return false;
    }
    const room = Math.min(writer.remaining, PIECE_BYTES);
    const count = room === 0 ? 0 : this.#input.read(room === PIECE_BYTES ? this.#piece : this.#piece.subarray(0, room));
    if (room > 0 && !count) {
      queue.undoPop();
      if (count === 0) this.#end();
      return false;
    }
    queue.addUsed(chain.head, writer.write(this.#piece, count));
    return true;
  }

  #end(): void {
    this.#hasEnded = true;
    this.#watch(false);
  }

  #watch(wanted: boolean): void {
    if (wanted === this.#isWatched) return;
    this.#isWatched = wanted;
    if (wanted) this.#worker.add(this.#input, 'input');
    else this.#worker.remove(this.#input);
  }
}

export interface ConsoleWorkerOptions {
  readonly interrupt: Interrupt;
  readonly queues: ActiveQueues;
  readonly queueEvents: readonly EventFd[];
}

/** The work of a console: throws SyscallError when the host refuses it. */
export function createConsoleWorker(
  { input, output }: ConsoleEnds,
  { interrupt, queues, queueEvents }: ConsoleWorkerOptions,
): Worker {
  const server = (index: number): QueueServer | undefined => {
    const queue = queues[index];
    const event = queueEvents[index];
    assert(event !== undefined, 'an event for every queue');
    return queue && new QueueServer({ queue, event, interrupt });
  };
  const receive = server(ConsoleQueue.RECEIVE);
  const transmit = server(ConsoleQueue.TRANSMIT);
  const transmission = new Transmission(output);
  let reception: Reception | undefined;
  const sources: [HasFd, Token][] = [];
  if (transmit) sources.push([transmit.event, 'transmit']);
  if (receive && input) sources.push([receive.event, 'receive']);
  const worker = new EventWorker<Token>(tokens, sources, (token) => {
    if (token === 'transmit') transmit?.serve(transmission);
    else if (token === 'receive') reception?.onKick();
    else reception?.onInput();
  });
  if (receive && input) {
    reception = new Reception(receive, input, worker);
    // Buffers may have been there before the first kick was waited for.
    receive.event.write();
  }
  return worker;
}
