import type { IoVectors } from '../../io-vectors.ts';
import type { ImageFile } from '../image-file.ts';

/** What reached the file, in order. */
export type FileEvent = { readonly offset: number; readonly bytes: Uint8Array } | 'sync';

/** A file in memory that records what is written, refuses what is absurd, and fails when told to. */
export class MemoryImage implements ImageFile {
  /** Its length is the file's; grown by writes. */
  content: Uint8Array<ArrayBuffer>;
  events: FileEvent[] | undefined;
  /** Calls that change the file until one fails; none does by default. */
  failAfter = Number.POSITIVE_INFINITY;
  #room: Uint8Array<ArrayBuffer>;
  /** As a file system that makes holes. */
  makesHoles = true;
  readonly #failure: () => Error;
  readonly #lengthMax: number;

  constructor(content = new Uint8Array(), { lengthMax = 2 ** 28, failure = () => new Error('told to fail') } = {}) {
    this.content = content;
    this.#room = content;
    this.#lengthMax = lengthMax;
    this.#failure = failure;
  }

  get lengthBytes(): number {
    return this.content.length;
  }

  keepFds(): readonly number[] {
    return [];
  }

  read(offset: number, target: Uint8Array): void {
    const part = this.content.subarray(Math.min(offset, this.content.length), offset + target.length);
    target.fill(0);
    target.set(part);
  }

  write(offset: number, source: Uint8Array): void {
    this.#mayFail();
    if (offset + source.length > this.#lengthMax)
      throw new Error(`a wild write of ${source.length} bytes at ${offset}`);
    if (offset + source.length > this.content.length) {
      const end = offset + source.length;
      if (end > this.#room.length) {
        this.#room = new Uint8Array(2 * end);
        this.#room.set(this.content);
      }
      this.content = this.#room.subarray(0, end);
    }
    this.content.set(source, offset);
    this.events?.push({ offset, bytes: source.slice() });
  }

  readVectors(offset: number, target: IoVectors): void {
    const bytes = new Uint8Array(target.sizeBytes);
    this.read(offset, bytes);
    target.fillFrom(bytes);
  }

  writeVectors(offset: number, source: IoVectors): void {
    const bytes = new Uint8Array(source.sizeBytes);
    let done = 0;
    for (let index = 0; index < source.count; index++) {
      const size = source.sizeAt(index);
      source.memory.copyTo(bytes.subarray(done, done + size), source.offsetAt(index));
      done += size;
    }
    this.write(offset, bytes);
    source.clear();
  }

  sync(): void {
    this.#mayFail();
    this.events?.push('sync');
  }

  punch(offset: number, sizeBytes: number): void {
    const size = Math.min(sizeBytes, this.content.length - offset);
    if (size > 0 && this.makesHoles) this.write(offset, new Uint8Array(size));
  }

  [Symbol.dispose](): void {}

  #mayFail(): void {
    if (--this.failAfter < 0) throw this.#failure();
  }
}
