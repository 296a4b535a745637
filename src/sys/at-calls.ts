/**
 * Files below a directory's descriptor, for a server that passes an errno on: each function returns the call's result, or the
 * errno as a negative number, and throws nothing. Names are bytes that end with a NUL. Numbers of calls: asm/unistd_64.h.
 */
import { bytes, i64, struct, u16, u32, u64, u64AsNumber } from '#util/struct.ts';
import { bind, errno, type Pointer } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** `resolve` of `struct open_how`, uapi/linux/openat2.h. */
export const Resolve = { NO_XDEV: 0x01, NO_MAGICLINKS: 0x02, NO_SYMLINKS: 0x04, BENEATH: 0x08 } as const;

/** Flags of the at-calls, uapi/linux/fcntl.h. */
export const AtFlag = {
  SYMLINK_NOFOLLOW: 0x100,
  REMOVEDIR: 0x200,
  SYMLINK_FOLLOW: 0x400,
  EMPTY_PATH: 0x1000,
  RECURSIVE: 0x8000,
} as const;

/** renameat2(2), uapi/linux/fs.h. */
export const RenameFlag = { NOREPLACE: 1, EXCHANGE: 2 } as const;

/** Special values of `tv_nsec` for utimensat(2), uapi/linux/stat.h. */
export const UtimeNs = { NOW: 0x3fff_ffff, OMIT: 0x3fff_fffe } as const;

/** `whence` of lseek(2), uapi/linux/fs.h. */
export const Seek = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;

/** `struct open_how`, uapi/linux/openat2.h. */
export const OpenHow = struct({ flags: u64AsNumber, mode: u64AsNumber, resolve: u64AsNumber });

const StatxTimestamp = struct({ seconds: i64, nanoseconds: u32, reserved: u32 });

/** `struct statx` up to what is used here, uapi/linux/stat.h; the kernel writes 256 bytes. */
export const Statx = struct({
  mask: u32,
  blksize: u32,
  attributes: u64,
  nlink: u32,
  uid: u32,
  gid: u32,
  mode: u16,
  spare0: u16,
  ino: u64,
  size: u64,
  blocks: u64,
  attributesMask: u64,
  atime: StatxTimestamp,
  btime: StatxTimestamp,
  ctime: StatxTimestamp,
  mtime: StatxTimestamp,
  rdevMajor: u32,
  rdevMinor: u32,
  devMajor: u32,
  devMinor: u32,
  rest: bytes(112),
});

const STATX_BASIC_STATS = 0x07ff;

/** `struct statfs` of 64-bit systems, asm-generic/statfs.h. */
export const Statfs = struct({
  type: u64,
  bsize: u64AsNumber,
  blocks: u64,
  bfree: u64,
  bavail: u64,
  files: u64,
  ffree: u64,
  fsid: u64,
  namelen: u64AsNumber,
  frsize: u64AsNumber,
  flags: u64,
  spare: bytes(32),
});

/** `struct linux_dirent64` before its name, getdents(2): packed, for the name follows the type. */
export const Dirent64 = struct({ ino: u64, off: u64, reclen: u16, type: bytes(1) }, { packed: true });

/** The C library makes another call of renameat2 without flags, and has no function for some. */
const SYS = { GETDENTS64: 217, RENAMEAT2: 316, COPY_FILE_RANGE: 326, STATX: 332, OPENAT2: 437 } as const;

