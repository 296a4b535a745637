import type { IoVectors } from '#disk/io-vectors.ts';
import type { VolatileSlice } from '#memory/volatile-slice.ts';
import type { DescriptorChain } from './descriptor-chain.ts';

/** Up to this many bytes a loop copies; above, the cost of a view of the guest's bytes no longer counts. */
const LOOP_BYTES_MAX = 64;

/** A place in a chain's buffers, and how far the reader or writer may still go from there. */
class ChainCursor {
  remaining = 0;
  /** Where the piece lies that `take` returned, in the memory. */
  at = 0;
  readonly #bytes: Uint8Array;
  #chain: DescriptorChain | undefined;
  #part = 0;
  #done = 0;

  constructor(memory: VolatileSlice) {
    this.#bytes = memory.bytes;
  }

  begin(chain: DescriptorChain, part: number, sizeBytes: number): void {
    this.#chain = chain;
    this.#part = part;
    this.#done = 0;
    this.remaining = sizeBytes;
  }

  /** Takes the next piece that lies together, up to `sizeBytes`: returns its size. */
  take(sizeBytes: number): number {
    const left = this.#chain!.sizes[this.#part]! - this.#done;
    const taken = Math.min(sizeBytes, left);
    this.at = this.#chain!.offsets[this.#part]! + this.#done;
    this.remaining -= taken;
    if (taken === left) {
      this.#part += 1;
      this.#done = 0;
    } else this.#done += taken;
    return taken;
  }

  skip(sizeBytes: number): number {
    const total = Math.min(sizeBytes, this.remaining);
    for (let done = 0; done < total; ) done += this.take(total - done);
    return total;
  }

  /** Appends the next `sizeBytes`, or as many as there are and as the list has room for, to `target`. */
  vectors(target: IoVectors, sizeBytes: number): number {
    const total = Math.min(sizeBytes, this.remaining);
    let done = 0;
    while (done < total && target.count < target.capacity) {
      const size = this.take(total - done);
      target.push(this.at, size);
      done += size;
    }
    return done;
  }

  copyOut(target: Uint8Array): number {
    const total = Math.min(target.length, this.remaining);
    const bytes = this.#bytes;
    for (let done = 0; done < total; ) {
      const size = this.take(total - done);
      const at = this.at;
      if (size <= LOOP_BYTES_MAX) for (let i = 0; i < size; i++) target[done + i] = bytes[at + i]!;
      else target.set(bytes.subarray(at, at + size), done);
      done += size;
    }
    return total;
  }

  copyIn(source: Uint8Array, sizeBytes: number, from: number): number {
    const total = Math.min(sizeBytes, this.remaining);
    const bytes = this.#bytes;
    for (let done = 0; done < total; ) {
      const size = this.take(total - done);
      const at = this.at;
      if (size <= LOOP_BYTES_MAX) for (let i = 0; i < size; i++) bytes[at + i] = source[from + done + i]!;
      else bytes.set(source.subarray(from + done, from + done + size), at);
      done += size;
    }
    return total;
  }
}

/** Reads what the driver sent: a chain's readable buffers, one after the other. */
export class ChainReader {
  readonly #cursor: ChainCursor;

  /** `memory` is that of the chains. */
  constructor(memory: VolatileSlice) {
    this.#cursor = new ChainCursor(memory);
  }

  get remaining(): number {
    return this.#cursor.remaining;
  }

  /** Goes to the beginning of `chain`. */
  begin(chain: DescriptorChain): void {
    this.#cursor.begin(chain, 0, chain.readableBytes);
  }

  /** Copies out the next bytes, `target.length` or as many as there are; returns the count. */
  read(target: Uint8Array): number {
    return this.#cursor.copyOut(target);
  }

  skip(sizeBytes: number): number {
    return this.#cursor.skip(sizeBytes);
  }

  /** Appends the next `sizeBytes` to `target`, for a transfer out of the guest; returns how many there were. */
  vectors(target: IoVectors, sizeBytes: number): number {
    return this.#cursor.vectors(target, sizeBytes);
  }
}

/** Writes the answer: a chain's writable buffers, one after the other. */
export class ChainWriter {
  readonly #cursor: ChainCursor;

  /** `memory` is that of the chains. */
  constructor(memory: VolatileSlice) {
    this.#cursor = new ChainCursor(memory);
  }

  get remaining(): number {
    return this.#cursor.remaining;
  }

  /** Goes to the first writable byte of `chain`, or past `skippedBytes` of them. */
  begin(chain: DescriptorChain, skippedBytes = 0): void {
    this.#cursor.begin(chain, chain.readableCount, chain.writableBytes);
    if (skippedBytes > 0) this.#cursor.skip(skippedBytes);
  }

  /** Copies in `sizeBytes` (all by default) of `source` from `from` on, or as many as there is room for; returns the count. */
  write(source: Uint8Array, sizeBytes: number = source.length, from = 0): number {
    return this.#cursor.copyIn(source, sizeBytes, from);
  }

  skip(sizeBytes: number): number {
    return this.#cursor.skip(sizeBytes);
  }

  /** Appends the next `sizeBytes` to `target`, for a transfer into the guest; returns how many there were. */
  vectors(target: IoVectors, sizeBytes: number): number {
    return this.#cursor.vectors(target, sizeBytes);
  }
}
