import { CodedError } from '#util/errors.ts';

/** A part of a file that the guest sees among its physical addresses, besides RAM: a memory slot, in KVM's words. */
export interface MemoryRegion {
  /** Guest-physical, of whole pages, apart from RAM and other regions. */
  readonly guestAddress: number;
  /** Whole pages. */
  readonly sizeBytes: number;
  /** It may be mapped shared, for writing too unless the region is read-only. The hypervisor keeps a duplicate. */
  readonly fd: number;
  /** Where the region begins in the file: whole pages. */
  readonly fileOffset: number;
  /** What the guest writes reaches the bus, as to a device, and the file stays as it is. */
  readonly readOnly: boolean;
}

/**
 * NO_ROOM: the hypervisor has no slot or no room for the region. BUSY: a vCPU did not let go of a region in time; the guest can no
 * longer look it up, and what it takes stays taken.
 */
export type MemoryRegionErrorCode = 'NO_ROOM' | 'BUSY';

export class MemoryRegionError extends CodedError<MemoryRegionErrorCode> {
  override readonly name = 'MemoryRegionError';
}
