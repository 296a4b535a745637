/** Descriptors: opening, closing, reading and writing. Each function throws SyscallError unless it says otherwise. */
import { assert } from '#util/assert.ts';
import { type Address, bind, checkedPath, errno, lastError, type Pointer } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** open(2), asm-generic/fcntl.h. */
export const OpenFlag = {
  RDONLY: 0o0,
  WRONLY: 0o1,
  RDWR: 0o2,
  /** The bits of the three above. */
  ACCESS_MODE: 0o3,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;

/** fcntl(2) commands, asm-generic/fcntl.h and linux/fcntl.h. */
export const FcntlCommand = {
  GETFD: 1,
  SETFD: 2,
  GETFL: 3,
  SETFL: 4,
  DUPFD_CLOEXEC: 1030,
  ADD_SEALS: 1033,
  GET_SEALS: 1034,
} as const;

/** `openat` relative to the working directory, linux/fcntl.h. */
export const AT_FDCWD = -100;

const c = {
  open: bind<(path: string, flags: number, mode: number) => number>('int open(const char*, int, uint32_t)'),
  openat: bind<(directory: number, path: string, flags: number, mode: number) => number>(
    'int openat(int, const char*, int, uint32_t)',
  ),
  close: bind<(fd: number) => number>('int close(int)'),
  fcntl: bind<(fd: number, command: number, argument: number) => number>('int fcntl(int, int, int64_t)'),
  ftruncate: bind<(fd: number, length: number) => number>('int ftruncate(int, int64_t)'),
  pipe2: bind<(fds: Uint8Array, flags: number) => number>('int pipe2(void*, int)'),
  read: bind<(fd: number, target: Pointer, count: number) => number>('int64_t read(int, void*, size_t)'),
  write: bind<(fd: number, source: Pointer, count: number) => number>('int64_t write(int, void*, size_t)'),
  pread: bind<(fd: number, target: Pointer, count: number, offset: number) => number>(
    'int64_t pread(int, void*, size_t, int64_t)',
  ),
  pwrite: bind<(fd: number, source: Pointer, count: number, offset: number) => number>(
    'int64_t pwrite(int, void*, size_t, int64_t)',
  ),
  readv: bind<(fd: number, iovecs: Uint8Array, count: number) => number>('int64_t readv(int, void*, int)'),
  writev: bind<(fd: number, iovecs: Uint8Array, count: number) => number>('int64_t writev(int, void*, int)'),
};

/** Opens a file; retried on EINTR (a FIFO's open waits). O_CLOEXEC is always added. Returns the descriptor. */
export function open(path: string, flags: number, mode = 0): number {
  checkedPath('open', path);
  for (;;) {
    const fd = c.open(path, flags | OpenFlag.CLOEXEC, mode);
    if (fd >= 0) return fd;
    if (errno() !== Errno.EINTR) throw lastError('open', { path });
  }
}

/** As `open`, relative to a directory's descriptor. */
export function openat(directoryFd: number, path: string, flags: number, mode = 0): number {
  checkedPath('openat', path);
  for (;;) {
    const fd = c.openat(directoryFd, path, flags | OpenFlag.CLOEXEC, mode);
    if (fd >= 0) return fd;
    if (errno() !== Errno.EINTR) throw lastError('openat', { path, fd: directoryFd });
  }
}

/** Closes a descriptor. Never retried: Linux has released the descriptor even when it reports EINTR, so that is success. */
export function close(fd: number): void {
  if (c.close(fd) < 0 && errno() !== Errno.EINTR) throw lastError('close', { fd });
}

/** A second descriptor of the same open file, closed on exec. */
export function dup(fd: number): number {
  return fcntl(fd, FcntlCommand.DUPFD_CLOEXEC, 0);
}

/** fcntl(2) for commands whose argument is an integer; returns the call's result. */
export function fcntl(fd: number, command: number, argument = 0): number {
  const result = c.fcntl(fd, command, argument);
  if (result < 0) throw lastError('fcntl', { fd });
  return result;
}

/** How a descriptor was opened: flags of `open`. */
export function openFlags(fd: number): number {
  return fcntl(fd, FcntlCommand.GETFL);
}

export function setNonBlocking(fd: number, nonBlocking: boolean): void {
  const flags = fcntl(fd, FcntlCommand.GETFL);
  fcntl(fd, FcntlCommand.SETFL, nonBlocking ? flags | OpenFlag.NONBLOCK : flags & ~OpenFlag.NONBLOCK);
}

/** Sets a file's size; retried on EINTR. */
export function ftruncate(fd: number, sizeBytes: number): void {
  while (c.ftruncate(fd, sizeBytes) < 0) if (errno() !== Errno.EINTR) throw lastError('ftruncate', { fd });
}

/** A pipe, closed on exec, with further flags of `open` (NONBLOCK). */
export function pipe(flags = 0): { readFd: number; writeFd: number } {
  const fds = new Uint8Array(8);
  if (c.pipe2(fds, flags | OpenFlag.CLOEXEC) < 0) throw lastError('pipe2');
  const view = new DataView(fds.buffer);
  return { readFd: view.getInt32(0, true), writeFd: view.getInt32(4, true) };
}

/** The count of bytes that a call moves through `pointer`: its own length when it is an array, and never beyond that. */
function countOf(pointer: Uint8Array | Address, sizeBytes: number | undefined): number {
  if (typeof pointer !== 'object') {
    assert(sizeBytes !== undefined && sizeBytes >= 0, 'an address needs a size');
    return sizeBytes;
  }
  if (sizeBytes === undefined) return pointer.byteLength;
  assert(sizeBytes >= 0 && sizeBytes <= pointer.byteLength, 'more bytes than the buffer holds');
  return sizeBytes;
}

/**
 * Reads up to `sizeBytes` (an array's whole length when absent) into a buffer or at an address; retried on EINTR. Returns
 * the count, 0 at the end of the file, and undefined when a non-blocking descriptor has nothing (EAGAIN).
 */
export function tryRead(fd: number, target: Uint8Array | Address, sizeBytes?: number): number | undefined {
  const count = countOf(target, sizeBytes);
  for (;;) {
    const result = c.read(fd, target, count);
    if (result >= 0) return result;
    const code = errno();
    if (code === Errno.EAGAIN) return undefined;
    if (code !== Errno.EINTR) throw lastError('read', { fd });
  }
}

/** As `tryRead` for writing: the count written, which may be short, or undefined on EAGAIN. */
export function tryWrite(fd: number, source: Uint8Array | Address, sizeBytes?: number): number | undefined {
  const count = countOf(source, sizeBytes);
  for (;;) {
    const result = c.write(fd, source, count);
    if (result >= 0) return result;
    const code = errno();
    if (code === Errno.EAGAIN) return undefined;
    if (code !== Errno.EINTR) throw lastError('write', { fd });
  }
}

/** As `tryRead`, and EAGAIN is an error too. */
export function read(fd: number, target: Uint8Array | Address, sizeBytes?: number): number {
  const count = tryRead(fd, target, sizeBytes);
  if (count === undefined) throw lastError('read', { fd });
  return count;
}

/** As `tryWrite`, and EAGAIN is an error too. */
export function write(fd: number, source: Uint8Array | Address, sizeBytes?: number): number {
  const count = tryWrite(fd, source, sizeBytes);
  if (count === undefined) throw lastError('write', { fd });
  return count;
}

/** Reads at a file offset; retried on EINTR. Returns the count, 0 at the end. */
export function pread(
  fd: number,
  target: Uint8Array | Address,
  options: { offset: number; sizeBytes?: number },
): number {
  const count = countOf(target, options.sizeBytes);
  for (;;) {
    const result = c.pread(fd, target, count, options.offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('pread', { fd });
  }
}

/** Writes at a file offset; retried on EINTR. Returns the count, which may be short. */
export function pwrite(
  fd: number,
  source: Uint8Array | Address,
  options: { offset: number; sizeBytes?: number },
): number {
  const count = countOf(source, options.sizeBytes);
  for (;;) {
    const result = c.pwrite(fd, source, count, options.offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('pwrite', { fd });
  }
}

/** `struct iovec` is two 64-bit words, uapi/linux/uio.h. */
export const IOVEC_SIZE_BYTES = 16;

/** A part of memory for readv and writev. */
export interface IoRange {
  readonly address: number;
  readonly sizeBytes: number;
}

function encodeIovecs(ranges: readonly IoRange[]): Uint8Array {
  const encoded = new DataView(new ArrayBuffer(ranges.length * IOVEC_SIZE_BYTES));
  ranges.forEach((range, index) => {
    encoded.setBigUint64(index * IOVEC_SIZE_BYTES, BigInt(range.address), true);
    encoded.setBigUint64(index * IOVEC_SIZE_BYTES + 8, BigInt(range.sizeBytes), true);
  });
  return new Uint8Array(encoded.buffer);
}

/** Reads into several ranges in order; retried on EINTR. At most IOV_MAX (1024) ranges. Returns the count. */
export function readv(fd: number, ranges: readonly IoRange[]): number {
  const iovecs = encodeIovecs(ranges);
  for (;;) {
    const result = c.readv(fd, iovecs, ranges.length);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('readv', { fd });
  }
}

/** Writes several ranges in order; retried on EINTR. Returns the count, which may be short. */
export function writev(fd: number, ranges: readonly IoRange[]): number {
  const iovecs = encodeIovecs(ranges);
  for (;;) {
    const result = c.writev(fd, iovecs, ranges.length);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) throw lastError('writev', { fd });
  }
}

/** Writes all of `source`, however many calls it takes. For blocking descriptors. */
export function writeAll(fd: number, source: Uint8Array): void {
  for (let done = 0; done < source.length; ) done += write(fd, source.subarray(done));
}
