import { addressOf } from '#sys/ffi.ts';
import { MapFlag, mmap, PAGE_SIZE_BYTES, Prot } from '#sys/memory.ts';
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
  const address = addressOf(target.buffer);
  for (const { guestAddress, sizeBytes, memfdOffset } of memory.regions) {
    const at = address + offset + guestAddress;
    const mapped = mmap({
      address: at,
      sizeBytes,
      prot: Prot.READ | Prot.WRITE,
      flags: MapFlag.SHARED | MapFlag.FIXED,
      fd: memory.fd,
      offset: memfdOffset,
    });
    assert(mapped === at, 'a fixed mapping is where it was asked for');
  }
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
