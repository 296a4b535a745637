/** Operations on open files, but READ and WRITE, whose bytes do not pass here. */
import { Seek } from '#sys/at-calls.ts';
import { FallocateMode } from '#sys/disk.ts';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import {
  CopyFileRangeIn,
  CreateIn,
  FallocateIn,
  FileIn,
  FSYNC_FDATASYNC,
  LseekIn,
  LseekOut,
  Opcode,
  OpenIn,
  OpenOut,
  OpenReply,
  WriteOut,
} from '../constants.ts';
import type { FuseContext, Operation } from '../context.ts';
import { FileType, type HostName } from '../host-fs.ts';
import type { Inode } from '../inode-table.ts';
import { giveAway, placeOf } from './names.ts';

const ACCESS_MODE = OpenFlag.WRONLY | OpenFlag.RDWR;
/** O_SYNC has both bits of O_DSYNC and its own, asm-generic/fcntl.h. */
const SYNC = 0o4010000;
/** What of the guest's flags reaches the host: its kernel does the rest, and DIRECT would ask for aligned buffers. */
const PASSED_FLAGS = ACCESS_MODE | OpenFlag.APPEND | OpenFlag.TRUNC | SYNC;
const ALLOCATE_MODES = FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE | FallocateMode.ZERO_RANGE;
/** One request must not keep the device from the others for long. */
const COPY_MAX_BYTES = 64 << 20;

/** The flags to open a file with on the host, or a negative errno. */
function hostFlags(context: FuseContext, asked: number): number {
  const flags = asked & PASSED_FLAGS;
  if ((flags & ACCESS_MODE) === ACCESS_MODE) return -Errno.EINVAL;
  if (!context.collectsWrites) return flags;
  // The guest's kernel reads the rest of a page that it writes a part of, and knows itself where the end is.
  const isWriting = (flags & OpenFlag.WRONLY) !== 0;
  return (flags & ~(OpenFlag.APPEND | ACCESS_MODE)) | (isWriting ? OpenFlag.RDWR : flags & ACCESS_MODE);
}

/** `struct fuse_open_out` at a place of the reply, of a file that has just been opened; the size or a negative errno. */
export function answerOpened(
  context: FuseContext,
  opened: { inode: Inode; fd: number; flags: number },
  at = 0,
): number {
  const { inode, fd, flags } = opened;
  if (fd < 0) return fd;
  const isDirectory = inode.type === FileType.DIRECTORY;
  const isWritable = (flags & ACCESS_MODE) !== 0;
  const number = context.files.add({ fd, inode, isDirectory, isWritable });
  if (number < 0) return number;
  context.reply.fill(0, at, at + OpenOut.size);
  OpenOut.fields.fh.set(context.replyView, at, number);
  OpenOut.fields.openFlags.set(context.replyView, at, replyFlags(context, isDirectory));
  return OpenOut.size;
}

function replyFlags({ options: { cache } }: FuseContext, isDirectory: boolean): number {
  if (cache === 'always') return OpenReply.KEEP_CACHE | (isDirectory ? OpenReply.CACHE_DIR : 0);
  return cache === 'never' && !isDirectory ? OpenReply.DIRECT_IO : 0;
}

function open(context: FuseContext): number {
  const { request } = context;
  const at = request.take(OpenIn.size);
  const inode = context.inode();
  if (at < 0) return -Errno.EINVAL;
  if (inode === undefined) return -Errno.ENOENT;
  return openFile(context, inode, OpenIn.fields.flags.get(request.view, at));
}

function openFile(context: FuseContext, inode: Inode, asked: number, at = 0): number {
  if (inode.type === FileType.DIRECTORY) return -Errno.EISDIR;
  const flags = hostFlags(context, asked);
  if (flags < 0) return flags;
  if (context.files.isFull) return -Errno.ENFILE;
  return answerOpened(context, { inode, fd: context.openInode(inode, flags), flags }, at);
}

/** CREATE answers with the entry and the open file. */
function create(context: FuseContext): number {
  const { request, host, files } = context;
  const at = request.take(CreateIn.size);
  if (at < 0) return -Errno.EINVAL;
  const place = placeOf(context);
  if (typeof place === 'number') return place;
  const asked = CreateIn.fields.flags.get(request.view, at);
  const mode = context.permissionsOf(CreateIn.fields.mode.get(request.view, at), FileType.REGULAR);
  const flags = hostFlags(context, asked);
  if (flags < 0) return flags;
  if (files.isFull) return -Errno.ENFILE;
  const fd = host.create(place, flags & ~OpenFlag.TRUNC, mode);
  if (fd >= 0) return answerCreated(context, fd, { flags, place });
  if (fd !== -Errno.EEXIST || (asked & OpenFlag.EXCL) !== 0) return fd;
  // Somebody on the host was faster: what is there is opened, as open(2) does.
  const inode = context.enter(host.lookup(place));
  if (typeof inode === 'number') return inode;
  const entryBytes = context.writeEntry(inode);
  return answerBoth(context, inode, openFile(context, inode, asked, entryBytes));
}

