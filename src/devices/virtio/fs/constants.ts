/** The file system device's numbers: VIRTIO 1.2 §5.11 and the FUSE protocol, uapi/linux/fuse.h. */
import { bytes, i32, struct, u16, u32, u64AsNumber } from '#util/struct.ts';

export const TAG_BYTES = 36;

/** `struct virtio_fs_config`, VIRTIO 1.2 §5.11.4; the tag is padded with NULs. */
export const FsConfigSpace = struct({ tag: bytes(TAG_BYTES), numRequestQueues: u32 });

/** Queues, VIRTIO 1.2 §5.11.2: hiprio, then those of requests. */
export const QUEUE_SIZES = [1024, 1024] as const;

/** The protocol's version: 7.31 is the first that virtio-fs was made for, 7.33 what is spoken here. */
export const VERSION = { MAJOR: 7, MINOR: 33, MINOR_MIN: 31 } as const;

export const ROOT_ID = 1;

/** `enum fuse_opcode`. */
export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
} as const;

/** Flags of INIT. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  HANDLE_KILLPRIV_V2: 1 << 28,
} as const;

/** Flags of the answer to OPEN. */
export const OpenReply = { DIRECT_IO: 1 << 0, KEEP_CACHE: 1 << 1, CACHE_DIR: 1 << 3 } as const;

/** `fuse_setattr_in.valid`. */
export const SetAttr = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

export const GETATTR_FH = 1 << 0;
export const FSYNC_FDATASYNC = 1 << 0;

export const InHeader = struct({
  len: u32,
  opcode: u32,
  unique: bytes(8),
  nodeid: u64AsNumber,
  uid: u32,
  gid: u32,
  pid: u32,
  totalExtlen: u16,
  padding: u16,
});
export const OutHeader = struct({ len: u32, error: i32, unique: bytes(8) });

export const Attr = struct({
  ino: bytes(8),
  size: bytes(8),
  blocks: bytes(8),
  atime: bytes(8),
  mtime: bytes(8),
  ctime: bytes(8),
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  rdev: u32,
  blksize: u32,
  flags: u32,
});
export const EntryOut = struct({
  nodeid: u64AsNumber,
  generation: u64AsNumber,
  entryValid: u64AsNumber,
  attrValid: u64AsNumber,
  entryValidNsec: u32,
  attrValidNsec: u32,
  attr: bytes(Attr.size),
});
export const AttrOut = struct({ attrValid: u64AsNumber, attrValidNsec: u32, dummy: u32, attr: bytes(Attr.size) });

export const ForgetIn = struct({ nlookup: u64AsNumber });
export const ForgetOne = struct({ nodeid: u64AsNumber, nlookup: u64AsNumber });
export const BatchForgetIn = struct({ count: u32, dummy: u32 });
export const GetattrIn = struct({ getattrFlags: u32, dummy: u32, fh: u64AsNumber });
export const MknodIn = struct({ mode: u32, rdev: u32, umask: u32, padding: u32 });
export const MkdirIn = struct({ mode: u32, umask: u32 });
export const RenameIn = struct({ newdir: u64AsNumber });
export const Rename2In = struct({ newdir: u64AsNumber, flags: u32, padding: u32 });
export const LinkIn = struct({ oldnodeid: u64AsNumber });
export const SetattrIn = struct({
  valid: u32,
  padding: u32,
  fh: u64AsNumber,
  size: u64AsNumber,
  lockOwner: u64AsNumber,
  atime: bytes(8),
  mtime: bytes(8),
  ctime: bytes(8),
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  mode: u32,
  unused4: u32,
  uid: u32,
  gid: u32,
  unused5: u32,
});
export const OpenIn = struct({ flags: u32, openFlags: u32 });
export const CreateIn = struct({ flags: u32, mode: u32, umask: u32, openFlags: u32 });
export const OpenOut = struct({ fh: u64AsNumber, openFlags: u32, padding: u32 });
/** READ and READDIR. */
export const ReadIn = struct({
  fh: u64AsNumber,
  offset: u64AsNumber,
  size: u32,
  readFlags: u32,
  lockOwner: u64AsNumber,
  flags: u32,
  padding: u32,
});
export const WriteIn = struct({
  fh: u64AsNumber,
  offset: u64AsNumber,
  size: u32,
  writeFlags: u32,
  lockOwner: u64AsNumber,
  flags: u32,
  padding: u32,
});
export const WriteOut = struct({ size: u32, padding: u32 });
/** What RELEASE, FLUSH and FSYNC begin with, of 24, 24 and 16 bytes. */
export const FileIn = struct({ fh: u64AsNumber, flags: u32, padding: u32 });
export const StatfsOut = struct({
  blocks: bytes(8),
  bfree: bytes(8),
  bavail: bytes(8),
  files: bytes(8),
  ffree: bytes(8),
  bsize: u32,
  namelen: u32,
  frsize: u32,
  padding: u32,
  spare: bytes(24),
});
/** Without SETXATTR_EXT. */
export const SetxattrIn = struct({ size: u32, flags: u32 });
export const GetxattrIn = struct({ size: u32, padding: u32 });
export const AccessIn = struct({ mask: u32, padding: u32 });
export const InitIn = struct({ major: u32, minor: u32, maxReadahead: u32, flags: u32 });
export const InitOut = struct({
  major: u32,
  minor: u32,
  maxReadahead: u32,
  flags: u32,
  maxBackground: u16,
  congestionThreshold: u16,
  maxWrite: u32,
  timeGran: u32,
  maxPages: u16,
  mapAlignment: u16,
  flags2: u32,
  unused: bytes(28),
});
export const FallocateIn = struct({
  fh: u64AsNumber,
  offset: u64AsNumber,
  length: u64AsNumber,
  mode: u32,
  padding: u32,
});
export const Dirent = struct({ ino: bytes(8), off: bytes(8), namelen: u32, type: u32 });
export const LseekIn = struct({ fh: u64AsNumber, offset: u64AsNumber, whence: u32, padding: u32 });
export const LseekOut = struct({ offset: u64AsNumber });
export const CopyFileRangeIn = struct({
  fhIn: u64AsNumber,
  offIn: u64AsNumber,
  nodeidOut: u64AsNumber,
  fhOut: u64AsNumber,
  offOut: u64AsNumber,
  len: u64AsNumber,
  flags: u64AsNumber,
});

export const PAGE_BYTES = 4096;
/** 1 MiB in one request, beside the headers in a chain of 1024 buffers. */
export const MAX_PAGES = 256;
export const MAX_BACKGROUND = 64;
/** A name without its NUL, uapi/linux/limits.h. */
export const NAME_MAX = 255;
/** A path with its NUL, uapi/linux/limits.h. */
export const PATH_MAX = 4096;
/** A value of an extended attribute, and all their names, uapi/linux/limits.h: XATTR_SIZE_MAX, XATTR_LIST_MAX. */
export const XATTR_MAX_BYTES = 65_536;