const c = {
  openat2: bind<(number: number, directory: number, name: Pointer, how: Pointer, size: number) => number>(
    'int64_t syscall(int64_t, int64_t, const void*, void*, size_t)',
  ),
  statx: bind<(number: number, fd: number, path: Pointer, flags: number, mask: number, buffer: Pointer) => number>(
    'int64_t syscall(int64_t, int64_t, const void*, int64_t, int64_t, void*)',
  ),
  getdents64: bind<(number: number, fd: number, buffer: Pointer, size: number) => number>(
    'int64_t syscall(int64_t, int64_t, void*, size_t)',
  ),
  copyFileRange: bind<
    (number: number, from: number, fromAt: Pointer, to: number, toAt: Pointer, size: number, flags: number) => number
  >('int64_t syscall(int64_t, int64_t, void*, int64_t, void*, size_t, int64_t)'),
  mkdirat: bind<(fd: number, name: Pointer, mode: number) => number>('int mkdirat(int, const void*, uint32_t)'),
  mknodat: bind<(fd: number, name: Pointer, mode: number, device: number) => number>(
    'int mknodat(int, const void*, uint32_t, uint64_t)',
  ),
  symlinkat: bind<(target: Pointer, fd: number, name: Pointer) => number>(
    'int symlinkat(const void*, int, const void*)',
  ),
  readlinkat: bind<(fd: number, name: Pointer, buffer: Pointer, size: number) => number>(
    'int64_t readlinkat(int, const void*, void*, size_t)',
  ),
  unlinkat: bind<(fd: number, name: Pointer, flags: number) => number>('int unlinkat(int, const void*, int)'),
  renameat2: bind<(number: number, fd: number, name: Pointer, toFd: number, toName: Pointer, flags: number) => number>(
    'int64_t syscall(int64_t, int64_t, const void*, int64_t, const void*, int64_t)',
  ),
  linkat: bind<(fd: number, name: Pointer, toFd: number, toName: Pointer, flags: number) => number>(
    'int linkat(int, const void*, int, const void*, int)',
  ),
  fchmodat: bind<(fd: number, name: Pointer, mode: number, flags: number) => number>(
    'int fchmodat(int, const void*, uint32_t, int)',
  ),
  fchownat: bind<(fd: number, name: Pointer, uid: number, gid: number, flags: number) => number>(
    'int fchownat(int, const void*, uint32_t, uint32_t, int)',
  ),
  utimensat: bind<(fd: number, name: Pointer, times: Pointer, flags: number) => number>(
    'int utimensat(int, const void*, void*, int)',
  ),
  fstatfs: bind<(fd: number, buffer: Pointer) => number>('int fstatfs(int, void*)'),
  lseek: bind<(fd: number, offset: number | bigint, whence: number) => number | bigint>(
    'int64_t lseek(int, int64_t, int)',
  ),
  fsync: bind<(fd: number) => number>('int fsync(int)'),
  fdatasync: bind<(fd: number) => number>('int fdatasync(int)'),
  fallocate: bind<(fd: number, mode: number, offset: number, length: number) => number>(
    'int fallocate(int, int, int64_t, int64_t)',
  ),
  ftruncate: bind<(fd: number, length: number) => number>('int ftruncate(int, int64_t)'),
  close: bind<(fd: number) => number>('int close(int)'),
  umask: bind<(mask: number) => number>('uint32_t umask(uint32_t)'),
  preadv: bind<(fd: number, iovecs: number, count: number, offset: number) => number>(
    'int64_t preadv(int, void*, int, int64_t)',
  ),
  pwritev: bind<(fd: number, iovecs: number, count: number, offset: number) => number>(
    'int64_t pwritev(int, void*, int, int64_t)',
  ),
  fgetxattr: bind<(fd: number, name: Pointer, value: Pointer, size: number) => number>(
    'int64_t fgetxattr(int, const void*, void*, size_t)',
  ),
  fsetxattr: bind<(fd: number, name: Pointer, value: Pointer, size: number, flags: number) => number>(
    'int fsetxattr(int, const void*, const void*, size_t, int)',
  ),
  flistxattr: bind<(fd: number, list: Pointer, size: number) => number>('int64_t flistxattr(int, void*, size_t)'),
  fremovexattr: bind<(fd: number, name: Pointer) => number>('int fremovexattr(int, const void*)'),
};

/** The name of the descriptor's own file. */
const EMPTY = Uint8Array.of(0);

const how = new Uint8Array(new ArrayBuffer(OpenHow.size));
const howView = new DataView(how.buffer);
const { flags: HOW_FLAGS, mode: HOW_MODE, resolve: HOW_RESOLVE } = OpenHow.fields;

/** `call`'s result, or its errno; again as long as a signal interrupts it. */
function retried(call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0) return result;
    const code = errno();
    if (code !== Errno.EINTR) return -code;
  }
}

const checked = (result: number): number => (result < 0 ? -errno() : result);

/** Opens a name below a directory; `flags` are of OpenFlag, without CREAT `mode` is 0, `resolve` is of Resolve. */
export function openat2(
  directoryFd: number,
  name: Pointer,
  flags: number,
  options: { mode: number; resolve: number },
): number {
  HOW_FLAGS.set(howView, 0, flags);
  HOW_MODE.set(howView, 0, options.mode);
  HOW_RESOLVE.set(howView, 0, options.resolve);
  for (;;) {
    const fd = c.openat2(SYS.OPENAT2, directoryFd, name, how, OpenHow.size);
    if (fd >= 0) return fd;
    const code = errno();
    // EAGAIN, openat2(2): a rename elsewhere kept the kernel from seeing whether the path stayed below.
    if (code !== Errno.EINTR && code !== Errno.EAGAIN) return -code;
  }
}

/** Fills `target`, Statx.size bytes, with what is known of an open file, which may be open as a path alone. */
export function fstatx(fd: number, target: Uint8Array): number {
  return checked(c.statx(SYS.STATX, fd, EMPTY, AtFlag.EMPTY_PATH, STATX_BASIC_STATS, target));
}

/** Fills `target` with entries of a directory; returns their bytes, 0 at the end. EINVAL: not one of them fits. */
export function getdents64(fd: number, target: Uint8Array): number {
  return checked(c.getdents64(SYS.GETDENTS64, fd, target, target.length));
}

export function mkdirat(fd: number, name: Pointer, mode: number): number {
  return checked(c.mkdirat(fd, name, mode));
}

export function mknodat(fd: number, name: Pointer, mode: number, device: number): number {
  return checked(c.mknodat(fd, name, mode, device));
}

