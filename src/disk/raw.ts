import { fstatSync } from 'node:fs';
import {
  FallocateMode,
  FlockOperation,
  fallocate,
  fdatasync,
  flock,
  IOVEC_COUNT_MAX,
  type PositionedVectors,
  preadv,
  pwritev,
} from '#sys/disk.ts';
import { Fd } from '#sys/fd.ts';
import { ftruncate, OpenFlag, pwrite } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { isSize, KiB } from '#util/bits.ts';
import { checkGrowth, DiskError, type DiskFile, type DiskRange } from './disk-file.ts';
import type { IoVectors } from './io-vectors.ts';

export interface RawDiskOptions {
  readonly readOnly?: boolean;
  /** Take the advisory lock: shared for a disk that is only read, exclusive else. True by default. */
  readonly lock?: boolean;
}

/** What file systems say that do not know a mode of fallocate. */
const UNSUPPORTED: readonly string[] = ['EOPNOTSUPP', 'ENOSYS', 'EINVAL'];

/** Written where the file system cannot make zeros itself. */
const ZEROES = new Uint8Array(64 * KiB);

/** A file whose bytes are the disk's. */
export class RawDisk implements DiskFile {
  readonly isReadOnly: boolean;
  onLengthChange: ((lengthBytes: number) => void) | undefined;
  readonly #fd: Fd;
  /** Refilled for each call. */
  readonly #vectors = { iovecs: 0, count: 0, offset: 0 };
  #lengthBytes: number;
  /**
   * Linux reports a failed write-back once and then marks the pages clean: a later fdatasync would succeed without the data.
   * So the first failure stays.
   */
  #flushFailure: unknown;

  /** Takes over an open regular file. Throws DiskError (LOCKED, BAD_IMAGE). */
  constructor(fd: Fd, options: RawDiskOptions = {}) {
    this.isReadOnly = options.readOnly ?? false;
    this.#fd = fd;
    const status = fstatSync(fd.fd);
    if (!status.isFile()) throw new DiskError('BAD_IMAGE', 'a raw disk image is a regular file');
    this.#lengthBytes = status.size;
    if (options.lock ?? true) lockImage(fd, this.isReadOnly);
  }

  /** Throws SyscallError with the path, or DiskError. */
  static open(path: string, options: RawDiskOptions = {}): RawDisk {
    // Non-blocking, as the open of a FIFO would wait; it means nothing for a regular file.
    const fd = Fd.open(path, (options.readOnly ? OpenFlag.RDONLY : OpenFlag.RDWR) | OpenFlag.NONBLOCK);
    try {
      return new RawDisk(fd, options);
    } catch (error) {
      fd.close();
      if (!(error instanceof DiskError)) throw error;
      throw new DiskError(error.code, `disk image ${JSON.stringify(path)}: ${error.message}`, { cause: error });
    }
  }

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  keepFds(): readonly number[] {
    return [this.#fd.fd];
  }

  readAt(offset: number, target: IoVectors): void {
    this.#check(offset, target.sizeBytes);
    let position = offset;
    while (target.sizeBytes > 0) {
      const count = preadv(this.#fd.fd, this.#at(position, target));
      if (count === 0) throw new DiskError('SHORT', `the image ended at ${position}: it was truncated`);
      target.advance(count);
      position += count;
    }
  }

  writeAt(offset: number, source: IoVectors): void {
    this.#checkWritable(offset, source.sizeBytes);
    let position = offset;
    while (source.sizeBytes > 0) {
      const count = pwritev(this.#fd.fd, this.#at(position, source));
      if (count === 0) throw new DiskError('SHORT', `nothing could be written at ${position}`);
      source.advance(count);
      position += count;
    }
  }

  flush(): void {
    if (this.#flushFailure === undefined) {
      try {
        fdatasync(this.#fd.fd);
        return;
      } catch (error) {
        this.#flushFailure = error;
      }
    }
    throw new DiskError('FLUSH_FAILED', 'data written before may be lost', { cause: this.#flushFailure });
  }

  discard({ offset, sizeBytes }: DiskRange): void {
    this.#checkWritable(offset, sizeBytes);
    this.#tryAllocate(FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE, { offset, sizeBytes });
  }

  writeZeroes({ offset, sizeBytes }: DiskRange, mayUnmap: boolean): void {
    this.#checkWritable(offset, sizeBytes);
    // ZERO_RANGE keeps the space allocated; a hole reads as zeros too, where that is allowed.
    if (mayUnmap && this.#tryAllocate(FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE, { offset, sizeBytes }))
      return;
    if (this.#tryAllocate(FallocateMode.ZERO_RANGE | FallocateMode.KEEP_SIZE, { offset, sizeBytes })) return;
    for (let done = 0; done < sizeBytes; ) {
      const options = { offset: offset + done, sizeBytes: Math.min(ZEROES.length, sizeBytes - done) };
      done += pwrite(this.#fd.fd, ZEROES, options);
    }
  }

  grow(lengthBytes: number): void {
    this.#checkWritable(0, 0);
    checkGrowth(this.#lengthBytes, lengthBytes);
    if (lengthBytes === this.#lengthBytes) return;
    ftruncate(this.#fd.fd, lengthBytes);
    this.#lengthBytes = lengthBytes;
    this.onLengthChange?.(lengthBytes);
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  /** False when the file system does not know the mode. */
  #tryAllocate(mode: number, range: DiskRange): boolean {
    if (range.sizeBytes === 0) return true;
    try {
      fallocate(this.#fd.fd, mode, range);
      return true;
    } catch (error) {
      if (error instanceof SyscallError && UNSUPPORTED.includes(error.code)) return false;
      throw error;
    }
  }

  #at(offset: number, ranges: IoVectors): PositionedVectors {
    const vectors = this.#vectors;
    vectors.iovecs = ranges.address;
    vectors.count = Math.min(ranges.count, IOVEC_COUNT_MAX);
    vectors.offset = offset;
    return vectors;
  }

  #check(offset: number, sizeBytes: number): void {
    const fits = isSize(offset) && isSize(sizeBytes) && sizeBytes <= this.#lengthBytes - offset;
    if (!fits)
      throw new DiskError('OUT_OF_RANGE', `${sizeBytes} bytes at ${offset} leave a disk of ${this.#lengthBytes}`);
  }

  #checkWritable(offset: number, sizeBytes: number): void {
    if (this.isReadOnly) throw new DiskError('READ_ONLY', 'the disk is open for reading');
    this.#check(offset, sizeBytes);
  }
}

/** Takes the advisory lock of an open image. Throws DiskError (LOCKED). */
export function lockImage(fd: Fd, readOnly: boolean): void {
  const operation = readOnly ? FlockOperation.SHARED : FlockOperation.EXCLUSIVE;
  try {
    flock(fd.fd, operation | FlockOperation.NONBLOCK);
  } catch (error) {
    if (!(error instanceof SyscallError && error.code === 'EAGAIN')) throw error;
    const use = readOnly ? 'writes to it' : 'uses it';
    throw new DiskError('LOCKED', `another process ${use}`, { cause: error });
  }
}
