/**
 * What a device's process may ask of main about the guest's physical addresses: that memory which it has made lies there. Main
 * chooses the addresses, and answers for each device apart, so that a device can only speak of what it was given.
 */
import { fstatSync } from 'node:fs';
import type { MemoryRegion } from '#hypervisor/memory-region.ts';
import { struct } from '#msg-socket/composites.ts';
import { type Handlers, protocol, request } from '#msg-socket/protocol.ts';
import { bool, descriptor, u32, u64AsNumber, unit } from '#msg-socket/scalars.ts';
import type { Fd } from '#sys/fd.ts';
import { getSeals, MapFlag, mmap, munmap, PAGE_SIZE_BYTES, Prot, Seal } from '#sys/memory.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { isAligned, isSize } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';

export const VmMemory = protocol({
  /** A memfd, sealed in size and against further seals; the answer says where the guest has it, and by which number. */
  registerMemory: request(
    struct({ memfd: descriptor, sizeBytes: u64AsNumber, readOnly: bool }),
    struct({ guestAddress: u64AsNumber, slot: u32 }),
  ),
  /** When it is answered, the guest does not reach the memory any more. */
  unregisterMemory: request(struct({ slot: u32 }), unit),
});

/**
 * NOT_YOURS: the slot is not the device's. BAD_MEMORY: it is no memory that main could rely on. TOO_MUCH: more than the device
 * may have.
 */
export type VmMemoryErrorCode = 'NOT_YOURS' | 'BAD_MEMORY' | 'TOO_MUCH';

/** What a device may not ask for. */
export class VmMemoryError extends CodedError<VmMemoryErrorCode> {
  override readonly name = 'VmMemoryError';
}

/** How much a device may put there at a time. */
export interface MemoryGrant {
  readonly regionsMax: number;
  readonly bytesMax: number;
}

/** What the machine does for its devices. Each throws a CodedError when it cannot. */
export interface MemoryHost {
  /** Guest-physical addresses that nobody has. */
  allocate(sizeBytes: number): number;
  release(guestAddress: number, sizeBytes: number): void;
  /** The descriptor stays the caller's. Returns the slot. */
  add(region: MemoryRegion): number;
  remove(slot: number): void;
}

/** The handlers for one device. */
export function memoryHandlers(host: MemoryHost, grant: MemoryGrant): Handlers<typeof VmMemory> {
  const own = new Map<number, { readonly guestAddress: number; readonly sizeBytes: number }>();
  return {
    registerMemory: ({ memfd, sizeBytes, readOnly }) => {
      checkGrant(sizeBytes, [...own.values()], grant);
      checkMemory(memfd, sizeBytes, readOnly);
      const guestAddress = host.allocate(sizeBytes);
      let slot: number;
      try {
        slot = host.add({ guestAddress, sizeBytes, fd: memfd.fd, fileOffset: 0, readOnly });
      } catch (error) {
        host.release(guestAddress, sizeBytes);
        throw error;
      }
      memfd.close();
      own.set(slot, { guestAddress, sizeBytes });
      return { guestAddress, slot };
    },
    unregisterMemory: ({ slot }) => {
      const region = own.get(slot);
      if (region === undefined) throw new VmMemoryError('NOT_YOURS', `memory slot ${slot} is not the device's`);
      own.delete(slot);
      // What is not let go keeps its addresses.
      host.remove(slot);
      host.release(region.guestAddress, region.sizeBytes);
    },
  };
}

function checkGrant(sizeBytes: number, own: readonly { sizeBytes: number }[], { regionsMax, bytesMax }: MemoryGrant) {
  if (!isSize(sizeBytes) || sizeBytes === 0 || !isAligned(sizeBytes, PAGE_SIZE_BYTES)) {
    throw new VmMemoryError('BAD_MEMORY', `${sizeBytes} bytes are no whole pages`);
  }
  if (own.length >= regionsMax) {
    throw new VmMemoryError('TOO_MUCH', `the device has its ${regionsMax} memory regions already`);
  }
  const usedBytes = own.reduce((sum, region) => sum + region.sizeBytes, 0);
  if (usedBytes + sizeBytes > bytesMax) {
    throw new VmMemoryError('TOO_MUCH', `${sizeBytes} bytes are more than is left of the device's ${bytesMax}`);
  }
}

/** Main's threads will map it: nothing that the device does later may make that fail, or an access to it. */
function checkMemory(memfd: Fd, sizeBytes: number, readOnly: boolean): void {
  const refuse = (what: string, cause?: unknown) => new VmMemoryError('BAD_MEMORY', what, { cause });
  // As the software CPU's threads do; KVM would do with less.
  const sharing = readOnly ? MapFlag.PRIVATE : MapFlag.SHARED;
  try {
    const wanted = Seal.SHRINK | Seal.SEAL;
    if ((getSeals(memfd.fd) & wanted) !== wanted) throw refuse('the memory is not sealed');
    const { size, blksize } = fstatSync(memfd.fd);
    if (size < sizeBytes) throw refuse(`the memory has ${size} bytes, not ${sizeBytes}`);
    // The pages of hugetlbfs, which cannot be mapped at any address.
    if (blksize !== PAGE_SIZE_BYTES) throw refuse('the memory has large pages');
    munmap(mmap({ fd: memfd.fd, sizeBytes, prot: Prot.READ | Prot.WRITE, flags: sharing }), sizeBytes);
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    throw refuse(`the memory cannot be mapped: ${error.message}`, error);
  }
}
