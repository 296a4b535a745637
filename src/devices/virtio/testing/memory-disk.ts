import { DiskError, type DiskFile, type DiskRange } from '#disk/disk-file.ts';
import type { IoVectors } from '#disk/io-vectors.ts';

/** A disk in memory, which records what was asked and fails when told to. */
export class MemoryDisk implements DiskFile {
  readonly content: Uint8Array;
  readonly isReadOnly: boolean;
  readonly calls: string[] = [];
  onLengthChange: ((lengthBytes: number) => void) | undefined;
  lengthBytes: number;
  failure: Error | undefined;
  /** Calls that a device should not have made. */
  refused = 0;

  constructor(lengthBytes: number, isReadOnly = false) {
    this.content = new Uint8Array(lengthBytes);
    this.lengthBytes = lengthBytes;
    this.isReadOnly = isReadOnly;
  }

  grow(lengthBytes: number): void {
    this.#begin('grow', 0, 0);
    this.lengthBytes = lengthBytes;
    this.onLengthChange?.(lengthBytes);
  }

  keepFds(): readonly number[] {
    return [];
  }

  readAt(offset: number, target: IoVectors): void {
    this.#begin('read', offset, target.sizeBytes);
    let position = offset;
    for (let index = 0; index < target.count; index++) {
      const size = target.sizeAt(index);
      target.memory.slice(target.offsetAt(index), size).copyFrom(this.content.subarray(position, position + size));
      position += size;
    }
    target.advance(target.sizeBytes);
  }

  writeAt(offset: number, source: IoVectors): void {
    this.#begin('write', offset, source.sizeBytes);
    let position = offset;
    for (let index = 0; index < source.count; index++) {
      const size = source.sizeAt(index);
      source.memory.slice(source.offsetAt(index), size).copyTo(this.content.subarray(position, position + size));
      position += size;
    }
    source.advance(source.sizeBytes);
  }

  flush(): void {
    this.#begin('flush', 0, 0);
  }

  discard({ offset, sizeBytes }: DiskRange): void {
    this.#begin('discard', offset, sizeBytes);
    this.content.fill(0xdd, offset, offset + sizeBytes);
  }

  writeZeroes({ offset, sizeBytes }: DiskRange, mayUnmap: boolean): void {
    this.#begin(mayUnmap ? 'zero+unmap' : 'zero', offset, sizeBytes);
    this.content.fill(0, offset, offset + sizeBytes);
  }

  [Symbol.dispose](): void {
    this.calls.push('close');
    if (this.failure !== undefined) throw this.failure;
  }

  #begin(name: string, offset: number, sizeBytes: number): void {
    this.calls.push(`${name} ${offset} ${sizeBytes}`);
    if (this.failure !== undefined) throw this.failure;
    const leaves = offset + sizeBytes > this.content.length;
    if (!leaves && (!this.isReadOnly || name === 'read')) return;
    this.refused += 1;
    throw new DiskError(leaves ? 'OUT_OF_RANGE' : 'READ_ONLY', 'the device let it through');
  }
}
