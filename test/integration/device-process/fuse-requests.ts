/** Requests that have a file system device make every system call of its policy, over a directory with one file, `file`. */
import * as fuse from '#devices/virtio/fs/constants.ts';
import { FileType } from '#devices/virtio/fs/host-fs.ts';
import type { MockBuffer } from '#devices/virtio/testing/mock-queue.ts';
import { OpenFlag } from '#sys/file.ts';

const { Opcode, ROOT_ID, SetAttr } = fuse;
/** Nodes and files by the order in which they come up below. */
const NODE = { FILE: 2, NEW: 3, LINK: 6 } as const;
const FILE = { NEW: 1, DIRECTORY: 2 } as const;
const REPLY_BYTES = 4096;

function request(opcode: number, nodeid: number, ...parts: readonly (Uint8Array | string)[]): readonly MockBuffer[] {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(`${part}\0`) : part)));
  const header = fuse.InHeader.encode({ len: fuse.InHeader.size + body.length, opcode, nodeid });
  return [
    { readable: Buffer.concat([header, body]) },
    { writableBytes: fuse.OutHeader.size },
    { writableBytes: REPLY_BYTES },
  ];
}

const fh = FILE.NEW;
const valid = SetAttr.MODE | SetAttr.UID | SetAttr.SIZE | SetAttr.MTIME;
const renamed = fuse.Rename2In.encode({ newdir: ROOT_ID, flags: 1 });

export const FUSE_REQUESTS: readonly (readonly MockBuffer[])[] = [
  request(Opcode.INIT, 0, fuse.InitIn.encode({ major: 7, minor: 38 })),
  request(Opcode.LOOKUP, ROOT_ID, 'file'),
  request(
    Opcode.CREATE,
    ROOT_ID,
    fuse.CreateIn.encode({ flags: OpenFlag.RDWR, mode: FileType.REGULAR | 0o600 }),
    'new',
  ),
  request(Opcode.MKDIR, ROOT_ID, fuse.MkdirIn.encode({ mode: 0o700 }), 'folder'),
  request(Opcode.MKNOD, ROOT_ID, fuse.MknodIn.encode({ mode: FileType.FIFO | 0o600 }), 'fifo'),
  request(Opcode.SYMLINK, ROOT_ID, 'link', 'file'),
  request(Opcode.READLINK, NODE.LINK),
  request(Opcode.WRITE, NODE.NEW, fuse.WriteIn.encode({ fh, size: 5 }), Buffer.from('bytes')),
  request(Opcode.READ, NODE.NEW, fuse.ReadIn.encode({ fh, size: 100 })),
  request(Opcode.FSYNC, NODE.NEW, fuse.FileIn.encode({ fh })),
  request(Opcode.FSYNC, NODE.NEW, fuse.FileIn.encode({ fh, flags: fuse.FSYNC_FDATASYNC })),
  request(Opcode.FALLOCATE, NODE.NEW, fuse.FallocateIn.encode({ fh, length: 10 })),
  request(Opcode.LSEEK, NODE.NEW, fuse.LseekIn.encode({ fh, whence: 4 })),
  request(Opcode.COPY_FILE_RANGE, NODE.NEW, fuse.CopyFileRangeIn.encode({ fhIn: fh, fhOut: fh, offOut: 100, len: 5 })),
  request(Opcode.SETATTR, NODE.NEW, fuse.SetattrIn.encode({ valid, mode: 0o644, size: 3 })),
  request(Opcode.STATFS, ROOT_ID),
  request(Opcode.SETXATTR, NODE.NEW, fuse.SetxattrIn.encode({ size: 1 }), 'user.a', Buffer.from('x')),
  request(Opcode.GETXATTR, NODE.NEW, fuse.GetxattrIn.encode({ size: 10 }), 'user.a'),
  request(Opcode.LISTXATTR, NODE.NEW, fuse.GetxattrIn.encode({ size: 10 })),
  request(Opcode.REMOVEXATTR, NODE.NEW, 'user.a'),
  request(Opcode.LINK, ROOT_ID, fuse.LinkIn.encode({ oldnodeid: NODE.FILE }), 'second'),
  request(Opcode.RENAME2, ROOT_ID, renamed, 'second', 'third'),
  request(Opcode.OPENDIR, ROOT_ID, fuse.OpenIn.encode({})),
  request(Opcode.READDIR, ROOT_ID, fuse.ReadIn.encode({ fh: FILE.DIRECTORY, size: REPLY_BYTES })),
  request(Opcode.UNLINK, ROOT_ID, 'third'),
];
