import type { IoVectors } from '#disk/io-vectors.ts';
import { Dirent64, RenameFlag, Seek, Statfs, Statx, UtimeNs } from '#sys/at-calls.ts';
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import { alignUp } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { FileType, type HostFs, type HostName, type HostRange, type HostStat } from '../host-fs.ts';
import { NO_ID } from '../ids.ts';

export interface MemoryNode {
  readonly ino: number;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Contents of a file, target of a symbolic link. */
  data: Uint8Array;
  mtimeSeconds: number;
  /** Of a directory, by the name as Latin-1. */
  readonly entries: Map<string, MemoryNode>;
  readonly attributes: Map<string, Uint8Array>;
}

interface Descriptor {
  readonly node: MemoryNode;
  readonly isPath: boolean;
  readonly flags: number;
  position: number;
}

const BLOCK_BYTES = 4096;
const FILE_BYTES_MAX = 1 << 20;
const WRITING = OpenFlag.WRONLY | OpenFlag.RDWR;

/**
 * A directory in memory. It keeps to what HostFs says of a host, and `misuses` has what a server asked for that it must not: names that
 * are none, descriptors of the other kind or that are closed.
 */
export class MemoryHost implements HostFs {
  readonly root: number;
  readonly rootNode: MemoryNode;
  readonly misuses: string[] = [];
  /** What was synced, in order. */
  readonly synced: number[] = [];
  /** Returned by `create`, `mkdir` and `write` in place of what they do, unless 0. */
  failure = 0;
  readonly #descriptors = new Map<number, Descriptor>();
  #nextFd = 100;
  #nextIno = 2;

  constructor() {
    this.rootNode = this.#node(FileType.DIRECTORY | 0o755);
    this.root = this.#open(this.rootNode, true, 0);
  }

  /** Descriptors besides the root. */
  get openCount(): number {
    return this.#descriptors.size - 1;
  }

  /** Puts a file there as somebody on the host would. */
  put(path: string, mode: number, content: string | Uint8Array = ''): MemoryNode {
    const parts = path.split('/');
    const name = parts.pop() ?? '';
    const directory = parts.reduce((node, part) => node.entries.get(part) ?? this.rootNode, this.rootNode);
    const node = this.#node(mode);
    node.data = Buffer.from(content);
    directory.entries.set(name, node);
    return node;
  }

  lookup(place: HostName): number {
    const node = this.#child(place);
    return typeof node === 'number' ? node : this.#open(node, true, 0);
  }

  stat(fd: number, target: HostStat): number {
    const found = this.#descriptors.get(fd);
    if (found === undefined) return this.#misuse(`stat of ${fd}`);
    const { node } = found;
    const time = { seconds: BigInt(node.mtimeSeconds), nanoseconds: 5, reserved: 0 };
    const { ino, mode, uid, gid, nlink, data } = node;
    const encoded = Statx.encode({
      mode,
      uid,
      gid,
      nlink,
      ino: BigInt(ino),
      size: BigInt(data.length),
      blksize: BLOCK_BYTES,
    });
    target.bytes.set(encoded);
    for (const name of ['atime', 'mtime', 'ctime'] as const) {
      const at = Statx.fields[name].offset;
      target.view.setBigInt64(at, time.seconds, true);
      target.view.setUint32(at + 8, time.nanoseconds, true);
    }
    return 0;
  }

  reopen(fd: number, flags: number): number {
    const found = this.#descriptors.get(fd);
    if (found === undefined) return this.#misuse(`reopen of ${fd}`);
    const isPath = (flags & OpenFlag.PATH) !== 0;
    const type = found.node.mode & FileType.MASK;
    if (!isPath && type !== FileType.REGULAR && type !== FileType.DIRECTORY) return this.#misuse('reopen of no file');
    if (type === FileType.DIRECTORY && (flags & (WRITING | OpenFlag.TRUNC)) !== 0) return -Errno.EISDIR;
    if ((flags & OpenFlag.TRUNC) !== 0) found.node.data = new Uint8Array();
    return this.#open(found.node, isPath, flags);
  }

