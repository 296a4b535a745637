import { KiB } from '#util/bits.ts';
import type { QueueServer } from '../worker.ts';
import type { ConsoleOutput } from './console-port.ts';

/** Bytes that are moved at a time; PIPE_BUF of Linux, so that a pipe takes them whole or not at all. */
const PIECE_BYTES = 4096;
/** What one turn writes at most: one chain may have gigabytes. */
const TURN_BYTES = 256 * KiB;

export interface PortOutputOptions {
  readonly server: QueueServer;
  readonly output: ConsoleOutput;
  /** Whether room in the output is to be waited for; called when that changes. */
  readonly onWatch: (wanted: boolean) => void;
}

/**
 * Passes on what the driver transmits. A chain goes back when all of it is written: where the output has no room, chain and
 * place are kept until it has, and the process does other things.
 */
export class PortOutput {
  readonly #options: PortOutputOptions;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  /** Of the piece: what is not written yet. */
  #start = 0;
  #end = 0;
  #isInChain = false;
  #isBlocked = false;

  constructor(options: PortOutputOptions) {
    this.#options = options;
  }

  onKick(): void {
    this.#options.server.takeKick();
    if (!this.#isBlocked) this.#run();
  }

  /** The output may have room again. */
  onRoom(): void {
    if (!this.#isBlocked) return;
    this.#setBlocked(false);
    this.#run();
  }

  #run(): void {
    const { server } = this.#options;
    let chainsLeft = server.queue.size;
    let bytesLeft = TURN_BYTES;
    for (;;) {
      if (!this.#isInChain) {
        if (chainsLeft === 0 || bytesLeft <= 0) {
          server.event.write();
          break;
        }
        if (!server.next()) break;
        this.#isInChain = true;
        chainsLeft -= 1;
      }
      bytesLeft = this.#writeChain(bytesLeft);
      if (this.#isBlocked) break;
      if (this.#isInChain) {
        server.event.write();
        break;
      }
    }
    server.signal();
  }

  /** Goes on with the chain; `#isInChain` says whether some of it is left. Returns how many bytes the turn still has. */
  #writeChain(budgetBytes: number): number {
    const { queue, chain, reader } = this.#options.server;
    let left = budgetBytes;
    for (;;) {
      if (this.#start === this.#end) {
        if (reader.remaining === 0) break;
        if (left <= 0) return left;
        this.#start = 0;
        this.#end = reader.read(this.#piece);
      }
      const count = this.#options.output.write(this.#piece.subarray(this.#start, this.#end));
      this.#start += count;
      left -= count;
      if (this.#start < this.#end) {
        this.#setBlocked(true);
        return left;
      }
    }
    this.#isInChain = false;
    queue.addUsed(chain.head, 0);
    return left;
  }

  #setBlocked(isBlocked: boolean): void {
    this.#isBlocked = isBlocked;
    this.#options.onWatch(isBlocked);
  }
}
