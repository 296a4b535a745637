import { fstatSync } from 'node:fs';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { Advice, getSeals, madvise, PAGE_SIZE_BYTES, Seal } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isAligned, isSize } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { GuestMemoryError, hex } from './errors.ts';
import type { MappingRoom } from './mapping-room.ts';
import { type MappedViews, MemoryMapping } from './memory-mapping.ts';
import { SharedMemory } from './shared-memory.ts';
import type { VolatileMemory } from './volatile-memory.ts';
import type { VolatileSlice } from './volatile-slice.ts';

/** A range of guest-physical RAM and where it lies in the memfd. */
export interface GuestRegion {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  readonly memfdOffset: number;
}

/** What another thread needs to map the same memory; it survives a structured clone. `fd` stays the sender's. */
export interface GuestMemoryDescription {
  readonly fd: number;
  readonly regions: readonly GuestRegion[];
}

/** The highest guest-physical address is that of 52 bits, SDM vol. 3 §5.1.4. */
const MAX_GUEST_ADDRESS = 2 ** 52;

/** Positions in the mapping. */
interface Part {
  readonly start: number;
  readonly end: number;
}

/** Shared by an original and its clones: unmapped when the last of them closes. */
interface SharedMapping {
  readonly mapping: MemoryMapping;
  readonly fd: HasFd;
  /** Undefined where the descriptor belongs to someone who outlives us. */
  readonly ownedFd: Fd | undefined;
  holders: number;
}

/**
 * The guest's RAM: regions of guest-physical addresses in one sealed memfd, mapped once. An access may cross from one region
 * into another that begins where the first ends; one that is not all RAM throws GuestMemoryError (code OUT_OF_RANGE) and
 * nothing has been read or written. A slice or host address must be one piece of the memfd as well (else NOT_CONTIGUOUS).
 */
export class GuestMemory implements VolatileMemory, HasFd, Disposable {
  /** By ascending address. */
  readonly regions: readonly GuestRegion[];
  /** One past the last byte of RAM. */
  readonly endAddress: number;
  /** The size of all regions. */
  readonly sizeBytes: number;
  readonly #shared: SharedMapping;
  readonly #views: MappedViews;
  /**
   * `regions`, those joined that are one piece, while this owner is open, and then none: every access fails the one check that
   * it makes anyway.
   */
  #pieces: readonly GuestRegion[];

  private constructor(shared: SharedMapping, regions: readonly GuestRegion[]) {
    const last = regions.at(-1);
    assert(last !== undefined, 'memory has a region');
    this.#shared = shared;
    this.#views = shared.mapping.views;
    this.#pieces = joined(regions);
    this.regions = regions;
    this.endAddress = last.guestAddress + last.sizeBytes;
    this.sizeBytes = regions.reduce((sum, region) => sum + region.sizeBytes, 0);
  }

  /**
   * Zeroed memory at the given guest-physical ranges. Throws GuestMemoryError (INVALID_REGIONS) unless there is at least one
   * and they are page aligned, not empty and apart; SyscallError when the host refuses the memory.
   */
  static create(ranges: readonly { readonly start: number; readonly sizeBytes: number }[]): GuestMemory {
    let memfdOffset = 0;
    const regions = ranges
      .toSorted((a, b) => a.start - b.start)
      .map(({ start, sizeBytes }) => {
        const region = { guestAddress: start, sizeBytes, memfdOffset };
        memfdOffset += sizeBytes;
        return region;
      });
    checkRegions(regions);
    using memory = SharedMemory.create('guest-ram', memfdOffset);
    return GuestMemory.fromFd(memory.fd, regions);
  }

  /**
   * Maps memory that `create` made, as `describe` says, in another thread or process. The descriptor is duplicated and stays
   * the caller's. Throws GuestMemoryError when the memfd is not sealed against shrinking: it could vanish under an access.
   */
  static fromFd(fd: number, regions: readonly GuestRegion[]): GuestMemory {
    checkMemfd(fd, regions);
    const owned = new Fd(dup(fd));
    try {
      return GuestMemory.#map(owned, owned, regions);
    } catch (error) {
      owned.close();
      throw error;
    }
  }

  /** As `fromFd`, with a descriptor that is the caller's alone and outlives this object, and into a room if there is one that fits. */
  static borrowing(fd: number, regions: readonly GuestRegion[], room?: MappingRoom): GuestMemory {
    checkMemfd(fd, regions);
    return GuestMemory.#map({ fd }, undefined, regions, room);
  }

