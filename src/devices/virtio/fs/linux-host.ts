/** The shared directory on Linux, by descriptors alone: no path is ever walked. */
import type { IoVectors } from '#disk/io-vectors.ts';
import {
  AtFlag,
  allocateFile,
  closeFile,
  copyFileRange,
  fchmodat,
  fchown,
  fgetxattr,
  flistxattr,
  freadlink,
  fremovexattr,
  fsetxattr,
  fstatfs,
  fstatx,
  getdents64,
  linkat,
  lseek,
  mkdirat,
  mknodat,
  openat2,
  Resolve,
  readVectors,
  renameat2,
  symlinkat,
  syncFile,
  truncateFile,
  unlinkat,
  utimensat,
  writeVectors,
} from '#sys/at-calls.ts';
import { OpenFlag } from '#sys/file.ts';
import { assert } from '#util/assert.ts';
import type { HostFs, HostName, HostRange, HostStat } from './host-fs.ts';

const BENEATH = Resolve.BENEATH | Resolve.NO_MAGICLINKS | Resolve.NO_SYMLINKS;
const { PATH, NOFOLLOW, CLOEXEC, CREAT, EXCL, NONBLOCK, NOCTTY } = OpenFlag;
/** Whatever a file turns out to be, its opening neither waits nor makes it a terminal. */
const CALM = NONBLOCK | NOCTTY | CLOEXEC;
const ZERO = 0x30;

export class LinuxHost implements HostFs {
  readonly root: number;
  /**
   * A descriptor of this process's /proc/self/fd: the only way to open a path handle for reading, openat2(2). What can be reached
   * from it are this process's own descriptors, if it is a mount of its own.
   */
  readonly #selfFd: number;
  /** The decimal number of a descriptor, with a NUL. */
  readonly #number = new Uint8Array(new ArrayBuffer(16));

  /** `root` and `selfFd` are open as paths and stay the caller's. */
  constructor(root: number, selfFd: number) {
    this.root = root;
    this.#selfFd = selfFd;
  }

  lookup({ directory, name }: HostName): number {
    return openat2(directory, name, PATH | NOFOLLOW | CLOEXEC, { mode: 0, resolve: BENEATH });
  }

  stat(fd: number, target: HostStat): number {
    return fstatx(fd, target.bytes);
  }

  reopen(fd: number, flags: number): number {
    const more = (flags & PATH) === 0 ? CALM : CLOEXEC;
    return openat2(this.#selfFd, this.#numberOf(fd), flags | more, { mode: 0, resolve: 0 });
  }

  create({ directory, name }: HostName, flags: number, mode: number): number {
    return openat2(directory, name, flags | CREAT | EXCL | NOFOLLOW | CALM, { mode, resolve: BENEATH });
  }

  mkdir({ directory, name }: HostName, mode: number): number {
    return mkdirat(directory, name, mode);
  }

  mknod({ directory, name }: HostName, mode: number): number {
    return mknodat(directory, name, mode, 0);
  }

  symlink({ directory, name }: HostName, target: Uint8Array): number {
    return symlinkat(target, directory, name);
  }

  readlink(handle: number, target: Uint8Array): number {
    return freadlink(handle, target);
  }

  unlink({ directory, name }: HostName): number {
    return unlinkat(directory, name, 0);
  }

  rmdir({ directory, name }: HostName): number {
    return unlinkat(directory, name, AtFlag.REMOVEDIR);
  }

  rename(from: HostName, to: HostName, flags: number): number {
    return renameat2({ fd: from.directory, name: from.name }, { fd: to.directory, name: to.name }, flags);
  }

  link(handle: number, { directory, name }: HostName): number {
    const from = { fd: this.#selfFd, name: this.#numberOf(handle) };
    return linkat(from, { fd: directory, name }, AtFlag.SYMLINK_FOLLOW);
  }

  chmod(handle: number, mode: number): number {
    return fchmodat(this.#selfFd, this.#numberOf(handle), mode);
  }

  chown(handle: number, uid: number, gid: number): number {
    return fchown(handle, uid, gid);
  }

  utimens(handle: number, times: Uint8Array): number {
    return utimensat(this.#selfFd, this.#numberOf(handle), times);
  }

  truncate(file: number, sizeBytes: number): number {
    return truncateFile(file, sizeBytes);
  }

  statfs(handle: number, target: Uint8Array): number {
    return fstatfs(handle, target);
  }

  read(file: number, { address, count }: IoVectors, offset: number): number {
    return readVectors(file, { address, count, offset });
  }

  write(file: number, { address, count }: IoVectors, offset: number): number {
    return writeVectors(file, { address, count, offset });
  }

  getdents(file: number, target: Uint8Array): number {
    return getdents64(file, target);
  }

  seek(file: number, offset: number | bigint, whence: number): number | bigint {
    return lseek(file, offset, whence);
  }

  sync(file: number, dataOnly: boolean): number {
    return syncFile(file, dataOnly);
  }

  allocate(file: number, mode: number, range: HostRange): number {
    return allocateFile(file, mode, range);
  }

  copyRange(from: { fd: number; offset: number }, to: { fd: number; offset: number }, sizeBytes: number): number {
    return copyFileRange(from, to, sizeBytes);
  }

  getxattr(file: number, name: Uint8Array, target: Uint8Array): number {
    return fgetxattr(file, name, target);
  }

  setxattr(file: number, name: Uint8Array, value: Uint8Array, flags: number): number {
    return fsetxattr(file, name, value, flags);
  }

  listxattr(file: number, target: Uint8Array): number {
    return flistxattr(file, target);
  }

  removexattr(file: number, name: Uint8Array): number {
    return fremovexattr(file, name);
  }

  close(fd: number): void {
    closeFile(fd);
  }

  #numberOf(fd: number): Uint8Array {
    assert(Number.isInteger(fd) && fd >= 0, 'a descriptor');
    let digits = 1;
    for (let rest = fd; rest >= 10; rest = Math.trunc(rest / 10)) digits += 1;
    this.#number[digits] = 0;
    for (let at = digits - 1, rest = fd; at >= 0; at--, rest = Math.trunc(rest / 10))
      this.#number[at] = ZERO + (rest % 10);
    return this.#number;
  }
}
