/** Operations on what is known of an inode: attributes, its file system's figures, extended attributes, a link's target. */
import { Statfs } from '#sys/at-calls.ts';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import {
  AccessIn,
  GETATTR_FH,
  GetattrIn,
  GetxattrIn,
  NAME_MAX,
  Opcode,
  PATH_MAX,
  SetAttr,
  SetattrIn,
  SetxattrIn,
  StatfsOut,
  XATTR_MAX_BYTES,
} from '../constants.ts';
import type { FuseContext, Operation } from '../context.ts';
import { FileType } from '../host-fs.ts';
import { NO_ID } from '../ids.ts';
import type { Inode } from '../inode-table.ts';

const W_OK = 2;
const NANOSECONDS = 1_000_000_000;

/** Special values of `tv_nsec`, utimensat(2). */
const NOW = 0x3fff_ffff;
const OMIT = 0x3fff_fffe;

function getattr(context: FuseContext): number {
  const { request, host, files, stat } = context;
  const at = request.take(GetattrIn.size);
  const inode = context.inode();
  if (at < 0) return -Errno.EINVAL;
  if (inode === undefined) return -Errno.ENOENT;
  const usesFile = (GetattrIn.fields.getattrFlags.get(request.view, at) & GETATTR_FH) !== 0;
  const file = usesFile ? files.file(GetattrIn.fields.fh.get(request.view, at)) : undefined;
  const result = host.stat(file?.fd ?? inode.handle, stat);
  return result < 0 ? result : context.writeAttr();
}

const times = new Uint8Array(new ArrayBuffer(32));
const timesView = viewOf(times);
const { fields: SET } = SetattrIn;

function setattr(context: FuseContext): number {
  const { request, host, stat } = context;
  const at = request.take(SetattrIn.size);
  const inode = context.inode();
  if (at < 0) return -Errno.EINVAL;
  if (inode === undefined) return -Errno.ENOENT;
  const valid = SET.valid.get(request.view, at);
  for (const step of [setOwner, setMode, setSize, setTimes]) {
    const result = step(context, inode, at, valid);
    if (result < 0) return result;
  }
  const result = host.stat(inode.handle, stat);
  return result < 0 ? result : context.writeAttr();
}

/** Before the mode, from which the kernel takes set-user-ID away with it. */
function setOwner({ request, host, options }: FuseContext, inode: Inode, at: number, valid: number): number {
  if ((valid & (SetAttr.UID | SetAttr.GID)) === 0) return 0;
  const { hostUid, hostGid } = options.ids;
  const uid = (valid & SetAttr.UID) === 0 ? NO_ID : hostUid(SET.uid.get(request.view, at));
  const gid = (valid & SetAttr.GID) === 0 ? NO_ID : hostGid(SET.gid.get(request.view, at));
  const isUnknown = ((valid & SetAttr.UID) !== 0 && uid === NO_ID) || ((valid & SetAttr.GID) !== 0 && gid === NO_ID);
  if (isUnknown) return -Errno.EPERM;
  const result = host.chown(inode.handle, uid, gid);
  // An id that the namespace does not have: nobody may give a file to it.
  return result === -Errno.EINVAL ? -Errno.EPERM : result;
}

function setMode(context: FuseContext, inode: Inode, at: number, valid: number): number {
  if ((valid & SetAttr.MODE) === 0) return 0;
  const { request, host } = context;
  if (inode.type === FileType.SYMLINK) return -Errno.EOPNOTSUPP;
  return host.chmod(inode.handle, context.permissionsOf(SET.mode.get(request.view, at), inode.type));
}

function setSize(context: FuseContext, inode: Inode, at: number, valid: number): number {
  if ((valid & SetAttr.SIZE) === 0) return 0;
  const { request, host, files } = context;
  const sizeBytes = SET.size.get(request.view, at);
  if (!Number.isSafeInteger(sizeBytes)) return -Errno.EFBIG;
  const file = (valid & SetAttr.FH) === 0 ? undefined : files.file(SET.fh.get(request.view, at));
  if (file?.isWritable === true) return host.truncate(file.fd, sizeBytes);
  const fd = context.openInode(inode, OpenFlag.WRONLY);
  if (fd < 0) return fd;
  const result = host.truncate(fd, sizeBytes);
  host.close(fd);
  return result;
}

