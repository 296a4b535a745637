import type { ByteSink } from '#devices/legacy/byte-sink.ts';

/** kernel/panic.c of Linux; the line may begin with a time stamp, so that only its end is looked at. */
const WORDS = Buffer.from('Kernel panic - not syncing', 'latin1');

/** Passes a console's output on and tells when the guest's kernel says that it panics. */
export class PanicWatch implements ByteSink {
  readonly #output: ByteSink;
  readonly #onPanic: () => void;
  #matched = 0;

  constructor(output: ByteSink, onPanic: () => void) {
    this.#output = output;
    this.#onPanic = onPanic;
  }

  write(byte: number): void {
    this.#output.write(byte);
    // The first letter stands nowhere else in the words: after a mismatch a match can only begin anew.
    if (byte !== WORDS[this.#matched]) this.#matched = byte === WORDS[0] ? 1 : 0;
    else if (++this.#matched === WORDS.length) {
      this.#matched = 0;
      this.#onPanic();
    }
  }

  flush(): void {
    this.#output.flush?.();
  }
}