function answerCreated(context: FuseContext, fd: number, made: { flags: number; place: HostName }): number {
  const { host } = context;
  // Of the file itself: its name may stand for another one by now.
  const handle = host.reopen(fd, OpenFlag.PATH);
  const given = handle < 0 ? handle : giveAway(context, handle, made.place);
  if (given < 0 && handle >= 0) host.close(handle);
  const inode = given < 0 ? given : context.enter(handle);
  if (typeof inode === 'number') {
    host.close(fd);
    return inode;
  }
  const entryBytes = context.writeEntry(inode);
  return answerBoth(context, inode, answerOpened(context, { inode, fd, flags: made.flags }, entryBytes));
}

/** An entry that is not told of is not counted. */
function answerBoth(context: FuseContext, inode: Inode, opened: number): number {
  if (opened >= 0) return context.writeEntry(inode) + opened;
  context.inodes.forget(inode.id, 1);
  return opened;
}

function release(context: FuseContext): number {
  const { request, files } = context;
  const at = request.take(FileIn.size);
  if (at < 0) return -Errno.EINVAL;
  return files.remove(FileIn.fields.fh.get(request.view, at)) ? 0 : -Errno.EBADF;
}

/** Nothing is kept back here that a close would have to write; at this answer Linux no longer asks. */
const flush: Operation = () => -Errno.ENOSYS;

function fsync(context: FuseContext): number {
  const { request, host, files } = context;
  const at = request.take(FileIn.size);
  if (at < 0) return -Errno.EINVAL;
  const number = FileIn.fields.fh.get(request.view, at);
  const file = request.opcode === Opcode.FSYNCDIR ? files.directory(number) : files.file(number);
  if (file === undefined) return -Errno.EBADF;
  return host.sync(file.fd, (FileIn.fields.flags.get(request.view, at) & FSYNC_FDATASYNC) !== 0);
}

function fallocate(context: FuseContext): number {
  const { request, host, files } = context;
  const at = request.take(FallocateIn.size);
  if (at < 0) return -Errno.EINVAL;
  const { fh, offset: OFFSET, length: LENGTH, mode: MODE } = FallocateIn.fields;
  const file = files.file(fh.get(request.view, at));
  const [offset, sizeBytes] = [OFFSET.get(request.view, at), LENGTH.get(request.view, at)];
  const mode = MODE.get(request.view, at);
  if (file === undefined) return -Errno.EBADF;
  if ((mode & ~ALLOCATE_MODES) !== 0) return -Errno.EOPNOTSUPP;
  return isRange(offset, sizeBytes) ? host.allocate(file.fd, mode, { offset, sizeBytes }) : -Errno.EFBIG;
}

const isRange = (offset: number, sizeBytes: number): boolean => Number.isSafeInteger(offset + sizeBytes);

function lseek(context: FuseContext): number {
  const { request, host, files, reply, replyView } = context;
  const at = request.take(LseekIn.size);
  if (at < 0) return -Errno.EINVAL;
  const { fh, offset: OFFSET, whence: WHENCE } = LseekIn.fields;
  const file = files.file(fh.get(request.view, at));
  const [offset, whence] = [OFFSET.get(request.view, at), WHENCE.get(request.view, at)];
  if (file === undefined) return -Errno.EBADF;
  if (whence !== Seek.DATA && whence !== Seek.HOLE) return -Errno.EINVAL;
  if (!Number.isSafeInteger(offset)) return -Errno.ENXIO;
  const found = host.seek(file.fd, offset, whence);
  if (typeof found === 'bigint') return -Errno.EFBIG;
  if (found < 0) return found;
  reply.fill(0, 0, LseekOut.size);
  LseekOut.fields.offset.set(replyView, 0, found);
  return LseekOut.size;
}

function copyFileRange(context: FuseContext): number {
  const { request, host, files } = context;
  const at = request.take(CopyFileRangeIn.size);
  if (at < 0) return -Errno.EINVAL;
  const { fhIn, offIn, fhOut, offOut, len, flags } = CopyFileRangeIn.fields;
  const { view } = request;
  const [from, to] = [files.file(fhIn.get(view, at)), files.file(fhOut.get(view, at))];
  if (from === undefined || to === undefined) return -Errno.EBADF;
  if (flags.get(view, at) !== 0) return -Errno.EINVAL;
  const [fromOffset, toOffset] = [offIn.get(view, at), offOut.get(view, at)];
  const sizeBytes = Math.min(len.get(view, at), COPY_MAX_BYTES);
  if (!isRange(fromOffset, sizeBytes) || !isRange(toOffset, sizeBytes)) return -Errno.EFBIG;
  const count = host.copyRange({ fd: from.fd, offset: fromOffset }, { fd: to.fd, offset: toOffset }, sizeBytes);
  return count < 0 ? count : answerWritten(context, count);
}

/** `struct fuse_write_out`. */
export function answerWritten({ reply, replyView }: FuseContext, count: number): number {
  reply.fill(0, 0, WriteOut.size);
  WriteOut.fields.size.set(replyView, 0, count);
  return WriteOut.size;
}

export const FILE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.OPEN, open],
  [Opcode.CREATE, create],
  [Opcode.RELEASE, release],
  [Opcode.RELEASEDIR, release],
  [Opcode.FLUSH, flush],
  [Opcode.FSYNC, fsync],
  [Opcode.FSYNCDIR, fsync],
  [Opcode.FALLOCATE, fallocate],
  [Opcode.LSEEK, lseek],
  [Opcode.COPY_FILE_RANGE, copyFileRange],
];