export function symlinkat(target: Pointer, fd: number, name: Pointer): number {
  return checked(c.symlinkat(target, fd, name));
}

/** What a symbolic link says that is open as a path alone; cut to the size of `target`. */
export function freadlink(fd: number, target: Uint8Array): number {
  return checked(c.readlinkat(fd, EMPTY, target, target.length));
}

export function unlinkat(fd: number, name: Pointer, flags: number): number {
  return checked(c.unlinkat(fd, name, flags));
}

/** A place in a directory. */
export interface NameAt {
  readonly fd: number;
  readonly name: Pointer;
}

export function renameat2(from: NameAt, to: NameAt, flags: number): number {
  return checked(c.renameat2(SYS.RENAMEAT2, from.fd, from.name, to.fd, to.name, flags));
}

export function linkat(from: NameAt, to: NameAt, flags: number): number {
  return checked(c.linkat(from.fd, from.name, to.fd, to.name, flags));
}

/** Follows symbolic links. */
export function fchmodat(fd: number, name: Pointer, mode: number): number {
  return checked(c.fchmodat(fd, name, mode, 0));
}

/** Owner and group of an open file, which may be open as a path alone; 2^32 - 1 leaves one as it is. */
export function fchown(fd: number, uid: number, gid: number): number {
  return checked(c.fchownat(fd, EMPTY, uid, gid, AtFlag.EMPTY_PATH));
}

/** `times` are two `struct timespec`: of the last access and of the last change. Follows symbolic links. */
export function utimensat(fd: number, name: Pointer, times: Uint8Array): number {
  return checked(c.utimensat(fd, name, times, 0));
}

/** Fills `target`, Statfs.size bytes. */
export function fstatfs(fd: number, target: Uint8Array): number {
  return checked(c.fstatfs(fd, target));
}

/** A position past 2^53 comes and goes as a bigint: those of directories use all 63 bits. */
export function lseek(fd: number, offset: number | bigint, whence: number): number | bigint {
  const result = c.lseek(fd, offset, whence);
  return result < 0 ? -errno() : result;
}

export function syncFile(fd: number, dataOnly: boolean): number {
  return retried(() => (dataOnly ? c.fdatasync(fd) : c.fsync(fd)));
}

export function allocateFile(fd: number, mode: number, range: { offset: number; sizeBytes: number }): number {
  return retried(() => c.fallocate(fd, mode, range.offset, range.sizeBytes));
}

export function truncateFile(fd: number, sizeBytes: number): number {
  return retried(() => c.ftruncate(fd, sizeBytes));
}

/** A place in an open file. */
export interface FilePosition {
  readonly fd: number;
  readonly offset: number;
}

const positions = new BigInt64Array(new ArrayBuffer(16));
const fromPosition = new Uint8Array(positions.buffer, 0, 8);
const toPosition = new Uint8Array(positions.buffer, 8, 8);

/** Copies within the kernel; returns the count, which may be short. */
export function copyFileRange(from: FilePosition, to: FilePosition, sizeBytes: number): number {
  return retried(() => {
    positions[0] = BigInt(from.offset);
    positions[1] = BigInt(to.offset);
    return c.copyFileRange(SYS.COPY_FILE_RANGE, from.fd, fromPosition, to.fd, toPosition, sizeBytes, 0);
  });
}

/** Linux has released the descriptor whatever it returns. */
export function closeFile(fd: number): number {
  return checked(c.close(fd));
}

/** Sets the mask of modes of this process; returns the one before. */
export function umask(mask: number): number {
  return c.umask(mask);
}

/** Encoded `struct iovec`s at an address of this process, and the place in the file. */
export interface FileVectors {
  readonly address: number;
  readonly count: number;
  readonly offset: number;
}

export function readVectors(fd: number, { address, count, offset }: FileVectors): number {
  for (;;) {
    const result = c.preadv(fd, address, count, offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) return -errno();
  }
}

export function writeVectors(fd: number, { address, count, offset }: FileVectors): number {
  for (;;) {
    const result = c.pwritev(fd, address, count, offset);
    if (result >= 0) return result;
    if (errno() !== Errno.EINTR) return -errno();
  }
}

/** The size of a value, which is in `target` unless that is empty. ERANGE: it has no room. */
export function fgetxattr(fd: number, name: Pointer, target: Uint8Array): number {
  return checked(c.fgetxattr(fd, name, target, target.length));
}

/** `flags` are XATTR_CREATE (1) or XATTR_REPLACE (2), uapi/linux/xattr.h. */
export function fsetxattr(fd: number, name: Pointer, value: Uint8Array, flags: number): number {
  return checked(c.fsetxattr(fd, name, value, value.length, flags));
}

/** The bytes of all names, each with a NUL. ERANGE: they have no room in `target`. */
export function flistxattr(fd: number, target: Uint8Array): number {
  return checked(c.flistxattr(fd, target, target.length));
}

export function fremovexattr(fd: number, name: Pointer): number {
  return checked(c.fremovexattr(fd, name));
}
