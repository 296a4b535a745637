import { addressOf, bufferOver, detach } from '#sys/ffi.ts';
import { MapFlag, madvise, mmap, munmap, Prot } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isSize } from '#util/bits.ts';
import { hex, VolatileMemoryError } from './errors.ts';
import type { MappingRoom } from './mapping-room.ts';
import type { VolatileMemory } from './volatile-memory.ts';
import { VolatileSlice } from './volatile-slice.ts';

/** The views of one mapped range, made once. The kernel aligns them to a page, so element indices are byte offsets / size. */
export interface MappedViews {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly data: DataView<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly u32: Uint32Array<ArrayBuffer>;
}

export interface FileMappingOptions {
  readonly fd: number;
  readonly sizeBytes: number;
  /** In the file, a multiple of the page size; 0 by default. */
  readonly offset?: number;
  /** Bits of Prot, READ among them; read and write by default. */
  readonly prot?: number;
  /** Private (copy on write) instead of shared. */
  readonly copyOnWrite?: boolean;
  /** Where it comes to lie, if that is of the same size: the room is used up. */
  readonly room?: MappingRoom | undefined;
}

/**
 * Mapped memory, owned. Closing detaches every view that was handed out, so that a later access through one of them (or
 * through a slice) throws and never touches what is mapped there next.
 */
export class MemoryMapping implements VolatileMemory, Disposable {
  readonly sizeBytes: number;
  readonly isWritable: boolean;
  readonly #address: number;
  readonly #views: MappedViews;
  #open = true;

  private constructor(
    address: number,
    { sizeBytes, prot }: { readonly sizeBytes: number; readonly prot: number },
    buffer: ArrayBuffer = bufferOver(address, sizeBytes),
  ) {
    this.#address = address;
    this.sizeBytes = sizeBytes;
    this.isWritable = (prot & Prot.WRITE) !== 0;
    this.#views = {
      bytes: new Uint8Array(buffer),
      data: new DataView(buffer),
      u16: new Uint16Array(buffer, 0, Math.floor(sizeBytes / 2)),
      u32: new Uint32Array(buffer, 0, Math.floor(sizeBytes / 4)),
    };
    assert(addressOf(buffer) === address, 'a view that lies where the mapping is');
  }

  /** Maps a part of a file or memfd. Throws SyscallError. The descriptor may be closed afterwards. */
  static fromFd(options: FileMappingOptions): MemoryMapping {
    const { fd, sizeBytes, offset = 0, prot = Prot.READ | Prot.WRITE, copyOnWrite = false, room } = options;
    assert(isSize(sizeBytes) && isSize(offset), 'not a size and an offset');
    assert((prot & Prot.READ) !== 0, 'a mapping can be read');
    const flags = copyOnWrite ? MapFlag.PRIVATE : MapFlag.SHARED;
    if (room?.sizeBytes === sizeBytes) {
      const { address, buffer } = room;
      return new MemoryMapping(
        mmap({ fd, sizeBytes, offset, prot, flags: flags | MapFlag.FIXED, address }),
        { sizeBytes, prot },
        buffer,
      );
    }
    return new MemoryMapping(mmap({ fd, sizeBytes, offset, prot, flags }), { sizeBytes, prot });
  }

  /** Private zeroed memory of this process. */
  static anonymous(sizeBytes: number): MemoryMapping {
    assert(isSize(sizeBytes), 'not a size');
    const flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS;
    const prot = Prot.READ | Prot.WRITE;
    return new MemoryMapping(mmap({ sizeBytes, prot, flags }), { sizeBytes, prot });
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** Where it is mapped, for system calls that take an address. */
  get address(): number {
    assert(this.#open, 'the mapping is closed');
    return this.#address;
  }

  /** All of it. Valid until the close, which makes it empty. Throws VolatileMemoryError when it must not be written. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.checkWritable();
    return this.views.bytes;
  }

  /**
   * Throws VolatileMemoryError for a mapping that is only read: a write would end the process with SIGSEGV. An array of the
   * bytes in place could be written, so it is not handed out either.
   */
  checkWritable(): void {
    if (this.isWritable) return;
    throw new VolatileMemoryError('READ_ONLY', 'the memory is mapped for reading only: copy it out and do not write');
  }

  /** For memory classes, which check every write. */
  get views(): MappedViews {
    assert(this.#open, 'the mapping is closed');
    return this.#views;
  }

  /** Throws VolatileMemoryError when the range leaves the mapping. */
  slice(offset: number, sizeBytes: number): VolatileSlice {
    assert(this.#open, 'the mapping is closed');
    this.#check(offset, sizeBytes);
    return new VolatileSlice(this, offset, sizeBytes);
  }

  /** Tells the kernel about the use of a range, see Advice. Throws VolatileMemoryError or SyscallError. */
  advise(advice: number, offset = 0, sizeBytes: number = this.sizeBytes): void {
    this.#check(offset, sizeBytes);
    madvise(this.address + offset, sizeBytes, advice);
  }

  close(): void {
    assert(this.#open, 'the mapping is closed twice');
    this.#open = false;
    detach(this.#views.bytes.buffer);
    munmap(this.#address, this.sizeBytes);
  }

  [Symbol.dispose](): void {
    if (this.#open) this.close();
  }

  #check(offset: number, sizeBytes: number): void {
    if (isSize(offset) && isSize(sizeBytes) && offset + sizeBytes <= this.sizeBytes) return;
    throw new VolatileMemoryError(
      'OUT_OF_RANGE',
      `${hex(sizeBytes)} bytes at ${hex(offset)} lie outside of a mapping of ${hex(this.sizeBytes)} bytes`,
    );
  }
}
