import { CodedError } from '#util/errors.ts';

/**
 * OUT_OF_RANGE: the access leaves the memory. MISALIGNED: an atomic access is not at a multiple of its size. READ_ONLY: the
 * access could write to memory that is mapped for reading.
 */
export type MemoryErrorCode = 'OUT_OF_RANGE' | 'MISALIGNED' | 'READ_ONLY';

/** An access that a slice or mapping refuses. Nothing has been read or written. */
export class VolatileMemoryError extends CodedError<MemoryErrorCode> {
  override readonly name = 'VolatileMemoryError';
}

/**
 * INVALID_REGIONS: memory cannot be laid out as asked. OUT_OF_RANGE: a guest-physical range is not all RAM. NOT_CONTIGUOUS: it
 * is, but of regions that lie apart in the memfd, where one piece was asked for.
 */
export class GuestMemoryError extends CodedError<MemoryErrorCode | 'INVALID_REGIONS' | 'NOT_CONTIGUOUS'> {
  override readonly name = 'GuestMemoryError';
}

/** An address, offset or size as people read it; it may be anything that a caller got from a guest. */
export function hex(value: number): string {
  return Number.isSafeInteger(value) && value >= 0 ? `0x${value.toString(16)}` : String(value);
}
