import { isSize } from '#util/bits.ts';
import { CodedError } from '#util/errors.ts';
import type { IoVectors } from './io-vectors.ts';

/**
 * LOCKED: another process uses the image. OUT_OF_RANGE: the transfer leaves the disk. READ_ONLY: the image is open for reading.
 * SHORT: the image ended early. FLUSH_FAILED: data that was written before may be lost. BAD_IMAGE: it is no disk image, or a
 * damaged one. UNSUPPORTED: the image uses what is not implemented. FULL: its format has no room for more. BAD_SIZE: the disk
 * cannot have this length.
 */
export type DiskErrorCode =
  | 'LOCKED'
  | 'OUT_OF_RANGE'
  | 'READ_ONLY'
  | 'SHORT'
  | 'FLUSH_FAILED'
  | 'BAD_IMAGE'
  | 'UNSUPPORTED'
  | 'FULL'
  | 'BAD_SIZE';

export class DiskError extends CodedError<DiskErrorCode> {
  override readonly name = 'DiskError';
}

/** A range of the disk in bytes. */
export interface DiskRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * A disk image of any format, as devices use it. Transfers are synchronous, whole, and in bytes; each throws DiskError or
 * SyscallError when it could not be done, and may then have been done in part.
 */
export interface DiskFile extends Disposable {
  readonly lengthBytes: number;
  readonly isReadOnly: boolean;
  /**
   * Makes the disk longer, with zeros, and tells its listener; the length that it has already is no change. It never becomes
   * shorter: what lies behind the new end would be lost, and the guest may still use it. Throws READ_ONLY, BAD_SIZE, FULL.
   */
  grow(lengthBytes: number): void;
  /** Called after the length has changed, by whoever changed it. One listener: the device. */
  onLengthChange: ((lengthBytes: number) => void) | undefined;
  /** The descriptors that a jailed device keeps. */
  keepFds(): readonly number[];
  /** Fills all of `target`, which is used up, from `offset`. */
  readAt(offset: number, target: IoVectors): void;
  /** Writes all of `source`, which is used up, at `offset`. */
  writeAt(offset: number, source: IoVectors): void;
  /** Returns when every write that completed before is on the medium, and throws when one of them may not be. */
  flush(): void;
  /** The range's content no longer matters: a hint, so a format that cannot free it does nothing. */
  discard(range: DiskRange): void;
  /** The range reads as zeros afterwards; with `mayUnmap` its space may be freed. */
  writeZeroes(range: DiskRange, mayUnmap: boolean): void;
}

/** The unit of a disk's length, whatever its format: VIRTIO 1.1 §5.2.4 counts in it. */
const SECTOR_BYTES = 512;

/** Throws BAD_SIZE for a length that a disk of `before` bytes cannot grow to. */
export function checkGrowth(before: number, lengthBytes: number): void {
  const problem = (message: string) => new DiskError('BAD_SIZE', message);
  if (!isSize(lengthBytes) || lengthBytes % SECTOR_BYTES !== 0)
    throw problem(`${lengthBytes} bytes: must be a multiple of ${SECTOR_BYTES}`);
  if (lengthBytes < before) throw problem(`the disk has ${before} bytes already, and cannot become smaller`);
}
