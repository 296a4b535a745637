import { EventFd } from '#poll/event-fd.ts';
import { InputEvent } from '../input/constants.ts';
import type { InputSource } from '../input/input-source.ts';

/** An event as a source and a guest write it. */
export function eventBytes(type: number, code: number, value: number): Uint8Array {
  return InputEvent.encode({ type, code, value });
}

/** A source whose bytes a test gives, readable while there are some; it takes as many bytes as `room` says. */
export class FakeInput implements InputSource, Disposable {
  end: string | undefined;
  room = Number.POSITIVE_INFINITY;
  readonly written: number[] = [];
  readonly #event = EventFd.create();
  #given: number[] = [];

  get fd(): number {
    return this.#event.fd;
  }

  give(...parts: readonly Uint8Array[]): void {
    for (const part of parts) this.#given.push(...part);
    this.#event.write();
  }

  close(reason: string): void {
    this.end = reason;
    this.#event.write();
  }

  read(target: Uint8Array): number {
    const taken = this.#given.splice(0, target.length);
    target.set(taken);
    if (this.#given.length === 0 && this.end === undefined) this.#event.clear();
    return taken.length;
  }

  write(source: Uint8Array, sizeBytes: number): number {
    const count = Math.min(sizeBytes, this.room);
    this.room -= count;
    this.written.push(...source.subarray(0, count));
    return count;
  }

  keepFds(): readonly number[] {
    return [this.fd];
  }

  [Symbol.dispose](): void {
    this.#event.close();
  }
}