  static #map(fd: HasFd, ownedFd: Fd | undefined, regions: readonly GuestRegion[], room?: MappingRoom): GuestMemory {
    const mapping = MemoryMapping.fromFd({ fd: fd.fd, sizeBytes: sizeOf(regions), room });
    return new GuestMemory({ mapping, fd, ownedFd, holders: 1 }, Object.freeze([...regions]));
  }

  get isOpen(): boolean {
    return this.#pieces.length > 0;
  }

  get fd(): number {
    return this.#shared.fd.fd;
  }

  describe(): GuestMemoryDescription {
    return { fd: this.fd, regions: this.regions.map((region) => ({ ...region })) };
  }

  /** Another owner of the same mapping, closed on its own. */
  clone(): GuestMemory {
    assert(this.isOpen, 'the memory is closed');
    this.#shared.holders += 1;
    return new GuestMemory(this.#shared, this.regions);
  }

  /** True when the whole range is RAM. An empty range is contained where its address is. */
  contains(address: number, sizeBytes: number): boolean {
    return this.#find(address, sizeBytes) >= 0 || this.#split(address, sizeBytes).length > 0;
  }

  /** True when any byte of the range is RAM. */
  rangeOverlaps(address: number, sizeBytes: number): boolean {
    return this.regions.some(
      (region) => address < region.guestAddress + region.sizeBytes && region.guestAddress < address + sizeBytes,
    );
  }

  /**
   * All of the memfd in place, for those who judge a guest's addresses often: `whole` at `offsetOf`. Valid until the last owner
   * closes.
   */
  get whole(): VolatileSlice {
    return this.#shared.mapping.slice(0, this.#shared.mapping.sizeBytes);
  }

  /** Where a range lies in `whole`; -1, without an error object, when it is not one piece of RAM. */
  offsetOf(address: number, sizeBytes: number): number {
    return this.#find(address, sizeBytes);
  }

  /**
   * Gives pages back to the host, which read as zeros from then on: whole pages at `offset` in `whole`. Throws SyscallError.
   */
  discard(offset: number, sizeBytes: number): void {
    const { mapping } = this.#shared;
    assert(isSize(offset) && isSize(sizeBytes) && offset + sizeBytes <= mapping.sizeBytes, 'pages of the memory');
    madvise(mapping.address + offset, sizeBytes, Advice.REMOVE);
  }

  /** Where a range lies in this process, for system calls. */
  hostAddress(address: number, sizeBytes: number): number {
    return this.#shared.mapping.address + this.#at(address, sizeBytes);
  }

  slice(address: number, sizeBytes: number): VolatileSlice {
    return this.#shared.mapping.slice(this.#at(address, sizeBytes), sizeBytes);
  }

  readBytes(address: number, target: Uint8Array): void {
    let done = 0;
    for (const { start, end } of this.#parts(address, target.length)) {
      target.set(this.#views.bytes.subarray(start, end), done);
      done += end - start;
    }
  }

  writeBytes(address: number, source: Uint8Array): void {
    let done = 0;
    for (const { start, end } of this.#parts(address, source.length)) {
      this.#views.bytes.set(source.subarray(done, done + end - start), start);
      done += end - start;
    }
  }

  fill(address: number, sizeBytes: number, byte: number): void {
    for (const { start, end } of this.#parts(address, sizeBytes)) this.#views.bytes.fill(byte, start, end);
  }

  readU8(address: number): number {
    return this.#views.data.getUint8(this.#at(address, 1));
  }

  readU16(address: number): number {
    const at = this.#find(address, 2);
    return at >= 0 ? this.#views.data.getUint16(at, true) : this.#copyOf(address, 2).getUint16(0, true);
  }

  readU32(address: number): number {
    const at = this.#find(address, 4);
    return at >= 0 ? this.#views.data.getUint32(at, true) : this.#copyOf(address, 4).getUint32(0, true);
  }

  readU64(address: number): bigint {
    const at = this.#find(address, 8);
    return at >= 0 ? this.#views.data.getBigUint64(at, true) : this.#copyOf(address, 8).getBigUint64(0, true);
  }

  writeU8(address: number, value: number): void {
    this.#views.data.setUint8(this.#at(address, 1), value);
  }

  writeU16(address: number, value: number): void {
    const at = this.#find(address, 2);
    if (at >= 0) this.#views.data.setUint16(at, value, true);
    else this.writeBytes(address, Uint8Array.of(value, value >>> 8));
  }

  writeU32(address: number, value: number): void {
    const at = this.#find(address, 4);
    if (at >= 0) this.#views.data.setUint32(at, value, true);
    else this.writeBytes(address, Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24));
  }

  writeU64(address: number, value: bigint): void {
    const at = this.#find(address, 8);
    if (at >= 0) this.#views.data.setBigUint64(at, value, true);
    else this.writeBytes(address, new Uint8Array(BigUint64Array.of(value).buffer));
  }

  /** Unmaps when this is the last owner. */
  close(): void {
    assert(this.isOpen, 'the memory is closed twice');
    this.#pieces = [];
    this.#shared.holders -= 1;
    if (this.#shared.holders > 0) return;
    this.#shared.mapping.close();
    this.#shared.ownedFd?.close();
  }

  [Symbol.dispose](): void {
    if (this.isOpen) this.close();
  }

  /** The position in the mapping of a range that is one piece of it, or -1. */
  #find(address: number, sizeBytes: number): number {
    // NaN, fractions and infinities fail a comparison here; measured at half the time of Number.isSafeInteger.
    if (Math.trunc(address) !== address || !(sizeBytes >= 0) || Math.trunc(sizeBytes) !== sizeBytes) return -1;
    const pieces = this.#pieces;
    for (let index = 0; index < pieces.length; index++) {
      const piece = pieces[index]!;
      const offset = address - piece.guestAddress;
      if (offset >= 0 && offset < piece.sizeBytes) {
        return sizeBytes <= piece.sizeBytes - offset ? piece.memfdOffset + offset : -1;
      }
    }
    return -1;
  }

  #at(address: number, sizeBytes: number): number {
    const position = this.#find(address, sizeBytes);
    if (position >= 0) return position;
    if (this.#split(address, sizeBytes).length === 0) throw outOfRange(address, sizeBytes);
    const range = `${hex(sizeBytes)} bytes at guest address ${hex(address)}`;
    throw new GuestMemoryError('NOT_CONTIGUOUS', `${range} are RAM of regions that lie apart in the memfd`);
  }

  /** Where the bytes of a range lie in the mapping, in order. */
  #parts(address: number, sizeBytes: number): readonly Part[] {
    const start = this.#find(address, sizeBytes);
    if (start >= 0) return [{ start, end: start + sizeBytes }];
    const parts = this.#split(address, sizeBytes);
    if (parts.length === 0) throw outOfRange(address, sizeBytes);
    return parts;
  }

  /** The parts of a range that goes on from one piece into the next; none when it is not all RAM. */
  #split(address: number, sizeBytes: number): readonly Part[] {
    if (!isSize(address) || !isSize(sizeBytes)) return [];
    const parts: Part[] = [];
    let done = 0;
    for (const piece of this.#pieces) {
      const offset = address + done - piece.guestAddress;
      if (offset < 0 || offset >= piece.sizeBytes || done === sizeBytes) continue;
      const partBytes = Math.min(piece.sizeBytes - offset, sizeBytes - done);
      const start = piece.memfdOffset + offset;
      parts.push({ start, end: start + partBytes });
      done += partBytes;
    }
    return done === sizeBytes ? parts : [];
  }

  #copyOf(address: number, sizeBytes: number): DataView {
    const copy = new Uint8Array(sizeBytes);
    this.readBytes(address, copy);
    return viewOf(copy);
  }
}