function setTimes({ request, host }: FuseContext, inode: Inode, at: number, valid: number): number {
  if ((valid & (SetAttr.ATIME | SetAttr.MTIME)) === 0) return 0;
  const { view } = request;
  const put = (to: number, field: 'atime' | 'mtime', isSet: boolean, isNow: boolean): boolean => {
    const seconds = SET[field].offset + at;
    const nanoseconds = SET[`${field}nsec`].get(view, at);
    if (isSet && !isNow && nanoseconds >= NANOSECONDS) return false;
    timesView.setUint32(to, view.getUint32(seconds, true), true);
    timesView.setUint32(to + 4, view.getUint32(seconds + 4, true), true);
    timesView.setUint32(to + 8, isSet ? (isNow ? NOW : nanoseconds) : OMIT, true);
    return true;
  };
  const isGood =
    put(0, 'atime', (valid & SetAttr.ATIME) !== 0, (valid & SetAttr.ATIME_NOW) !== 0) &&
    put(16, 'mtime', (valid & SetAttr.MTIME) !== 0, (valid & SetAttr.MTIME_NOW) !== 0);
  return isGood ? host.utimens(inode.handle, times) : -Errno.EINVAL;
}

function readlink(context: FuseContext): number {
  const inode = context.inode();
  if (inode === undefined) return -Errno.ENOENT;
  if (inode.type !== FileType.SYMLINK) return -Errno.EINVAL;
  return context.host.readlink(inode.handle, context.reply.subarray(0, Math.min(PATH_MAX, context.room)));
}

const statfsBytes = new Uint8Array(new ArrayBuffer(Statfs.size));
const statfsView = viewOf(statfsBytes);

function statfs(context: FuseContext): number {
  const inode = context.inode();
  if (inode === undefined) return -Errno.ENOENT;
  const result = context.host.statfs(inode.handle, statfsBytes);
  if (result < 0) return result;
  const { reply, replyView } = context;
  reply.fill(0, 0, StatfsOut.size);
  for (const name of ['blocks', 'bfree', 'bavail', 'files', 'ffree'] as const) {
    const from = Statfs.fields[name].offset;
    reply.set(statfsBytes.subarray(from, from + 8), StatfsOut.fields[name].offset);
  }
  for (const name of ['bsize', 'namelen', 'frsize'] as const) {
    StatfsOut.fields[name].set(replyView, 0, Statfs.fields[name].get(statfsView, 0));
  }
  return StatfsOut.size;
}

/** The guest's kernel has judged the mode; what it cannot know is told by the call itself. */
function access(context: FuseContext): number {
  const { request, options } = context;
  const at = request.take(AccessIn.size);
  if (at < 0) return -Errno.EINVAL;
  if (context.inode() === undefined) return -Errno.ENOENT;
  return options.readOnly && (AccessIn.fields.mask.get(request.view, at) & W_OK) !== 0 ? -Errno.EROFS : 0;
}

/** The one namespace of extended attributes that has no meaning to the host's kernel, xattr(7). */
const USER_PREFIX = Buffer.from('user.');

function isUserAttribute(name: Uint8Array): boolean {
  return name.length > USER_PREFIX.length + 1 && USER_PREFIX.every((byte, at) => name[at] === byte);
}

/** Only these have such attributes, xattr(7). */
const hasAttributes = ({ type }: Inode): boolean => type === FileType.REGULAR || type === FileType.DIRECTORY;

/** Opens an inode for its attributes, for a path handle has none. */
function withFile(context: FuseContext, inode: Inode, use: (fd: number) => number): number {
  const fd = context.openInode(inode, OpenFlag.RDONLY);
  if (fd < 0) return fd;
  const result = use(fd);
  context.host.close(fd);
  return result;
}

const NAME_SIZE_MAX = NAME_MAX;

