import { assert } from '#util/assert.ts';
import { alignUp, isPowerOfTwo, isSize } from '#util/bits.ts';
import { ResourceError } from './resource-error.ts';

/** Numbers `start` to `start + sizeBytes - 1`: addresses or ports. */
export interface Range {
  readonly start: number;
  readonly sizeBytes: number;
}

interface Allocation extends Range {
  /** Who has it, for messages. */
  readonly tag: string;
}

export interface AllocationRequest {
  readonly sizeBytes: number;
  /** A power of two; 1 by default. */
  readonly alignment?: number;
  readonly tag: string;
}

/** Hands out parts of one range, lowest first. */
export class AddressAllocator {
  readonly #name: string;
  readonly #range: Range;
  /** Sorted by start, apart. */
  readonly #allocations: Allocation[] = [];

  /** `name` is what messages call the resource, for example `low MMIO`. */
  constructor(name: string, range: Range) {
    assert(isSize(range.start) && isSize(range.sizeBytes) && isSize(range.start + range.sizeBytes), 'a range');
    this.#name = name;
    this.#range = range;
  }

  /** The lowest free range of that size and alignment. Throws ResourceError: EXHAUSTED, BAD_REQUEST for no size. */
  allocate({ sizeBytes, alignment = 1, tag }: AllocationRequest): Range {
    this.#checkSize(sizeBytes, tag);
    assert(isPowerOfTwo(alignment), 'a power of two');
    let start = alignUp(this.#range.start, alignment);
    let index = 0;
    for (; index < this.#allocations.length; index++) {
      const next = this.#allocations[index] as Allocation;
      if (start + sizeBytes <= next.start) break;
      start = Math.max(start, alignUp(next.start + next.sizeBytes, alignment));
    }
    if (start + sizeBytes > this.#end) {
      const asked = `${hex(sizeBytes)} aligned to ${hex(alignment)}`;
      const left = `${hex(this.freeBytes)} of ${hex(this.#range.sizeBytes)} are free`;
      throw new ResourceError('EXHAUSTED', `${this.#name} is exhausted: ${tag} asks for ${asked}; ${left}`);
    }
    const allocation = { start, sizeBytes, tag };
    this.#allocations.splice(index, 0, allocation);
    return { start, sizeBytes };
  }

  /** Takes a range that is wanted at its place. Throws ResourceError: TAKEN with its owner, BAD_REQUEST outside the range. */
  reserve(range: Range, tag: string): void {
    this.#checkSize(range.sizeBytes, tag);
    if (!isSize(range.start) || range.start < this.#range.start || range.start + range.sizeBytes > this.#end) {
      throw new ResourceError(
        'BAD_REQUEST',
        `${this.#name}: ${tag} asks for ${text(range)}, outside ${text(this.#range)}`,
      );
    }
    const end = range.start + range.sizeBytes;
    const index = this.#allocations.findIndex((other) => other.start + other.sizeBytes > range.start);
    const other = this.#allocations[index];
    if (other !== undefined && other.start < end) {
      throw new ResourceError(
        'TAKEN',
        `${this.#name}: ${tag} asks for ${text(range)}; ${text(other)} is ${other.tag}'s`,
      );
    }
    this.#allocations.splice(index < 0 ? this.#allocations.length : index, 0, { ...range, tag });
  }

  /** Gives back what `allocate` or `reserve` gave. */
  release(range: Range): void {
    const index = this.#allocations.findIndex(
      (other) => other.start === range.start && other.sizeBytes === range.sizeBytes,
    );
    assert(index >= 0, `${this.#name}: ${text(range)} was not handed out`);
    this.#allocations.splice(index, 1);
  }

  /** Who has the address; undefined when nobody. */
  ownerOf(address: number): string | undefined {
    return this.#allocations.find((other) => address >= other.start && address < other.start + other.sizeBytes)?.tag;
  }

  get freeBytes(): number {
    return this.#allocations.reduce((free, { sizeBytes }) => free - sizeBytes, this.#range.sizeBytes);
  }

  get #end(): number {
    return this.#range.start + this.#range.sizeBytes;
  }

  #checkSize(sizeBytes: number, tag: string): void {
    if (isSize(sizeBytes) && sizeBytes > 0) return;
    throw new ResourceError('BAD_REQUEST', `${this.#name}: ${tag} asks for ${sizeBytes} bytes`);
  }
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function text({ start, sizeBytes }: Range): string {
  return `${hex(start)}..${hex(start + sizeBytes - 1)}`;
}
