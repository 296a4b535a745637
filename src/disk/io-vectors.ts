import type { VolatileSlice } from '#memory/volatile-slice.ts';
import { addressOf } from '#sys/ffi.ts';
import { IOVEC_SIZE_BYTES } from '#sys/file.ts';
import { assert } from '#util/assert.ts';

const WORD = 2 ** 32;

/**
 * Ranges of guest memory in the order in which a transfer fills or drains them: the kernel's `struct iovec` array (uapi/
 * linux/uio.h), made once and refilled for each request. The memory is given as one slice and the ranges by their offset in it.
 */
export class IoVectors {
  /** The memory that all ranges lie in. */
  readonly memory: VolatileSlice;
  readonly capacity: number;
  readonly #offsets: Float64Array;
  readonly #sizes: Float64Array;
  readonly #encoded: DataView<ArrayBuffer>;
  readonly #address: number;
  #first = 0;
  #end = 0;
  #sizeBytes = 0;

  constructor(memory: VolatileSlice, capacity: number) {
    assert(Number.isInteger(capacity) && capacity > 0, 'room for a range');
    this.memory = memory;
    this.capacity = capacity;
    this.#offsets = new Float64Array(capacity);
    this.#sizes = new Float64Array(capacity);
    // An ArrayBuffer of its own has a stable address; a small typed array may lie in the garbage collector's heap and move.
    const buffer = new ArrayBuffer(capacity * IOVEC_SIZE_BYTES);
    this.#encoded = new DataView(buffer);
    this.#address = addressOf(buffer);
  }

  /** Ranges that are left to transfer. */
  get count(): number {
    return this.#end - this.#first;
  }

  /** Bytes that are left to transfer. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Where the kernel finds the ranges that are left. */
  get address(): number {
    return this.#address + this.#first * IOVEC_SIZE_BYTES;
  }

  clear(): void {
    this.#first = 0;
    this.#end = 0;
    this.#sizeBytes = 0;
  }

  /** Appends a range that is known to lie in the memory. */
  push(offset: number, sizeBytes: number): void {
    assert(this.#end < this.capacity, 'room for another range');
    assert(offset >= 0 && sizeBytes > 0 && offset + sizeBytes <= this.memory.sizeBytes, 'a range in the memory');
    const index = this.#end++;
    this.#sizeBytes += sizeBytes;
    this.#set(index, offset, sizeBytes);
  }

  /** The offset in the memory of one of the ranges that are left. */
  offsetAt(index: number): number {
    return this.#offsets[this.#first + index]!;
  }

  sizeAt(index: number): number {
    return this.#sizes[this.#first + index]!;
  }

  /** Takes away the first `sizeBytes`, which have been transferred. */
  advance(sizeBytes: number): void {
    assert(sizeBytes >= 0 && sizeBytes <= this.#sizeBytes, 'no more than is left');
    this.#sizeBytes -= sizeBytes;
    let left = sizeBytes;
    while (left > 0) {
      const size = this.#sizes[this.#first]!;
      if (left < size) {
        this.#set(this.#first, this.#offsets[this.#first]! + left, size - left);
        return;
      }
      left -= size;
      this.#first += 1;
    }
  }

  /** Becomes the first `sizeBytes` of `source`, which are taken away there. Both are of the same memory. */
  takeFrom(source: IoVectors, sizeBytes: number): void {
    assert(source.memory === this.memory && sizeBytes <= source.sizeBytes, 'a part of the same memory');
    this.clear();
    let left = sizeBytes;
    for (let index = 0; left > 0; index++) {
      const size = Math.min(left, source.sizeAt(index));
      this.push(source.offsetAt(index), size);
      left -= size;
    }
    source.advance(sizeBytes);
  }

  /** Fills the ranges with zeros, which uses them up. */
  fillZero(): void {
    for (let index = 0; index < this.count; index++) {
      this.memory.slice(this.offsetAt(index), this.sizeAt(index)).fill(0);
    }
    this.clear();
  }

  /** Fills the ranges from as many bytes, which uses them up. */
  fillFrom(bytes: Uint8Array): void {
    assert(bytes.length === this.#sizeBytes, 'as many bytes as there is room');
    let done = 0;
    for (let index = 0; index < this.count; index++) {
      const size = this.sizeAt(index);
      this.memory.copyFrom(bytes.subarray(done, done + size), this.offsetAt(index));
      done += size;
    }
    this.clear();
  }

  #set(index: number, offset: number, sizeBytes: number): void {
    this.#offsets[index] = offset;
    this.#sizes[index] = sizeBytes;
    const address = this.memory.address + offset;
    const at = index * IOVEC_SIZE_BYTES;
    this.#encoded.setUint32(at, address % WORD, true);
    this.#encoded.setUint32(at + 4, Math.floor(address / WORD), true);
    this.#encoded.setUint32(at + 8, sizeBytes % WORD, true);
    this.#encoded.setUint32(at + 12, Math.floor(sizeBytes / WORD), true);
  }
}
