import { addressOf } from '#sys/ffi.ts';
import { MapFlag, mmap, PAGE_SIZE_BYTES, Prot } from '#sys/memory.ts';
import { assert } from '#util/assert.ts';
import { isAligned, isSize } from '#util/bits.ts';
import type { GuestMemory } from './guest-memory.ts';

/**
 * Maps the guest's RAM over a part of a WebAssembly memory, so that generated code, device processes and every vCPU thread
 * reach the same bytes. Guest-physical address 0 is at `offset`; the overlay lives as long as the WebAssembly memory, which
 * must never grow (its maximum is its size). Throws SyscallError.
 */
export function overlayGuestMemory(target: ArrayBuffer, offset: number, memory: GuestMemory): void {
  assert(isSize(offset) && isAligned(offset, PAGE_SIZE_BYTES), 'an overlay starts at a page');
  assert(offset + memory.endAddress <= target.byteLength, 'the overlay fits into the WebAssembly memory');
  const address = addressOf(target);
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
