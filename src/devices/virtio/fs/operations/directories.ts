/** Reading directories, with and without looking up what is in them. */
import { Dirent64, Seek } from '#sys/at-calls.ts';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import { alignUp } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { Dirent, EntryOut, Opcode, OpenIn, ReadIn } from '../constants.ts';
import type { FuseContext, Operation } from '../context.ts';
import type { OpenFile } from '../file-table.ts';
import { FileType } from '../host-fs.ts';
import { answerOpened } from './files.ts';

/** FUSE_REC_ALIGN of uapi/linux/fuse.h. */
const ALIGNMENT = 8;
const DOT = 0x2e;
/** The most of a directory that is read at once; NAME_MAX and the rest of an entry fit in many times. */
const LISTING_BYTES = 32 << 10;
/** So that an entry with the longest name always fits. */
const LISTING_BYTES_MIN = 512;

const listing = new Uint8Array(new ArrayBuffer(LISTING_BYTES));
const listingView = viewOf(listing);
const { ino: INO, off: OFF, reclen: RECLEN, type: TYPE } = Dirent64.fields;
const NAME_AT = Dirent64.size;

function opendir(context: FuseContext): number {
  const { request, files } = context;
  const at = request.take(OpenIn.size);
  const inode = context.inode();
  if (at < 0) return -Errno.EINVAL;
  if (inode === undefined) return -Errno.ENOENT;
  if (inode.type !== FileType.DIRECTORY) return -Errno.ENOTDIR;
  if (files.isFull) return -Errno.ENFILE;
  const flags = OpenFlag.RDONLY | OpenFlag.DIRECTORY;
  return answerOpened(context, { inode, fd: context.openInode(inode, flags), flags });
}

/** One answer of entries as it is filled. */
interface Filling {
  readonly context: FuseContext;
  readonly file: OpenFile;
  /** With what is looked up of each entry. */
  readonly withEntries: boolean;
  readonly end: number;
  at: number;
}

const readdir: Operation = (context) => read(context, false);
const readdirplus: Operation = (context) => read(context, true);

function read(context: FuseContext, withEntries: boolean): number {
  const { request, files, reply } = context;
  const at = request.take(ReadIn.size);
  if (at < 0) return -Errno.EINVAL;
  const { fh, offset: OFFSET, size } = ReadIn.fields;
  const file = files.directory(fh.get(request.view, at));
  if (file === undefined) return -Errno.EBADF;
  const moved = moveTo(context, file, at + OFFSET.offset);
  if (moved < 0) return moved;
  const end = Math.min(size.get(request.view, at), context.room, reply.length);
  const filling: Filling = { context, file, withEntries, end, at: 0 };
  for (;;) {
    // What an entry takes in the answer is never less than on the host, so that what is read mostly fits.
    const left = Math.max(LISTING_BYTES_MIN, Math.min(LISTING_BYTES, end - filling.at));
    const count = context.host.getdents(file.fd, listing.subarray(0, left));
    if (count < 0) return filling.at > 0 ? filling.at : count;
    if (count === 0 || !takeListing(filling, count)) return filling.at;
  }
}

/** Goes to the position that the guest wants to go on from, 64 bits at `at` of the request, unless it is there. */
function moveTo({ request: { view }, host }: FuseContext, file: OpenFile, at: number): number {
  const [low, high] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
  if (!file.hasMoved && low === file.low && high === file.high) return 0;
  const result = host.seek(file.fd, BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)), Seek.SET);
  if (result < 0) return -Errno.EINVAL;
  file.low = low;
  file.high = high;
  file.hasMoved = false;
  return 0;
}

/** Puts the entries of the listing into the answer; false when one did not fit, which the next request reads again. */
function takeListing(filling: Filling, count: number): boolean {
  const { file } = filling;
  for (let from = 0; from < count; from += RECLEN.get(listingView, from)) {
    if (!put(filling, from)) {
      file.hasMoved = true;
      return false;
    }
    file.low = listingView.getUint32(from + OFF.offset, true);
    file.high = listingView.getUint32(from + OFF.offset + 4, true);
  }
  return true;
}

/** Puts one entry into the answer; false when it does not fit. */
function put(filling: Filling, from: number): boolean {
  const { context, withEntries, at } = filling;
  const { reply, replyView } = context;
  const nameAt = from + NAME_AT;
  const nameBytes = listing.indexOf(0, nameAt) - nameAt;
  const direntAt = at + (withEntries ? EntryOut.size : 0);
  const end = alignUp(direntAt + Dirent.size + nameBytes, ALIGNMENT);
  if (end > filling.end) return false;
  reply.fill(0, at, end);
  if (withEntries) enter(filling, nameAt, nameBytes);
  reply.set(listing.subarray(from + INO.offset, from + INO.offset + INO.size), direntAt + Dirent.fields.ino.offset);
  reply.set(listing.subarray(from + OFF.offset, from + OFF.offset + OFF.size), direntAt + Dirent.fields.off.offset);
  Dirent.fields.namelen.set(replyView, direntAt, nameBytes);
  Dirent.fields.type.set(replyView, direntAt, listing[from + TYPE.offset] ?? 0);
  reply.set(listing.subarray(nameAt, nameAt + nameBytes), direntAt + Dirent.size);
  filling.at = end;
  return true;
}

/** Looks an entry up. What cannot be is left zeros, as `.` and `..` are: the guest asks for it when it needs it. */
function enter({ context, file, at }: Filling, nameAt: number, nameBytes: number): void {
  const isDots = listing[nameAt] === DOT && (nameBytes === 1 || (nameBytes === 2 && listing[nameAt + 1] === DOT));
  if (isDots) return;
  const name = listing.subarray(nameAt, nameAt + nameBytes + 1);
  const inode = context.enter(context.host.lookup({ directory: file.inode.handle, name }));
  if (typeof inode !== 'number') context.writeEntry(inode, at);
}

export const DIRECTORY_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.OPENDIR, opendir],
  [Opcode.READDIR, readdir],
  [Opcode.READDIRPLUS, readdirplus],
];
