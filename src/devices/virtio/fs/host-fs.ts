/** What the FUSE server needs of the host: files below one directory, by descriptors. */
import type { IoVectors } from '#disk/io-vectors.ts';
import { Statx } from '#sys/at-calls.ts';
import { viewOf } from '#util/struct.ts';

/** Types of files in a mode, uapi/linux/stat.h. */
export const FileType = {
  MASK: 0o170000,
  FIFO: 0o010000,
  CHARACTER: 0o020000,
  DIRECTORY: 0o040000,
  BLOCK: 0o060000,
  REGULAR: 0o100000,
  SYMLINK: 0o120000,
  SOCKET: 0o140000,
} as const;

/** A place in a directory; the name's bytes end with a NUL and have neither another one nor a slash, and are not `.` or `..`. */
export interface HostName {
  readonly directory: number;
  readonly name: Uint8Array;
}

export interface HostRange {
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Each method returns the call's result or a negative errno and never throws. A *path handle* names an inode and gives no access to
 * its bytes (O_PATH); a *file* is open for those. Both are the caller's to close. No symbolic link is followed, and nothing outside
 * of the shared directory is reached, whatever the names are.
 */
export interface HostFs {
  /** The path handle of the shared directory; stays the host's. */
  readonly root: number;
  /** A path handle. */
  lookup(place: HostName): number;
  /** Of either kind of descriptor. */
  stat(fd: number, target: HostStat): number;
  /** Opens what a path handle names, or a file once more as a path handle; `flags` are of OpenFlag, without CREAT. */
  reopen(fd: number, flags: number): number;
  /** Makes a regular file that must not exist, and opens it. */
  create(place: HostName, flags: number, mode: number): number;
  mkdir(place: HostName, mode: number): number;
  /** A regular file, a FIFO or a socket. */
  mknod(place: HostName, mode: number): number;
  symlink(place: HostName, target: Uint8Array): number;
  readlink(handle: number, target: Uint8Array): number;
  unlink(place: HostName): number;
  rmdir(place: HostName): number;
  rename(from: HostName, to: HostName, flags: number): number;
  /** Of a path handle. */
  link(handle: number, place: HostName): number;
  chmod(handle: number, mode: number): number;
  /** 2^32 - 1 leaves an id as it is. */
  chown(handle: number, uid: number, gid: number): number;
  /** Two `struct timespec`. */
  utimens(handle: number, times: Uint8Array): number;
  truncate(file: number, sizeBytes: number): number;
  /** `struct statfs`. */
  statfs(handle: number, target: Uint8Array): number;
  /** The count, which may be short. */
  read(file: number, target: IoVectors, offset: number): number;
  write(file: number, source: IoVectors, offset: number): number;
  /** `struct linux_dirent64`s from the file's position on. */
  getdents(file: number, target: Uint8Array): number;
  seek(file: number, offset: number | bigint, whence: number): number | bigint;
  sync(file: number, dataOnly: boolean): number;
  allocate(file: number, mode: number, range: HostRange): number;
  copyRange(from: { fd: number; offset: number }, to: { fd: number; offset: number }, sizeBytes: number): number;
  getxattr(file: number, name: Uint8Array, target: Uint8Array): number;
  setxattr(file: number, name: Uint8Array, value: Uint8Array, flags: number): number;
  listxattr(file: number, target: Uint8Array): number;
  removexattr(file: number, name: Uint8Array): number;
  close(fd: number): void;
}

const { mode: MODE, devMajor: DEV_MAJOR, devMinor: DEV_MINOR, ino: INO } = Statx.fields;

/** `struct statx`, refilled by each `stat`. */
export class HostStat {
  readonly bytes = new Uint8Array(new ArrayBuffer(Statx.size));
  readonly view = viewOf(this.bytes);

  get mode(): number {
    return MODE.get(this.view, 0);
  }

  /** Of FileType. */
  get type(): number {
    return this.mode & FileType.MASK;
  }

  /** What tells inodes apart: device and number. */
  get key(): string {
    const { view } = this;
    const device = `${DEV_MAJOR.get(view, 0)}:${DEV_MINOR.get(view, 0)}`;
    return `${device}:${view.getUint32(INO.offset + 4, true)}:${view.getUint32(INO.offset, true)}`;
  }
}