function setxattr(context: FuseContext): number {
  const { request, host } = context;
  const at = request.take(SetxattrIn.size);
  if (at < 0) return -Errno.EINVAL;
  const name = request.takeText(NAME_SIZE_MAX);
  const sizeBytes = SetxattrIn.fields.size.get(request.view, at);
  if (sizeBytes > XATTR_MAX_BYTES) return -Errno.E2BIG;
  const value = request.takeBytes(sizeBytes);
  if (name === undefined || value === undefined) return -Errno.EINVAL;
  const inode = context.inode();
  if (inode === undefined) return -Errno.ENOENT;
  if (!isUserAttribute(name)) return -Errno.EOPNOTSUPP;
  if (!hasAttributes(inode)) return -Errno.EPERM;
  const flags = SetxattrIn.fields.flags.get(request.view, at);
  return withFile(context, inode, (fd) => host.setxattr(fd, name, value, flags));
}

function getxattr(context: FuseContext): number {
  const { request, host, reply } = context;
  const at = request.take(GetxattrIn.size);
  if (at < 0) return -Errno.EINVAL;
  const name = request.takeText(NAME_SIZE_MAX);
  if (name === undefined) return -Errno.EINVAL;
  const inode = context.inode();
  if (inode === undefined) return -Errno.ENOENT;
  if (!isUserAttribute(name)) return -Errno.EOPNOTSUPP;
  if (!hasAttributes(inode)) return -Errno.ENODATA;
  const size = GetxattrIn.fields.size.get(request.view, at);
  const target = reply.subarray(0, Math.min(size, context.room));
  const result = withFile(context, inode, (fd) => host.getxattr(fd, name, size === 0 ? reply.subarray(0, 0) : target));
  return size === 0 && result >= 0 ? answerSize(context, result) : result;
}

/** `struct fuse_getxattr_out`. */
function answerSize({ reply, replyView }: FuseContext, sizeBytes: number): number {
  reply.fill(0, 0, GetxattrIn.size);
  GetxattrIn.fields.size.set(replyView, 0, sizeBytes);
  return GetxattrIn.size;
}

function listxattr(context: FuseContext): number {
  const { request, host, reply } = context;
  const at = request.take(GetxattrIn.size);
  const inode = context.inode();
  if (at < 0) return -Errno.EINVAL;
  if (inode === undefined) return -Errno.ENOENT;
  const listed = hasAttributes(inode) ? withFile(context, inode, (fd) => host.listxattr(fd, reply)) : 0;
  if (listed < 0) return listed;
  const sizeBytes = keepUserAttributes(reply, listed);
  const size = GetxattrIn.fields.size.get(request.view, at);
  if (size === 0) return answerSize(context, sizeBytes);
  return sizeBytes > size ? -Errno.ERANGE : sizeBytes;
}

/** Leaves the names of the guest's attributes in a list; its new size. */
function keepUserAttributes(list: Uint8Array, sizeBytes: number): number {
  let kept = 0;
  for (let from = 0; from < sizeBytes; ) {
    const end = list.indexOf(0, from) + 1;
    if (end <= from) break;
    if (isUserAttribute(list.subarray(from, end))) {
      list.copyWithin(kept, from, end);
      kept += end - from;
    }
    from = end;
  }
  return kept;
}

function removexattr(context: FuseContext): number {
  const { request, host } = context;
  const name = request.takeText(NAME_SIZE_MAX);
  if (name === undefined) return -Errno.EINVAL;
  const inode = context.inode();
  if (inode === undefined) return -Errno.ENOENT;
  if (!isUserAttribute(name)) return -Errno.EOPNOTSUPP;
  if (!hasAttributes(inode)) return -Errno.EPERM;
  return withFile(context, inode, (fd) => host.removexattr(fd, name));
}

export const ATTRIBUTE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [Opcode.GETATTR, getattr],
  [Opcode.SETATTR, setattr],
  [Opcode.READLINK, readlink],
  [Opcode.STATFS, statfs],
  [Opcode.ACCESS, access],
  [Opcode.SETXATTR, setxattr],
  [Opcode.GETXATTR, getxattr],
  [Opcode.LISTXATTR, listxattr],
  [Opcode.REMOVEXATTR, removexattr],
];
