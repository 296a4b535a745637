/** Namespaces and file systems: unshare(2), mount(2), open_tree(2), mount_setattr(2), pivot_root(2), sethostname(2) and others. All throw SyscallError. */
import { struct, u64AsNumber } from '#util/struct.ts';
import { bind, checkedPath, lastError } from './ffi.ts';
import { AT_FDCWD } from './file.ts';

/** Namespaces for unshare(2), uapi/linux/sched.h. */
export const CloneFlag = {
  NEWNS: 0x0002_0000,
  NEWCGROUP: 0x0200_0000,
  NEWUTS: 0x0400_0000,
  NEWIPC: 0x0800_0000,
  NEWUSER: 0x1000_0000,
  NEWPID: 0x2000_0000,
  NEWNET: 0x4000_0000,
} as const;

/** mount(2) flags, uapi/linux/mount.h. */
export const MountFlag = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  REMOUNT: 0x20,
  BIND: 0x1000,
  REC: 0x4000,
  PRIVATE: 0x4_0000,
} as const;

/** umount2(2) flags, linux/fs.h. */
export const UmountFlag = { FORCE: 1, DETACH: 2, EXPIRE: 4, NOFOLLOW: 8 } as const;

/** The C library has no function for it, arch/x86/entry/syscalls/syscall_64.tbl. */
const SYS_PIVOT_ROOT = 155;

const c = {
  unshare: bind<(flags: number) => number>('int unshare(int)'),
  mount: bind<(source: string, target: string, type: string | null, flags: number, data: string | null) => number>(
    'int mount(const char*, const char*, const char*, unsigned long, const char*)',
  ),
  umount2: bind<(target: string, flags: number) => number>('int umount2(const char*, int)'),
  pivotRoot: bind<(number: number, newRoot: string, putOld: string) => number>(
    'long syscall(long, const char*, const char*)',
  ),
  chroot: bind<(path: string) => number>('int chroot(const char*)'),
  chdir: bind<(path: string) => number>('int chdir(const char*)'),
  openTree: bind<(number: number, directory: number, path: string, flags: number) => number>(
    'int64_t syscall(int64_t, int64_t, const char*, int64_t)',
  ),
  moveMount: bind<
    (number: number, from: number, fromPath: string, to: number, toPath: string, flags: number) => number
  >('int64_t syscall(int64_t, int64_t, const char*, int64_t, const char*, int64_t)'),
  mountSetattr: bind<
    (number: number, fd: number, path: string, flags: number, attributes: Uint8Array, size: number) => number
  >('int64_t syscall(int64_t, int64_t, const char*, int64_t, void*, size_t)'),
  sethostname: bind<(name: string, length: number) => number>('int sethostname(const char*, size_t)'),
};

/** Moves the process into new namespaces. NEWPID is for its next child; NEWUSER needs a single-threaded process (EINVAL). */
export function unshare(flags: number): void {
  if (c.unshare(flags) < 0) throw lastError('unshare');
}

export interface MountOptions {
  /** What is mounted; file systems without a device take any name, which /proc/mounts shows. */
  readonly source: string;
  readonly target: string;
  /** The file system; absent for a change of an existing mount. */
  readonly type?: string;
  /** Bits of MountFlag. */
  readonly flags?: number;
  /** The file system's own options. */
  readonly data?: string;
}

export function mount({ source, target, type, flags = 0, data }: MountOptions): void {
  for (const text of [source, target, type ?? '', data ?? '']) checkedPath('mount', text);
  if (c.mount(source, target, type ?? null, flags, data ?? null) < 0) throw lastError('mount', { path: target });
}

export function umount(target: string, flags = 0): void {
  if (c.umount2(checkedPath('umount2', target), flags) < 0) throw lastError('umount2', { path: target });
}

/** Makes the mount at `newRoot` the root of the mount namespace and puts the old root at `putOld`; both may be '.'. */
export function pivotRoot(newRoot: string, putOld: string): void {
  checkedPath('pivot_root', newRoot + putOld);
  if (c.pivotRoot(SYS_PIVOT_ROOT, newRoot, putOld) < 0) throw lastError('pivot_root', { path: newRoot });
}

/** Changes the root of the process alone. The working directory stays where it is. */
export function chroot(path: string): void {
  if (c.chroot(checkedPath('chroot', path)) < 0) throw lastError('chroot', { path });
}

export function chdir(path: string): void {
  if (c.chdir(checkedPath('chdir', path)) < 0) throw lastError('chdir', { path });
}

/** Names the host of this uts namespace; ASCII, at most 64 characters (EINVAL). */
export function sethostname(name: string): void {
  if (c.sethostname(checkedPath('sethostname', name), name.length) < 0) throw lastError('sethostname');
}

/** open_tree(2), uapi/linux/mount.h; CLOEXEC and RECURSIVE are of uapi/linux/fcntl.h. */
const OpenTree = { CLONE: 1, CLOEXEC: 0o2000000, RECURSIVE: 0x8000 } as const;
const AT_EMPTY_PATH = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x4;
const SYS = { OPEN_TREE: 428, MOVE_MOUNT: 429, MOUNT_SETATTR: 442 } as const;

/** Attributes of a mount, uapi/linux/mount.h. */
export const MountAttribute = { RDONLY: 0x1, NOSUID: 0x2, NODEV: 0x4, NOEXEC: 0x8 } as const;
/** `struct mount_attr`, uapi/linux/mount.h. */
export const MountAttributes = struct({
  set: u64AsNumber,
  clear: u64AsNumber,
  propagation: u64AsNumber,
  userns: u64AsNumber,
});

/**
 * A copy of a mount from `path` on, with all that is mounted below, attached nowhere: what is above cannot be reached from it. The
 * caller owns the descriptor. Needs CAP_SYS_ADMIN over the mount namespace.
 */
export function cloneTree(path: string): number {
  const flags = OpenTree.CLONE | OpenTree.CLOEXEC | OpenTree.RECURSIVE;
  const fd = c.openTree(SYS.OPEN_TREE, AT_FDCWD, checkedPath('open_tree', path), flags);
  if (fd < 0) throw lastError('open_tree', { path });
  return fd;
}

/** Sets attributes of a tree and of all mounts in it; those that are set stay. */
export function setTreeAttributes(treeFd: number, set: number): void {
  const attributes = MountAttributes.encode({ set });
  const flags = AT_EMPTY_PATH | OpenTree.RECURSIVE;
  if (c.mountSetattr(SYS.MOUNT_SETATTR, treeFd, '', flags, attributes, attributes.length) < 0)
    throw lastError('mount_setattr', { fd: treeFd });
}

/** Attaches a tree of `cloneTree` at a directory. */
export function attachTree(treeFd: number, target: string): void {
  checkedPath('move_mount', target);
  if (c.moveMount(SYS.MOVE_MOUNT, treeFd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
    throw lastError('move_mount', { path: target });
}
