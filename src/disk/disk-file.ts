import { CodedError } from '#util/errors.ts';
import type { IoVectors } from './io-vectors.ts';

/**
 * LOCKED: another process uses the image. OUT_OF_RANGE: the transfer leaves the disk. READ_ONLY: the image is open for reading.
 * SHORT: the image ended early. FLUSH_FAILED: data that was written before may be lost. BAD_IMAGE: it is no disk image, or a
 * damaged one. UNSUPPORTED: the image uses what is not implemented. FULL: its format has no room for more.
 */
export type DiskErrorCode =
  | 'LOCKED'
  | 'OUT_OF_RANGE'
  | 'READ_ONLY'
  | 'SHORT'
  | 'FLUSH_FAILED'
  | 'BAD_IMAGE'
  | 'UNSUPPORTED'
  | 'FULL';

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
