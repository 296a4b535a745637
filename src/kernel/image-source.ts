import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { getSystemErrorMessage } from 'node:util';
import { assert } from '#util/assert.ts';
import { isSize } from '#util/bits.ts';
import type { GuestRam } from './guest-ram.ts';
import { KernelLoadError } from './kernel-load-error.ts';

/** Bytes that an image is loaded from: a file, or the decompressed payload of one. */
export interface ImageSource {
  /** The file that messages name. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Fills `target` from `offset`. The caller has checked the range against `sizeBytes`. */
  read(offset: number, target: Uint8Array): void;
  /** Copies a range into guest memory; the caller has checked both ends. */
  copyTo(ram: GuestRam, copy: { offset: number; address: number; sizeBytes: number }): void;
}

/** How much of a file is held in this process's memory at a time. */
const COPY_CHUNK_BYTES = 2 ** 20;

/** An open regular file. The object owns the descriptor: `using` closes it. */
export class FileSource implements ImageSource, Disposable {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #fd: number;
  readonly #kind: 'KERNEL' | 'INITRD';

  /** Throws KernelLoadError `…_UNREADABLE` or `…_EMPTY`. */
  constructor(path: string, kind: 'KERNEL' | 'INITRD') {
    this.path = path;
    this.#kind = kind;
    try {
      // Without O_NONBLOCK the open of a FIFO would wait for a writer.
      this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (error) {
      throw this.#unreadable(error);
    }
    try {
      this.sizeBytes = this.#checkedSize();
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  read(offset: number, target: Uint8Array): void {
    assert(isSize(offset) && target.length <= this.sizeBytes - offset, 'the range is outside the file');
    for (let done = 0; done < target.length; ) {
      const count = this.#readSome(offset + done, target.subarray(done));
      if (count === 0)
        throw new KernelLoadError(`${this.#kind}_TRUNCATED`, this.path, 'the file became shorter while it was read');
      done += count;
    }
  }

  copyTo(ram: GuestRam, copy: { offset: number; address: number; sizeBytes: number }): void {
    const chunk = new Uint8Array(Math.min(copy.sizeBytes, COPY_CHUNK_BYTES));
    for (let done = 0; done < copy.sizeBytes; done += chunk.length) {
      const part = chunk.subarray(0, copy.sizeBytes - done);
      this.read(copy.offset + done, part);
      ram.writeBytes(copy.address + done, part);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #checkedSize(): number {
    const stat = fstatSync(this.#fd);
    if (!stat.isFile()) throw new KernelLoadError(`${this.#kind}_UNREADABLE`, this.path, 'is not a regular file');
    if (stat.size === 0) throw new KernelLoadError(`${this.#kind}_EMPTY`, this.path, 'the file is empty');
    return stat.size;
  }

  #readSome(offset: number, target: Uint8Array): number {
    try {
      return readSync(this.#fd, target, 0, target.length, offset);
    } catch (error) {
      throw this.#unreadable(error);
    }
  }

  #unreadable(error: unknown): KernelLoadError {
    const { errno, code } = error as NodeJS.ErrnoException;
    // Node's own message repeats the path as it is, line breaks included.
    const reason = errno === undefined ? 'the path is not valid' : `${getSystemErrorMessage(errno)} (${code})`;
    return new KernelLoadError(`${this.#kind}_UNREADABLE`, this.path, `cannot be read: ${reason}`, { cause: error });
  }
}

/** Bytes in memory under the name of the file they come from. */
export class BufferSource implements ImageSource {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #bytes: Uint8Array;

  constructor(path: string, bytes: Uint8Array) {
    this.path = path;
    this.sizeBytes = bytes.length;
    this.#bytes = bytes;
  }

  read(offset: number, target: Uint8Array): void {
    assert(isSize(offset) && target.length <= this.sizeBytes - offset, 'the range is outside the buffer');
    target.set(this.#bytes.subarray(offset, offset + target.length));
  }

  copyTo(ram: GuestRam, copy: { offset: number; address: number; sizeBytes: number }): void {
    const { offset, address, sizeBytes } = copy;
    assert(isSize(offset) && sizeBytes <= this.sizeBytes - offset, 'the range is outside the buffer');
    ram.writeBytes(address, this.#bytes.subarray(offset, offset + sizeBytes));
  }
}

/** Reads `sizeBytes` at `offset` into memory of its own; `what` names them in the KERNEL_TRUNCATED error. */
export function readRange(
  source: ImageSource,
  range: { offset: number; sizeBytes: number; what: string },
): Uint8Array<ArrayBuffer> {
  const { offset, sizeBytes, what } = range;
  if (offset > source.sizeBytes || sizeBytes > source.sizeBytes - offset) {
    const problem = `truncated: ${what} ends at byte ${offset + sizeBytes}, the file has ${source.sizeBytes}`;
    throw new KernelLoadError('KERNEL_TRUNCATED', source.path, problem);
  }
  const bytes = new Uint8Array(sizeBytes);
  source.read(offset, bytes);
  return bytes;
}
