/** What the operations of the FUSE server work with, made once. */
import { OpenFlag } from '#sys/file.ts';
import { Errno } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import { writeAttributes } from './attributes-out.ts';
import { AttrOut, EntryOut, XATTR_MAX_BYTES } from './constants.ts';
import { FileTable } from './file-table.ts';
import { FileType, type HostFs, HostStat } from './host-fs.ts';
import type { IdTranslation } from './ids.ts';
import { type Inode, InodeTable } from './inode-table.ts';
import { FuseRequest } from './request.ts';

/** How long the guest may go on with what it was told: nothing is kept, until the time is over, or file contents beyond opens too. */
export const CACHE_POLICIES = ['never', 'auto', 'always'] as const;
export type CachePolicy = (typeof CACHE_POLICIES)[number];

export interface FuseOptions {
  readonly host: HostFs;
  readonly readOnly: boolean;
  readonly cache: CachePolicy;
  /** How long names and attributes are valid; with `never` they are not. */
  readonly timeoutSeconds: number;
  /** The guest may collect writes, if it can. */
  readonly writeback: boolean;
  readonly ids: IdTranslation;
  /** What is made belongs to who asked for it, which takes privileges; else to the user of this process. */
  readonly givesAway: boolean;
  readonly inodesMax: number;
  readonly filesMax: number;
}

/** An operation: how many bytes of the reply it has filled, or a negative errno. */
export type Operation = (context: FuseContext) => number;

/** The longest answer that is not file contents. */
const REPLY_BYTES = XATTR_MAX_BYTES;

/** Bits of a mode, inode(7). */
const PERMISSIONS = 0o7777;
const SET_IDS = 0o6000;

export class FuseContext {
  readonly options: FuseOptions;
  readonly host: HostFs;
  readonly inodes: InodeTable;
  readonly files: FileTable;
  readonly request = new FuseRequest();
  readonly reply = new Uint8Array(new ArrayBuffer(REPLY_BYTES));
  readonly replyView = viewOf(this.reply);
  readonly stat = new HostStat();
  /** How much of a reply the guest has room for. */
  room = 0;
  /** Agreed on by INIT. */
  isInitialized = false;
  collectsWrites = false;
  readonly timeoutSeconds: number;

  constructor(options: FuseOptions) {
    this.options = options;
    this.host = options.host;
    this.timeoutSeconds = options.cache === 'never' ? 0 : options.timeoutSeconds;
    this.inodes = new InodeTable(options.host, options.inodesMax);
    this.files = new FileTable(options.host, options.filesMax);
  }

  /** The inode that the request is about. */
  inode(): Inode | undefined {
    return this.inodes.get(this.request.nodeid);
  }

  /** Closes all, as for another driver. */
  forgetAll(): void {
    this.files.clear();
    this.inodes.clear();
    this.isInitialized = false;
    this.collectsWrites = false;
  }

  /** Takes over the path handle of an inode and counts a lookup of it: it, or a negative errno. `stat` is of it then. */
  enter(handle: number): Inode | number {
    if (handle < 0) return handle;
    const result = this.host.stat(handle, this.stat);
    if (result < 0) {
      this.host.close(handle);
      return result;
    }
    return this.inodes.take(handle, this.stat);
  }

  /** `struct fuse_entry_out` at a place of the reply, from `stat`; its size. */
  writeEntry(inode: Inode, at = 0): number {
    const { replyView: view, timeoutSeconds, options } = this;
    this.reply.fill(0, at, at + EntryOut.size);
    EntryOut.fields.nodeid.set(view, at, inode.id);
    EntryOut.fields.entryValid.set(view, at, timeoutSeconds);
    EntryOut.fields.attrValid.set(view, at, timeoutSeconds);
    writeAttributes(this.stat, options.ids, view, at + EntryOut.fields.attr.offset);
    return EntryOut.size;
  }

  /** `struct fuse_attr_out` from `stat`; its size. */
  writeAttr(): number {
    const { replyView: view, timeoutSeconds, options } = this;
    this.reply.fill(0, 0, AttrOut.size);
    AttrOut.fields.attrValid.set(view, 0, timeoutSeconds);
    writeAttributes(this.stat, options.ids, view, AttrOut.fields.attr.offset);
    return AttrOut.size;
  }

  /**
   * What a guest may set of a file's mode. Where files belong to the user of this process, whoever made them, none gets that user's rights on
   * the host: set-user-ID and set-group-ID are left out, but for directories, on which they give none.
   */
  permissionsOf(mode: number, type: number): number {
    const isPlain = type === FileType.DIRECTORY || this.options.givesAway;
    return mode & (isPlain ? PERMISSIONS : PERMISSIONS & ~SET_IDS);
  }

  /** Opens a regular file or a directory of the guest's: nothing else has bytes on the host. A descriptor or a negative errno. */
  openInode({ type, handle }: Inode, flags: number): number {
    if (type === FileType.SYMLINK) return -Errno.ELOOP;
    if (type !== FileType.REGULAR && type !== FileType.DIRECTORY) return -Errno.ENXIO;
    const isWriting =
      (flags & OpenFlag.WRONLY) !== 0 || (flags & OpenFlag.RDWR) !== 0 || (flags & OpenFlag.TRUNC) !== 0;
    if (isWriting && this.options.readOnly) return -Errno.EROFS;
    return this.host.reopen(handle, flags);
  }
}
