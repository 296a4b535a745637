/** Operations on the entries of directories: what they name, and making, moving and removing them. */
import { RenameFlag } from '#sys/at-calls.ts';
import { Errno } from '#sys/syscall-error.ts';
import { ForgetIn, LinkIn, MkdirIn, MknodIn, Opcode, PATH_MAX, Rename2In, RenameIn } from '../constants.ts';
import type { FuseContext, Operation } from '../context.ts';
import { FileType, type HostName } from '../host-fs.ts';
import { NO_ID } from '../ids.ts';
import type { Inode } from '../inode-table.ts';

const SET_GROUP_ID = 0o2000;
const RENAME_FLAGS = RenameFlag.NOREPLACE | RenameFlag.EXCHANGE;

/** The next name of the request in the directory that it is about, or a negative errno. */
export function placeOf(context: FuseContext, directory: Inode | undefined = context.inode()): HostName | number {
  const name = context.request.takeName();
  if (name === undefined) return -Errno.EINVAL;
  return directory === undefined ? -Errno.ENOENT : { directory: directory.handle, name };
}

function lookup(context: FuseContext): number {
  const place = placeOf(context);
  return typeof place === 'number' ? place : answerEntry(context, place);
}

/** Looks a name up, counts that, and answers with it. */
function answerEntry(context: FuseContext, place: HostName): number {
  const inode = context.enter(context.host.lookup(place));
  return typeof inode === 'number' ? inode : context.writeEntry(inode);
}

function forget(context: FuseContext): number {
  const { request, inodes } = context;
  const at = request.take(ForgetIn.size);
  if (at >= 0) inodes.forget(request.nodeid, ForgetIn.fields.nlookup.get(request.view, at));
  return 0;
}

/**
 * Gives what has just been made to who asked for it. In a directory with the set-group-ID bit the group is the directory's. What cannot
 * be given is removed.
 */
export function giveAway(context: FuseContext, handle: number, place: HostName): number {
  const { host, options, request, stat } = context;
  if (!options.givesAway) return 0;
  const known = host.stat(place.directory, stat);
  const keepsGroup = known >= 0 && (stat.mode & SET_GROUP_ID) !== 0;
  const result = host.chown(handle, request.uid, keepsGroup ? NO_ID : request.gid);
  if (result >= 0) return result;
  if (host.unlink(place) < 0) host.rmdir(place);
  // An id that the namespace does not have.
  return result === -Errno.EINVAL ? -Errno.EPERM : result;
}

/** Answers with what has just been made at `place`. */
function answerMade(context: FuseContext, place: HostName, result: number): number {
  if (result < 0) return result;
  const { host } = context;
  const handle = host.lookup(place);
  if (handle < 0) return handle;
  const given = giveAway(context, handle, place);
  if (given < 0) {
    host.close(handle);
    return given;
  }
  const inode = context.enter(handle);
  return typeof inode === 'number' ? inode : context.writeEntry(inode);
}

function symlink(context: FuseContext): number {
  const place = placeOf(context);
  if (typeof place === 'number') return place;
  const target = context.request.takeText(PATH_MAX - 1);
  if (target === undefined) return -Errno.EINVAL;
  return answerMade(context, place, context.host.symlink(place, target));
}

function mknod(context: FuseContext): number {
  const { request, host } = context;
  const at = request.take(MknodIn.size);
  if (at < 0) return -Errno.EINVAL;
  const place = placeOf(context);
  if (typeof place === 'number') return place;
  const mode = MknodIn.fields.mode.get(request.view, at);
  const type = mode & FileType.MASK;
  // A device's file would be one of the host's devices.
  if (type === FileType.CHARACTER || type === FileType.BLOCK) return -Errno.EPERM;
  if (type !== FileType.REGULAR && type !== FileType.FIFO && type !== FileType.SOCKET) return -Errno.EINVAL;
  return answerMade(context, place, host.mknod(place, type | context.permissionsOf(mode, type)));
}

function mkdir(context: FuseContext): number {
  const { request, host } = context;
  const at = request.take(MkdirIn.size);
  if (at < 0) return -Errno.EINVAL;
  const place = placeOf(context);
  if (typeof place === 'number') return place;
  const mode = context.permissionsOf(MkdirIn.fields.mode.get(request.view, at), FileType.DIRECTORY);
  return answerMade(context, place, host.mkdir(place, mode));
}

function unlink(context: FuseContext): number {
  const place = placeOf(context);
  return typeof place === 'number' ? place : context.host.unlink(place);
}

function rmdir(context: FuseContext): number {
  const place = placeOf(context);
  return typeof place === 'number' ? place : context.host.rmdir(place);
}

function rename(context: FuseContext): number {
  const { request } = context;
  const at = request.take(RenameIn.size);
  return at < 0 ? -Errno.EINVAL : renameTo(context, RenameIn.fields.newdir.get(request.view, at), 0);
}

function rename2(context: FuseContext): number {
  const { request } = context;
  const at = request.take(Rename2In.size);
  if (at < 0) return -Errno.EINVAL;
  const flags = Rename2In.fields.flags.get(request.view, at);
  if ((flags & ~RENAME_FLAGS) !== 0) return -Errno.EINVAL;
  return renameTo(context, Rename2In.fields.newdir.get(request.view, at), flags);
}

function renameTo(context: FuseContext, newDirectory: number, flags: number): number {
  const from = placeOf(context);
  if (typeof from === 'number') return from;
  const directory = context.inodes.get(newDirectory);
  if (directory === undefined) return -Errno.ENOENT;
  const to = placeOf(context, directory);
  return typeof to === 'number' ? to : context.host.rename(from, to, flags);
}

function link(context: FuseContext): number {
  const { request, inodes, host } = context;
  const at = request.take(LinkIn.size);
  if (at < 0) return -Errno.EINVAL;
  const place = placeOf(context);
  if (typeof place === 'number') return place;
  const inode = inodes.get(LinkIn.fields.oldnodeid.get(request.view, at));
  if (inode === undefined) return -Errno.ENOENT;
  const result = host.link(inode.handle, place);
  return result < 0 ? result : answerEntry(context, place);
}

export const NAME_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.LOOKUP, lookup],
  [Opcode.FORGET, forget],
  [Opcode.SYMLINK, symlink],
  [Opcode.MKNOD, mknod],
  [Opcode.MKDIR, mkdir],
  [Opcode.UNLINK, unlink],
  [Opcode.RMDIR, rmdir],
  [Opcode.RENAME, rename],
  [Opcode.RENAME2, rename2],
  [Opcode.LINK, link],
];
