/** Calls on disk images: positioned vectors, durability, allocation and locks. Each throws SyscallError. */
import { type Address, bind, errno, lastError } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** fallocate(2) modes, uapi/linux/falloc.h. */
export const FallocateMode = { KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, ZERO_RANGE: 0x10 } as const;

/** flock(2) operations, asm-generic/fcntl.h. */
export const FlockOperation = { SHARED: 1, EXCLUSIVE: 2, NONBLOCK: 4, UNLOCK: 8 } as const;

/** The most ranges that one call takes, UIO_MAXIOV of uapi/linux/uio.h. */
export const IOVEC_COUNT_MAX = 1024;

/** Encoded `struct iovec`s at an address of this process, and the place in the file. */
export interface PositionedVectors {
  readonly iovecs: Address;
  readonly count: number;
  readonly offset: number;
}

type VectorCall = (fd: number, iovecs: Address, count: number, offset: number) => number;

const c = {
  preadv: bind<VectorCall>('int64_t preadv(int, void*, int, int64_t)'),
  pwritev: bind<VectorCall>('int64_t pwritev(int, void*, int, int64_t)'),
  fdatasync: bind<(fd: number) => number>('int fdatasync(int)'),
  fallocate: bind<(fd: number, mode: number, offset: number, length: number) => number>(
    'int fallocate(int, int, int64_t, int64_t)',
  ),
  flock: bind<(fd: number, operation: number) => number>('int flock(int, int)'),
};

/** Reads into several ranges in order; retried on EINTR. Returns the count, which may be short, 0 at the end of the file. */
export function preadv(fd: number, { iovecs, count, offset }: PositionedVectors): number {
  for (;;) {
    const result = c.preadv(fd, iovecs, count, offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('preadv', { fd });
  }
}

/** Writes several ranges in order; retried on EINTR. Returns the count, which may be short. */
export function pwritev(fd: number, { iovecs, count, offset }: PositionedVectors): number {
  for (;;) {
    const result = c.pwritev(fd, iovecs, count, offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('pwritev', { fd });
  }
}

/** Returns when all data, and the metadata that is needed to read it, are on the medium. */
export function fdatasync(fd: number): void {
  while (c.fdatasync(fd) < 0) if (errno() !== Errno.EINTR) throw lastError('fdatasync', { fd });
}

/** Changes the allocation of a range. EOPNOTSUPP: the file system does not know the mode. */
export function fallocate(fd: number, mode: number, range: { offset: number; sizeBytes: number }): void {
  while (c.fallocate(fd, mode, range.offset, range.sizeBytes) < 0) {
    if (errno() !== Errno.EINTR) throw lastError('fallocate', { fd });
  }
}

/** Takes an advisory lock of the open file, shared by its duplicates. With NONBLOCK a lock held elsewhere is EAGAIN. */
export function flock(fd: number, operation: number): void {
  while (c.flock(fd, operation) < 0) if (errno() !== Errno.EINTR) throw lastError('flock', { fd });
}