  create(place: HostName, flags: number, mode: number): number {
    const made = this.#make(place, FileType.REGULAR | mode);
    return typeof made === 'number' ? made : this.#open(made, false, flags);
  }

  mkdir(place: HostName, mode: number): number {
    const made = this.#make(place, FileType.DIRECTORY | mode);
    return typeof made === 'number' ? made : 0;
  }

  mknod(place: HostName, mode: number): number {
    const type = mode & FileType.MASK;
    if (type === FileType.CHARACTER || type === FileType.BLOCK) return this.#misuse('a device');
    const made = this.#make(place, mode);
    return typeof made === 'number' ? made : 0;
  }

  symlink(place: HostName, target: Uint8Array): number {
    if (target.at(-1) !== 0) return this.#misuse('a target that does not end');
    const made = this.#make(place, FileType.SYMLINK | 0o777);
    if (typeof made === 'number') return made;
    made.data = target.slice(0, -1);
    return 0;
  }

  readlink(handle: number, target: Uint8Array): number {
    const node = this.#path(handle);
    if (node === undefined) return -Errno.EBADF;
    target.set(node.data.subarray(0, target.length));
    return Math.min(target.length, node.data.length);
  }

  unlink(place: HostName): number {
    const node = this.#child(place);
    if (typeof node === 'number') return node;
    if ((node.mode & FileType.MASK) === FileType.DIRECTORY) return -Errno.EISDIR;
    return this.#remove(place, node);
  }

  rmdir(place: HostName): number {
    const node = this.#child(place);
    if (typeof node === 'number') return node;
    if ((node.mode & FileType.MASK) !== FileType.DIRECTORY) return -Errno.ENOTDIR;
    return node.entries.size > 0 ? -Errno.ENOTEMPTY : this.#remove(place, node);
  }

  rename(from: HostName, to: HostName, flags: number): number {
    const node = this.#child(from);
    const directory = this.#directory(to);
    if (typeof node === 'number') return node;
    if (typeof directory === 'number') return directory;
    const replaced = directory.entries.get(textOf(to));
    if (replaced !== undefined && (flags & RenameFlag.NOREPLACE) !== 0) return -Errno.EEXIST;
    this.#path(from.directory)?.entries.delete(textOf(from));
    directory.entries.set(textOf(to), node);
    if ((flags & RenameFlag.EXCHANGE) !== 0 && replaced !== undefined) {
      this.#path(from.directory)?.entries.set(textOf(from), replaced);
    }
    return 0;
  }

  link(handle: number, place: HostName): number {
    const node = this.#path(handle);
    const directory = this.#directory(place);
    if (node === undefined) return -Errno.EBADF;
    if (typeof directory === 'number') return directory;
    if (directory.entries.has(textOf(place))) return -Errno.EEXIST;
    node.nlink += 1;
    directory.entries.set(textOf(place), node);
    return 0;
  }

  chmod(handle: number, mode: number): number {
    const node = this.#path(handle);
    if (node === undefined) return -Errno.EBADF;
    node.mode = (node.mode & FileType.MASK) | mode;
    return 0;
  }

  chown(handle: number, uid: number, gid: number): number {
    const node = this.#path(handle);
    if (node === undefined) return -Errno.EBADF;
    if (uid !== NO_ID) node.uid = uid;
    if (gid !== NO_ID) node.gid = gid;
    return 0;
  }

  utimens(handle: number, times: Uint8Array): number {
    const node = this.#path(handle);
    if (node === undefined) return -Errno.EBADF;
    const view = viewOf(times);
    const nanoseconds = view.getUint32(24, true);
    if (nanoseconds !== UtimeNs.OMIT) {
      node.mtimeSeconds = nanoseconds === UtimeNs.NOW ? 1_000_000 : Number(view.getBigInt64(16, true));
    }
    return 0;
  }

  truncate(file: number, sizeBytes: number): number {
    const found = this.#file(file, WRITING);
    if (found === undefined) return -Errno.EBADF;
    if (sizeBytes > FILE_BYTES_MAX) return -Errno.EFBIG;
    resize(found.node, sizeBytes);
    return 0;
  }

