import type { QueueServer } from '../worker.ts';
import type { ConsoleInput } from './console-port.ts';

/** Bytes that are moved at a time. */
const PIECE_BYTES = 4096;

export interface PortInputOptions {
  readonly server: QueueServer;
  readonly input: ConsoleInput;
  /** Whether the input is to be waited for; called when that changes. */
  readonly onWatch: (wanted: boolean) => void;
  /** The input has come to its end. */
  readonly onEnd: () => void;
}

/**
 * Input goes into the driver's buffers. While there are none, or nobody in the guest has the port open, the input is not looked
 * at, so that it waits where it is.
 */
export class PortInput {
  readonly #options: PortInputOptions;
  readonly #piece = new Uint8Array(PIECE_BYTES);
  #isOpen = false;
  #hasBuffers = true;
  #hasEnded = false;
  #isWatched = false;

  constructor(options: PortInputOptions) {
    this.#options = options;
  }

  /** The driver takes input, or drops what comes. */
  set isOpen(isOpen: boolean) {
    this.#isOpen = isOpen;
    this.#update();
  }

  /** New buffers. */
  onKick(): void {
    this.#options.server.takeKick();
    this.#hasBuffers = true;
    this.#update();
  }

  /** As many buffers as the queue holds: the rest waits for the next turn. */
  onInput(): void {
    const { server } = this.#options;
    if (!this.#isWatched) return;
    for (let left = server.queue.size; left > 0 && this.#fillNext(); left--);
    server.signal();
    this.#update();
  }

  /** False when there are no buffers or no input. */
  #fillNext(): boolean {
    const { server, input, onEnd } = this.#options;
    if (!server.next()) {
      this.#hasBuffers = false;
      return false;
    }
    const { queue, writer, chain } = server;
    const room = Math.min(writer.remaining, PIECE_BYTES);
    const count = room === 0 ? 0 : input.read(room === PIECE_BYTES ? this.#piece : this.#piece.subarray(0, room));
    if (room > 0 && !count) {
      queue.undoPop();
      if (count === 0) {
        this.#hasEnded = true;
        onEnd();
      }
      return false;
    }
    queue.addUsed(chain.head, writer.write(this.#piece, count));
    return true;
  }

  #update(): void {
    const wanted = this.#isOpen && this.#hasBuffers && !this.#hasEnded;
    if (wanted === this.#isWatched) return;
    this.#isWatched = wanted;
    this.#options.onWatch(wanted);
  }
}
