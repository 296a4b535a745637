import { Fd, type HasFd } from '#sys/fd.ts';
import { addSeals, ftruncate, memfdCreate, Seal } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isSize } from '#util/bits.ts';
import { MemoryMapping } from './memory-mapping.ts';

/**
 * Memory with a descriptor, for several processes. It is sealed against shrinking, growing and further seals, so that no
 * holder of the descriptor can make the accesses of another fault.
 */
export class SharedMemory implements HasFd, Disposable {
  readonly sizeBytes: number;
  readonly #fd: Fd;

  private constructor(fd: Fd, sizeBytes: number) {
    this.#fd = fd;
    this.sizeBytes = sizeBytes;
  }

  /** `sizeBytes` of zeros; `name` is only shown in /proc. Throws SyscallError. */
  static create(name: string, sizeBytes: number): SharedMemory {
    assert(isSize(sizeBytes), 'not a size');
    const fd = new Fd(memfdCreate(name));
    try {
      ftruncate(fd.fd, sizeBytes);
      addSeals(fd.fd, Seal.SHRINK | Seal.GROW | Seal.SEAL);
    } catch (error) {
      fd.close();
      throw error;
    }
    return new SharedMemory(fd, sizeBytes);
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** Maps all of it for reading and writing. The mapping outlives this object. */
  map(): MemoryMapping {
    return MemoryMapping.fromFd({ fd: this.fd, sizeBytes: this.sizeBytes });
  }

  /** Gives the descriptor to the caller, who closes it. */
  release(): number {
    return this.#fd.release();
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}