  statfs(_handle: number, target: Uint8Array): number {
    target.set(Statfs.encode({ bsize: BLOCK_BYTES, frsize: BLOCK_BYTES, blocks: 100n, bfree: 50n, namelen: 255 }));
    return 0;
  }

  read(file: number, target: IoVectors, offset: number): number {
    const found = this.#file(file, 0);
    if (found === undefined) return -Errno.EBADF;
    let done = 0;
    for (let index = 0; index < target.count; index++) {
      const part = found.node.data.subarray(offset + done, offset + done + target.sizeAt(index));
      target.memory.copyFrom(part, target.offsetAt(index));
      done += part.length;
    }
    return done;
  }

  write(file: number, source: IoVectors, offset: number): number {
    const found = this.#file(file, WRITING);
    if (this.failure !== 0) return this.failure;
    if (found === undefined) return -Errno.EBADF;
    const { node, flags } = found;
    const start = (flags & OpenFlag.APPEND) === 0 ? offset : node.data.length;
    if (start + source.sizeBytes > FILE_BYTES_MAX) return -Errno.EFBIG;
    resize(node, Math.max(node.data.length, start + source.sizeBytes));
    let done = 0;
    for (let index = 0; index < source.count; index++) {
      const size = source.sizeAt(index);
      source.memory.slice(source.offsetAt(index), size).copyTo(node.data.subarray(start + done, start + done + size));
      done += size;
    }
    return done;
  }

  getdents(file: number, target: Uint8Array): number {
    const found = this.#file(file, 0);
    if (found === undefined) return -Errno.EBADF;
    const { node } = found;
    const all: (readonly [string, MemoryNode])[] = [['.', node], ['..', node], ...node.entries];
    let done = 0;
    while (found.position < all.length) {
      const [name, child] = all[found.position] ?? ['', node];
      const reclen = alignUp(Dirent64.size + name.length + 1, 8);
      if (done + reclen > target.length) return done > 0 ? done : -Errno.EINVAL;
      const off = BigInt(found.position + 1) << 40n;
      target.fill(0, done, done + reclen);
      target.set(Dirent64.encode({ ino: BigInt(child.ino), off, reclen, type: Uint8Array.of(child.mode >> 12) }), done);
      target.set(Buffer.from(name, 'latin1'), done + Dirent64.size);
      done += reclen;
      found.position += 1;
    }
    return done;
  }

  seek(file: number, offset: number | bigint, whence: number): number | bigint {
    const found = this.#file(file, 0);
    if (found === undefined) return -Errno.EBADF;
    if (whence === Seek.SET) {
      if (BigInt(offset) < 0n) return -Errno.EINVAL;
      found.position = Number(BigInt(offset) >> 40n);
      return offset;
    }
    const end = found.node.data.length;
    if (Number(offset) >= end) return -Errno.ENXIO;
    return whence === Seek.DATA ? offset : end;
  }

  sync(file: number, dataOnly: boolean): number {
    const found = this.#file(file, 0);
    if (found === undefined) return -Errno.EBADF;
    this.synced.push(dataOnly ? -found.node.ino : found.node.ino);
    return 0;
  }

  allocate(file: number, _mode: number, { offset, sizeBytes }: HostRange): number {
    const found = this.#file(file, WRITING);
    if (found === undefined) return -Errno.EBADF;
    if (offset + sizeBytes > FILE_BYTES_MAX) return -Errno.EFBIG;
    resize(found.node, Math.max(found.node.data.length, offset + sizeBytes));
    return 0;
  }

