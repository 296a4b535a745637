/** A guest's memory as the host sees it, by the memfd of the machine's process. */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { MiB } from '#util/bits.ts';
import { linksIn } from '../integration/jail/observe.ts';

function memoryPath(pid: number): string {
  const fds = `/proc/${pid}/fd`;
  // Others come and go meanwhile.
  const [memory] = Object.entries(linksIn(fds)).find(([, link]) => link.includes('memfd:')) ?? [];
  assert.ok(memory, 'guest memory is a memfd');
  return join(fds, memory);
}

/** What the guest's memory takes of the host. */
export function hostMib(pid: number): number {
  return (statSync(memoryPath(pid)).blocks * 512) / MiB;
}

/** Compares all of it with what it was before. */
export class MemoryWatch implements Disposable {
  readonly #fd: number;
  #before: Buffer;
  #now: Buffer;

  constructor(pid: number) {
    this.#fd = openSync(memoryPath(pid), 'r');
    const { size } = fstatSync(this.#fd);
    [this.#before, this.#now] = [Buffer.alloc(size), Buffer.alloc(size)];
  }

  /** Whether any byte is another than at the last call. */
  hasChanged(): boolean {
    [this.#before, this.#now] = [this.#now, this.#before];
    assert.equal(readSync(this.#fd, this.#now, 0, this.#now.length, 0), this.#now.length);
    return !this.#now.equals(this.#before);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
