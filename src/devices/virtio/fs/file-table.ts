import { Errno } from '#sys/syscall-error.ts';
import type { HostFs } from './host-fs.ts';
import type { Inode } from './inode-table.ts';

/** A file or directory that the guest has open. */
export interface OpenFile {
  readonly fd: number;
  readonly inode: Inode;
  readonly isDirectory: boolean;
  readonly isWritable: boolean;
  /** Of a directory: the position that the guest was given last, in two words, which is the descriptor's unless `hasMoved`. */
  low: number;
  high: number;
  hasMoved: boolean;
}

export type NewFile = Pick<OpenFile, 'fd' | 'inode' | 'isDirectory' | 'isWritable'>;

/** Open files by the numbers that the guest has for them. A number is never used again. */
export class FileTable {
  readonly #host: HostFs;
  readonly #limit: number;
  readonly #files = new Map<number, OpenFile>();
  #nextNumber = 1;

  constructor(host: HostFs, limit: number) {
    this.#host = host;
    this.#limit = limit;
  }

  get count(): number {
    return this.#files.size;
  }

  get isFull(): boolean {
    return this.#files.size >= this.#limit;
  }

  /** Takes over the descriptor. The number of the file, or ENFILE as a negative one. */
  add(file: NewFile): number {
    if (this.isFull) {
      this.#host.close(file.fd);
      return -Errno.ENFILE;
    }
    const number = this.#nextNumber++;
    this.#files.set(number, { ...file, low: 0, high: 0, hasMoved: false });
    return number;
  }

  /** A file that is no directory. */
  file(number: number): OpenFile | undefined {
    const found = this.#files.get(number);
    return found?.isDirectory === false ? found : undefined;
  }

  directory(number: number): OpenFile | undefined {
    const found = this.#files.get(number);
    return found?.isDirectory === true ? found : undefined;
  }

  /** False when there is no such file. */
  remove(number: number): boolean {
    const file = this.#files.get(number);
    if (file === undefined) return false;
    this.#files.delete(number);
    this.#host.close(file.fd);
    return true;
  }

  clear(): void {
    for (const { fd } of this.#files.values()) this.#host.close(fd);
    this.#files.clear();
  }
}