/** Regions, with those made one that follow each other both in guest-physical addresses and in the memfd. */
function joined(regions: readonly GuestRegion[]): readonly GuestRegion[] {
  const pieces: GuestRegion[] = [];
  for (const region of regions) {
    const last = pieces.at(-1);
    const follows =
      last !== undefined &&
      last.guestAddress + last.sizeBytes === region.guestAddress &&
      last.memfdOffset + last.sizeBytes === region.memfdOffset;
    if (follows) pieces[pieces.length - 1] = { ...last, sizeBytes: last.sizeBytes + region.sizeBytes };
    else pieces.push(region);
  }
  return pieces;
}

function outOfRange(address: number, sizeBytes: number): GuestMemoryError {
  return new GuestMemoryError(
    'OUT_OF_RANGE',
    `${hex(sizeBytes)} bytes at guest address ${hex(address)} are not all RAM`,
  );
}

/** How much of the memfd the regions take. */
const sizeOf = (regions: readonly GuestRegion[]): number =>
  regions.reduce((end, region) => Math.max(end, region.memfdOffset + region.sizeBytes), 0);

function checkMemfd(fd: number, regions: readonly GuestRegion[]): void {
  checkRegions(regions);
  if ((getSeals(fd) & Seal.SHRINK) === 0) {
    throw new GuestMemoryError('INVALID_REGIONS', 'the memory is not sealed against shrinking');
  }
  if (fstatSync(fd).size < sizeOf(regions)) {
    throw new GuestMemoryError('INVALID_REGIONS', 'the memory ends before its regions do');
  }
}

function checkRegions(regions: readonly GuestRegion[]): void {
  const refuse = (reason: string) => new GuestMemoryError('INVALID_REGIONS', `guest memory regions: ${reason}`);
  if (regions.length === 0) throw refuse('there is none');
  let end = 0;
  let memfdEnd = 0;
  for (const { guestAddress, sizeBytes, memfdOffset } of regions) {
    const numbers = [guestAddress, sizeBytes, memfdOffset];
    if (!numbers.every(isSize)) throw refuse('an address or size is not a non-negative integer');
    if (!numbers.every((number) => isAligned(number, PAGE_SIZE_BYTES))) throw refuse('not a multiple of the page size');
    if (sizeBytes === 0) throw refuse('one is empty');
    if (guestAddress < end) throw refuse('two overlap or are not in order');
    if (memfdOffset < memfdEnd) throw refuse('two share memory');
    if (guestAddress + sizeBytes > MAX_GUEST_ADDRESS) throw refuse('one ends above 52 bits of address');
    end = guestAddress + sizeBytes;
    memfdEnd = memfdOffset + sizeBytes;
  }
}
