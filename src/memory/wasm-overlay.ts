import { addressOf } from '#sys/ffi.ts';
import { MapFlag, type MmapOptions, mmap, PAGE_SIZE_BYTES, Prot } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isAligned, isSize } from '#util/bits.ts';
import type { GuestMemory } from './guest-memory.ts';

/**
 * Maps the guest's RAM over a part of a WebAssembly memory, so that generated code, device processes and every vCPU thread
 * reach the same bytes. Guest-physical address 0 is at `offset`; the overlay lives as long as the WebAssembly memory, whose
 * maximum must be its size: the engine may move one that grows, and would leave the overlay behind. Throws SyscallError.
 */
export function overlayGuestMemory(target: WebAssembly.Memory, offset: number, memory: GuestMemory): void {
  assert(isSize(offset) && isAligned(offset, PAGE_SIZE_BYTES), 'an overlay starts at a page');
  assert(offset + memory.endAddress <= target.buffer.byteLength, 'the overlay fits into the WebAssembly memory');
  assert(!canGrow(target), 'the WebAssembly memory that is overlaid cannot grow');
  for (const { guestAddress, sizeBytes, memfdOffset } of memory.regions) {
    mapOver(target, offset + guestAddress, { sizeBytes, flags: MapFlag.SHARED, fd: memory.fd, offset: memfdOffset });
  }
}

/** A part of a file to be seen in a WebAssembly memory. */
export interface FileOverlay {
  readonly fd: number;
  /** Whole pages. */
  readonly fileOffset: number;
  readonly sizeBytes: number;
  /** A write in spite of that would reach a copy of this process's own, never the file. */
  readonly isReadOnly: boolean;
}

/** Maps a part of a file over a part of a WebAssembly memory, as `overlayGuestMemory` does. Throws SyscallError. */
export function overlayFile(target: WebAssembly.Memory, offset: number, overlay: FileOverlay): void {
  const { fd, fileOffset, sizeBytes, isReadOnly } = overlay;
  const kind = isReadOnly ? MapFlag.PRIVATE : MapFlag.SHARED;
  mapOver(target, offset, { sizeBytes, flags: kind, fd, offset: fileOffset });
}

/** Puts zeros of the memory's own where an overlay was. */
export function removeOverlay(target: WebAssembly.Memory, offset: number, sizeBytes: number): void {
  mapOver(target, offset, { sizeBytes, flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE });
}

type Over = Pick<MmapOptions, 'sizeBytes' | 'flags' | 'fd' | 'offset'>;

function mapOver(target: WebAssembly.Memory, offset: number, mapping: Over): void {
  const { sizeBytes } = mapping;
  assert(
    [offset, sizeBytes].every((each) => isSize(each) && isAligned(each, PAGE_SIZE_BYTES)),
    'whole pages',
  );
  assert(offset + sizeBytes <= target.buffer.byteLength, 'the overlay fits into the WebAssembly memory');
  const at = addressOf(target.buffer) + offset;
  const prot = Prot.READ | Prot.WRITE;
  const mapped = mmap({ ...mapping, address: at, prot, flags: mapping.flags | MapFlag.FIXED });
  assert(mapped === at, 'a fixed mapping is where it was asked for');
}

/** A memory does not tell its maximum; one that can grow has grown by a page after this. */
function canGrow(memory: WebAssembly.Memory): boolean {
  try {
    memory.grow(1);
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
