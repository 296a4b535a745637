import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import type { ConsoleOutput } from '#devices/virtio/console/console-port.ts';
import type { HasFd } from '#sys/fd.ts';

/** kernel/panic.c of Linux; the line may begin with a time stamp, so that only its end is looked at. */
const WORDS = Buffer.from('Kernel panic - not syncing', 'latin1');

/** Looks for the words in a stream of bytes. */
class PanicWords {
  #matched = 0;

  /** True when the byte ends them. */
  push(byte: number): boolean {
    // The first letter stands nowhere else in the words: after a mismatch a match can only begin anew.
    if (byte !== WORDS[this.#matched]) this.#matched = byte === WORDS[0] ? 1 : 0;
    else if (++this.#matched === WORDS.length) {
      this.#matched = 0;
      return true;
    }
    return false;
  }
}

/** Passes a serial console's output on and tells when the guest's kernel says that it panics. */
export class PanicWatch implements ByteSink {
  readonly #output: ByteSink;
  readonly #onPanic: () => void;
  readonly #words = new PanicWords();

  constructor(output: ByteSink, onPanic: () => void) {
    this.#output = output;
    this.#onPanic = onPanic;
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
  readonly #words = new PanicWords();

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
