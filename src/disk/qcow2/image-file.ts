import { fstatSync } from 'node:fs';
import { FallocateMode, fallocate, fdatasync, IOVEC_COUNT_MAX, preadv, pwritev } from '#sys/disk.ts';
import type { Fd } from '#sys/fd.ts';
import { pread, pwrite } from '#sys/file.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { DiskError } from '../disk-file.ts';
import type { IoVectors } from '../io-vectors.ts';

/** The file that a structured image lies in. What is behind its end reads as zeros. Each call throws SyscallError or DiskError. */
export interface ImageFile extends Disposable {
  readonly lengthBytes: number;
  keepFds(): readonly number[];
  read(offset: number, target: Uint8Array): void;
  write(offset: number, source: Uint8Array): void;
  /** Fills all of `target`, which is used up. */
  readVectors(offset: number, target: IoVectors): void;
  /** Writes all of `source`, which is used up. */
  writeVectors(offset: number, source: IoVectors): void;
  /** Returns when all that was written before is on the medium: a barrier. */
  sync(): void;
  /** Gives the space of a range back; its content no longer matters. A hint. */
  punch(offset: number, sizeBytes: number): void;
}

/** A regular file of the host. */
export class HostImageFile implements ImageFile {
  readonly #fd: Fd;
  readonly #vectors = { iovecs: 0, count: 0, offset: 0 };
  /** Linux reports a failed write-back once and then takes the pages for clean, so the first failure stays. */
  #syncFailure: unknown;

  /** Takes over an open descriptor. Throws DiskError (BAD_IMAGE), which leaves it open. */
  constructor(fd: Fd) {
    if (!fstatSync(fd.fd).isFile()) throw new DiskError('BAD_IMAGE', 'a disk image is a regular file');
    this.#fd = fd;
  }

  get lengthBytes(): number {
    return fstatSync(this.#fd.fd).size;
  }

  keepFds(): readonly number[] {
    return [this.#fd.fd];
  }

  read(offset: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; ) {
      const count = pread(this.#fd.fd, target.subarray(done), { offset: offset + done });
      if (count === 0) {
        target.fill(0, done);
        return;
      }
      done += count;
    }
  }

  write(offset: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; ) {
      const count = pwrite(this.#fd.fd, source.subarray(done), { offset: offset + done });
      if (count === 0) throw new DiskError('SHORT', `nothing could be written at ${offset + done}`);
      done += count;
    }
  }

  readVectors(offset: number, target: IoVectors): void {
    for (let position = offset; target.sizeBytes > 0; ) {
      const count = preadv(this.#fd.fd, this.#at(position, target));
      if (count === 0) {
        target.fillZero();
        return;
      }
      target.advance(count);
      position += count;
    }
  }

  writeVectors(offset: number, source: IoVectors): void {
    for (let position = offset; source.sizeBytes > 0; ) {
      const count = pwritev(this.#fd.fd, this.#at(position, source));
      if (count === 0) throw new DiskError('SHORT', `nothing could be written at ${position}`);
      source.advance(count);
      position += count;
    }
  }

  sync(): void {
    if (this.#syncFailure === undefined) {
      try {
        fdatasync(this.#fd.fd);
        return;
      } catch (error) {
        this.#syncFailure = error;
      }
    }
    throw new DiskError('FLUSH_FAILED', 'data written before may be lost', { cause: this.#syncFailure });
  }

  punch(offset: number, sizeBytes: number): void {
    try {
      fallocate(this.#fd.fd, FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE, { offset, sizeBytes });
    } catch (error) {
      // A file system that makes no holes keeps the space: the format has freed it all the same.
      if (!(error instanceof SyscallError)) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #at(offset: number, ranges: IoVectors): { iovecs: number; count: number; offset: number } {
    const vectors = this.#vectors;
    vectors.iovecs = ranges.address;
    vectors.count = Math.min(ranges.count, IOVEC_COUNT_MAX);
    vectors.offset = offset;
    return vectors;
  }
}