  copyRange(from: { fd: number; offset: number }, to: { fd: number; offset: number }, sizeBytes: number): number {
    const [source, target] = [this.#file(from.fd, 0), this.#file(to.fd, WRITING)];
    if (source === undefined || target === undefined) return -Errno.EBADF;
    const part = source.node.data.slice(from.offset, from.offset + sizeBytes);
    if (to.offset + part.length > FILE_BYTES_MAX) return -Errno.EFBIG;
    resize(target.node, Math.max(target.node.data.length, to.offset + part.length));
    target.node.data.set(part, to.offset);
    return part.length;
  }

  getxattr(file: number, name: Uint8Array, target: Uint8Array): number {
    const value = this.#file(file, 0)?.node.attributes.get(latin1(name));
    if (value === undefined) return -Errno.ENODATA;
    if (target.length === 0) return value.length;
    if (value.length > target.length) return -Errno.ERANGE;
    target.set(value);
    return value.length;
  }

  setxattr(file: number, name: Uint8Array, value: Uint8Array, _flags: number): number {
    this.#file(file, 0)?.node.attributes.set(latin1(name), value.slice());
    return 0;
  }

  listxattr(file: number, target: Uint8Array): number {
    const names = [...(this.#file(file, 0)?.node.attributes.keys() ?? [])].map((name) => `${name}\0`).join('');
    target.set(Buffer.from(names, 'latin1'));
    return names.length;
  }

  removexattr(file: number, name: Uint8Array): number {
    return this.#file(file, 0)?.node.attributes.delete(latin1(name)) === true ? 0 : -Errno.ENODATA;
  }

  close(fd: number): void {
    if (fd === this.root || !this.#descriptors.delete(fd)) this.#misuse(`close of ${fd}`);
  }

  #node(mode: number): MemoryNode {
    const entries = new Map<string, MemoryNode>();
    const ids = { ino: this.#nextIno++, uid: 0, gid: 0, nlink: 1, mtimeSeconds: 1 };
    return { ...ids, mode, data: new Uint8Array(), entries, attributes: new Map() };
  }

  #open(node: MemoryNode, isPath: boolean, flags: number): number {
    const fd = this.#nextFd++;
    this.#descriptors.set(fd, { node, isPath, flags, position: 0 });
    return fd;
  }

  #misuse(what: string): number {
    this.misuses.push(what);
    return -Errno.EBADF;
  }

  #path(handle: number): MemoryNode | undefined {
    const found = this.#descriptors.get(handle);
    if (found?.isPath === true) return found.node;
    this.#misuse(`${handle} as a path handle`);
    return undefined;
  }

  #file(fd: number, access: number): Descriptor | undefined {
    const found = this.#descriptors.get(fd);
    if (found?.isPath !== false) {
      this.#misuse(`${fd} as a file`);
      return undefined;
    }
    return access === 0 || (found.flags & access) !== 0 ? found : undefined;
  }

  #directory(place: HostName): MemoryNode | number {
    const text = textOf(place);
    const isName = place.name.at(-1) === 0 && place.name.length > 1 && !/[\0/]/.test(text);
    if (!isName || text === '.' || text === '..') return this.#misuse(`the name ${JSON.stringify(text)}`);
    const node = this.#path(place.directory);
    if (node === undefined) return -Errno.EBADF;
    return (node.mode & FileType.MASK) === FileType.DIRECTORY ? node : -Errno.ENOTDIR;
  }

  #child(place: HostName): MemoryNode | number {
    const directory = this.#directory(place);
    if (typeof directory === 'number') return directory;
    return directory.entries.get(textOf(place)) ?? -Errno.ENOENT;
  }

  #make(place: HostName, mode: number): MemoryNode | number {
    const directory = this.#directory(place);
    if (typeof directory === 'number') return directory;
    if (this.failure !== 0) return this.failure;
    if (directory.entries.has(textOf(place))) return -Errno.EEXIST;
    const node = this.#node(mode);
    directory.entries.set(textOf(place), node);
    return node;
  }

  #remove(place: HostName, node: MemoryNode): number {
    this.#path(place.directory)?.entries.delete(textOf(place));
    node.nlink -= 1;
    return 0;
  }
}

const latin1 = (name: Uint8Array): string => Buffer.from(name.subarray(0, -1)).toString('latin1');
const textOf = ({ name }: HostName): string => latin1(name);

function resize(node: MemoryNode, sizeBytes: number): void {
  const data = new Uint8Array(sizeBytes);
  data.set(node.data.subarray(0, sizeBytes));
  node.data = data;
}
