import { pread, pwrite, tryRead, tryWrite } from '#sys/file.ts';
import { hex, type MemoryErrorCode, VolatileMemoryError } from './errors.ts';
import type { MappedViews, MemoryMapping } from './memory-mapping.ts';
import type { VolatileMemory } from './volatile-memory.ts';

/**
 * A window of mapped memory that others may change at any time: read what matters once, then judge the copy. Offsets are
 * relative to the window; an access that leaves it, or writes to a mapping that is only read, throws VolatileMemoryError before
 * it touches anything. After the mapping is closed every access throws.
 */
export class VolatileSlice implements VolatileMemory {
  readonly sizeBytes: number;
  readonly #mapping: MemoryMapping;
  readonly #views: MappedViews;
  readonly #start: number;

  /** For memory classes, which have checked that the range lies in the mapping. */
  constructor(mapping: MemoryMapping, start: number, sizeBytes: number) {
    this.#mapping = mapping;
    this.#views = mapping.views;
    this.#start = start;
    this.sizeBytes = sizeBytes;
  }

  /** Where the window lies in this process, for system calls that take an address. */
  get address(): number {
    return this.#mapping.address + this.#start;
  }

  /** The bytes in place; empty once the mapping is closed. Throws when they must not be written: see copyTo. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#mapping.checkWritable();
    return this.#views.bytes.subarray(this.#start, this.#start + this.sizeBytes);
  }

  /** A window in this window. */
  slice(offset: number, sizeBytes: number = this.sizeBytes - offset): VolatileSlice {
    return new VolatileSlice(this.#mapping, this.#at(offset, sizeBytes), sizeBytes);
  }

  readU8(offset: number): number {
    return this.#views.data.getUint8(this.#at(offset, 1));
  }

  readU16(offset: number): number {
    return this.#views.data.getUint16(this.#at(offset, 2), true);
  }

  readU32(offset: number): number {
    return this.#views.data.getUint32(this.#at(offset, 4), true);
  }

  readU64(offset: number): bigint {
    return this.#views.data.getBigUint64(this.#at(offset, 8), true);
  }

  writeU8(offset: number, value: number): void {
    this.#views.data.setUint8(this.#atWritable(offset, 1), value);
  }

  writeU16(offset: number, value: number): void {
    this.#views.data.setUint16(this.#atWritable(offset, 2), value, true);
  }

  writeU32(offset: number, value: number): void {
    this.#views.data.setUint32(this.#atWritable(offset, 4), value, true);
  }

  writeU64(offset: number, value: bigint): void {
    this.#views.data.setBigUint64(this.#atWritable(offset, 8), value, true);
  }

  /** Sequentially consistent accesses for ring indices and flags. `offset` must be aligned to the size in memory. */
  loadU16(offset: number): number {
    return Atomics.load(this.#views.u16, this.#aligned(offset, 2));
  }

  loadU32(offset: number): number {
    return Atomics.load(this.#views.u32, this.#aligned(offset, 4));
  }

  storeU16(offset: number, value: number): void {
    this.#mapping.checkWritable();
    Atomics.store(this.#views.u16, this.#aligned(offset, 2), value);
  }

  storeU32(offset: number, value: number): void {
    this.#mapping.checkWritable();
    Atomics.store(this.#views.u32, this.#aligned(offset, 4), value);
  }

  /** Copies `target.length` bytes at `offset` out. */
  copyTo(target: Uint8Array, offset = 0): void {
    const start = this.#at(offset, target.length);
    target.set(this.#views.bytes.subarray(start, start + target.length));
  }

  /** Copies all of `source` in at `offset`. */
  copyFrom(source: Uint8Array, offset = 0): void {
    this.#views.bytes.set(source, this.#atWritable(offset, source.length));
  }

  /** Copies this whole window to the beginning of `target`; the two may overlap. */
  copyToSlice(target: VolatileSlice): void {
    target.copyFrom(this.#views.bytes.subarray(this.#start, this.#start + this.sizeBytes));
  }

  fill(byte: number): void {
    this.#mapping.checkWritable();
    this.#views.bytes.fill(byte, this.#start, this.#start + this.sizeBytes);
  }

  /**
   * One read(2) from `fd` straight into this memory. Returns the count, 0 at the end of the file, undefined when a
   * non-blocking descriptor has nothing. Throws SyscallError.
   */
  readFrom(fd: number): number | undefined {
    this.#mapping.checkWritable();
    return tryRead(fd, this.address, this.sizeBytes);
  }

  /** One write(2) of this memory to `fd`. Returns the count, undefined when a non-blocking descriptor is full. */
  writeTo(fd: number): number | undefined {
    return tryWrite(fd, this.address, this.sizeBytes);
  }

  /** Reads the file at `fileOffset` until this window is full or the file ends. Returns the count. Throws SyscallError. */
  readFromAt(fd: number, fileOffset: number): number {
    this.#mapping.checkWritable();
    let done = 0;
    while (done < this.sizeBytes) {
      const options = { offset: fileOffset + done, sizeBytes: this.sizeBytes - done };
      const count = pread(fd, this.address + done, options);
      if (count === 0) break;
      done += count;
    }
    return done;
  }

  /** Writes all of this window to the file at `fileOffset`. Throws SyscallError. */
  writeToAt(fd: number, fileOffset: number): void {
    let done = 0;
    while (done < this.sizeBytes) {
      const options = { offset: fileOffset + done, sizeBytes: this.sizeBytes - done };
      done += pwrite(fd, this.address + done, options);
    }
  }

  /** The position in the mapping of an access, once it is known to lie in this window. */
  #at(offset: number, sizeBytes: number): number {
    const fits = offset >= 0 && sizeBytes >= 0 && sizeBytes <= this.sizeBytes - offset;
    if (!fits || Math.trunc(offset) !== offset || Math.trunc(sizeBytes) !== sizeBytes) {
      throw this.#error('OUT_OF_RANGE', offset, sizeBytes);
    }
    return this.#start + offset;
  }

  #atWritable(offset: number, sizeBytes: number): number {
    this.#mapping.checkWritable();
    return this.#at(offset, sizeBytes);
  }

  /** The element index in the mapping of an aligned access. */
  #aligned(offset: number, sizeBytes: number): number {
    const position = this.#at(offset, sizeBytes);
    if (position % sizeBytes !== 0) throw this.#error('MISALIGNED', offset, sizeBytes);
    return position / sizeBytes;
  }

  #error(code: MemoryErrorCode, offset: number, sizeBytes: number): VolatileMemoryError {
    const reason = code === 'MISALIGNED' ? 'is not aligned' : 'lies outside';
    const message = `access of ${hex(sizeBytes)} bytes at ${hex(offset)} ${reason} in a slice of ${hex(this.sizeBytes)} bytes`;
    return new VolatileMemoryError(code, message);
  }
}
