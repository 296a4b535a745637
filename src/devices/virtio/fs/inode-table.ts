import { Errno } from '#sys/syscall-error.ts';
import { ROOT_ID } from './constants.ts';
import type { HostFs, HostStat } from './host-fs.ts';

/** An inode that the guest knows, by its path handle. */
export interface Inode {
  readonly id: number;
  readonly handle: number;
  /** Of FileType: it never changes. */
  readonly type: number;
  readonly key: string;
  /** How often the guest has been told of it less what it has forgotten. */
  lookups: number;
}

/** Inodes by the guest's number and by what the host tells them apart by. A number is never used again. */
export class InodeTable {
  readonly #host: HostFs;
  readonly #limit: number;
  readonly #byId = new Map<number, Inode>();
  readonly #byKey = new Map<string, Inode>();
  #nextId = ROOT_ID + 1;

  /** `limit` is the most inodes besides the root. */
  constructor(host: HostFs, limit: number) {
    this.#host = host;
    this.#limit = limit;
  }

  /** Besides the root. */
  get count(): number {
    return this.#byId.size - (this.#byId.has(ROOT_ID) ? 1 : 0);
  }

  get isFull(): boolean {
    return this.count >= this.#limit;
  }

  get(id: number): Inode | undefined {
    return this.#byId.get(id);
  }

  /** The shared directory; `stat` is of it. */
  addRoot(stat: HostStat): void {
    const { key, type } = stat;
    const root: Inode = { id: ROOT_ID, handle: this.#host.root, type, key, lookups: 0 };
    this.#byId.set(ROOT_ID, root);
    this.#byKey.set(key, root);
  }

  /** Counts one lookup of the inode of a path handle, which it takes over. ENFILE as a negative number: there are too many. */
  take(handle: number, stat: HostStat): Inode | number {
    const { key } = stat;
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      this.#host.close(handle);
      known.lookups += 1;
      return known;
    }
    if (this.isFull) {
      this.#host.close(handle);
      return -Errno.ENFILE;
    }
    const inode: Inode = { id: this.#nextId++, handle, type: stat.type, key, lookups: 1 };
    this.#byId.set(inode.id, inode);
    this.#byKey.set(key, inode);
    return inode;
  }

  /** Never fails: an unknown number, and more than there were, are the guest's loss alone. */
  forget(id: number, count: number): void {
    const inode = this.#byId.get(id);
    if (inode === undefined || id === ROOT_ID) return;
    inode.lookups -= Math.min(count, inode.lookups);
    if (inode.lookups > 0) return;
    this.#byId.delete(id);
    this.#byKey.delete(inode.key);
    this.#host.close(inode.handle);
  }

  /** Forgets all of them, the root too. */
  clear(): void {
    for (const { id, handle } of this.#byId.values()) if (id !== ROOT_ID) this.#host.close(handle);
    this.#byId.clear();
    this.#byKey.clear();
  }
}
