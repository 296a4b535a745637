import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import type { ConsoleOutput } from '#devices/virtio/console/console-port.ts';
import type { HasFd } from '#sys/fd.ts';

/** kernel/panic.c of Linux; the line may begin with a time stamp, so that only its end is looked at. */
const WORDS = Buffer.from('Kernel panic - not syncing', 'latin1');

/** Looks for the words in a stream of bytes. */
class PanicWords {
  /** One word: how many bytes match. */
  readonly #state: Int32Array;

  constructor(state: Int32Array) {
    this.#state = state;
  }

  /** True when the byte ends them. */
  push(byte: number): boolean {
    // The first letter stands nowhere else in the words: after a mismatch a match can only begin anew.
    const matched = this.#state[0]!;
    if (byte !== WORDS[matched]) {
      this.#state[0] = byte === WORDS[0] ? 1 : 0;
      return false;
    }
    const isEnd = matched + 1 === WORDS.length;
    this.#state[0] = isEnd ? 0 : matched + 1;
    return isEnd;
  }
}

/** Passes a serial console's output on and tells when the guest's kernel says that it panics. */
export class PanicWatch implements ByteSink {
  readonly #output: ByteSink;
  readonly #onPanic: () => void;
  readonly #words: PanicWords;

  /** `state` is a word, 0 at first, that threads share which write to the same console, one at a time. */
  constructor(output: ByteSink, onPanic: () => void, state: Int32Array = new Int32Array(1)) {
    this.#output = output;
    this.#onPanic = onPanic;
    this.#words = new PanicWords(state);
  }

  write(byte: number): void {
    this.#output.write(byte);
    if (this.#words.push(byte)) this.#onPanic();
  }

  flush(): void {
    this.#output.flush?.();
  }

  get isFull(): boolean {
    return this.#output.isFull === true;
  }
}

/** The same for the output of a virtio console. It tells before the driver knows that its bytes are written. */
export class WatchedOutput implements ConsoleOutput {
  readonly source?: HasFd;
  readonly #output: ConsoleOutput;
  readonly #onPanic: () => void;
  readonly #words = new PanicWords(new Int32Array(1));

  constructor(output: ConsoleOutput, onPanic: () => void) {
    this.#output = output;
    this.#onPanic = onPanic;
    if (output.source !== undefined) this.source = output.source;
  }

  get isClosed(): boolean {
    return this.#output.isClosed;
  }

  write(bytes: Uint8Array): number {
    const count = this.#output.write(bytes);
    for (let at = 0; at < count; at++) if (this.#words.push(bytes[at]!)) this.#onPanic();
    return count;
  }

  checkPeer(): void {
    this.#output.checkPeer();
  }
}
