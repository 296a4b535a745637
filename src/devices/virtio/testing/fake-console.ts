import { EventFd } from '#poll/event-fd.ts';
import type { ConsoleInput, ConsoleOutput } from '../console/console-port.ts';

/** Input that a test types: its event is readable while there is some, or at the end. */
export class TypedInput implements ConsoleInput, Disposable {
  readonly #event = EventFd.create();
  #waiting = '';
  #ended = false;
  get fd(): number {
    return this.#event.fd;
  }
  get waiting(): string {
    return this.#waiting;
  }
  type(text: string): void {
    this.#waiting += text;
    this.#event.write();
  }
  end(): void {
    this.#ended = true;
    this.#event.write();
  }
  read(target: Uint8Array): number | undefined {
    if (this.#waiting === '') {
      if (this.#ended) return 0;
      this.#event.read();
      return undefined;
    }
    const taken = this.#waiting.slice(0, target.length);
    this.#waiting = this.#waiting.slice(taken.length);
    target.set(Buffer.from(taken, 'latin1'));
    return taken.length;
  }
  [Symbol.dispose](): void {
    this.#event.close();
  }
}

/** Output that a test looks at, with as much room as it says. Its descriptor is never not writable. */
export class FakeOutput implements ConsoleOutput, Disposable {
  readonly source = EventFd.create();
  isClosed = false;
  /** Whether somebody is there when that is looked at. */
  hasPeer = true;
  room = Number.POSITIVE_INFINITY;
  text = '';
  writeCalls = 0;

  write(bytes: Uint8Array): number {
    this.writeCalls += 1;
    if (this.isClosed) return bytes.length;
    const count = Math.min(bytes.length, this.room);
    this.room -= count;
    this.text += Buffer.from(bytes.subarray(0, count)).toString('latin1');
    return count;
  }

  checkPeer(): void {
    if (!this.hasPeer) this.isClosed = true;
  }

  [Symbol.dispose](): void {
    this.source.close();
  }
}
