/** What one chunk of keyboard input means. */
export interface Filtered {
  /** The bytes for the guest: a view that is valid until the next call. */
  readonly bytes: Uint8Array;
  /** The user asked to leave; what came after the request in the same chunk is dropped. */
  readonly leave: boolean;
}

const CTRL_A = 0x01;
const LOWER_X = 0x78;
const UPPER_X = 0x58;

/**
 * Takes the escape sequences out of a terminal's input: Ctrl-A x leaves, Ctrl-A Ctrl-A is one Ctrl-A for the guest, and
 * Ctrl-A with anything else goes to the guest as it is. A sequence may be split over chunks; input that ends after a lone
 * Ctrl-A is waiting for its second byte. `capacityBytes` is the largest chunk that `push` takes.
 */
export class EscapeFilter {
  readonly #output: Uint8Array;
  #escaped = false;

  constructor(capacityBytes: number) {
    this.#output = new Uint8Array(capacityBytes + 1);
  }

  /** True after a Ctrl-A whose second byte has not come yet. */
  get pending(): boolean {
    return this.#escaped;
  }

  /** Throws RangeError when the chunk is larger than the filter's capacity. */
  push(chunk: Uint8Array): Filtered {
    if (chunk.length >= this.#output.length) throw new RangeError('chunk larger than the filter');
    let length = 0;
    for (const byte of chunk) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else this.#output[length++] = byte;
        continue;
      }
      this.#escaped = false;
      if (byte === LOWER_X || byte === UPPER_X) return { bytes: this.#output.subarray(0, length), leave: true };
      this.#output[length++] = CTRL_A;
      if (byte !== CTRL_A) this.#output[length++] = byte;
    }
    return { bytes: this.#output.subarray(0, length), leave: false };
  }
}
