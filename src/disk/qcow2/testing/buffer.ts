import { MemoryMapping } from '#memory/memory-mapping.ts';
import type { DiskFile } from '../../disk-file.ts';
import { IoVectors } from '../../io-vectors.ts';

/** Memory as a device's, through which tests read and write a disk in several ranges. */
export class RequestBuffer implements Disposable {
  readonly #mapping: MemoryMapping;
  readonly #vectors: IoVectors;

  constructor(sizeBytes: number) {
    this.#mapping = MemoryMapping.anonymous(sizeBytes);
    this.#vectors = new IoVectors(this.#mapping.slice(0, sizeBytes), 32);
  }

  read(disk: DiskFile, offset: number, sizeBytes: number): Uint8Array {
    this.#mapping.slice(0, sizeBytes).fill(0xee);
    disk.readAt(offset, this.#ranges(sizeBytes));
    const bytes = new Uint8Array(sizeBytes);
    this.#mapping.slice(0, sizeBytes).copyTo(bytes);
    return bytes;
  }

  write(disk: DiskFile, offset: number, bytes: Uint8Array): void {
    this.#mapping.slice(0, bytes.length).copyFrom(bytes);
    disk.writeAt(offset, this.#ranges(bytes.length));
  }

  [Symbol.dispose](): void {
    this.#mapping.close();
  }

  /** Unequal ranges, so that they end where no cluster does. */
  #ranges(sizeBytes: number): IoVectors {
    this.#vectors.clear();
    for (let at = 0, size = 100; at < sizeBytes; size = size * 2 + 13) {
      const part = Math.min(size, sizeBytes - at);
      this.#vectors.push(at, part);
      at += part;
    }
    return this.#vectors;
  }
}
