import type { VolatileSlice } from './volatile-slice.ts';

/**
 * Memory that others (a guest, another process) change at any time. It need not be contiguous: an address space with holes
 * hands out a slice only where the whole range is memory, and throws else.
 */
export interface VolatileMemory {
  /** A window of `sizeBytes` at `address`. Throws an error with code OUT_OF_RANGE when it is not all memory. */
  slice(address: number, sizeBytes: number): VolatileSlice;
}
