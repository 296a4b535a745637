import { assert } from '#util/assert.ts';
import { close, dup, OpenFlag, open, pipe } from './file.ts';

/** Anything with an open descriptor that polls and calls may use. Reading `fd` after the close is a programmer error. */
export interface HasFd {
  readonly fd: number;
}

/** An owned descriptor: closed exactly once, by `using` or `close()`, unless `release()` gives the ownership away. */
export class Fd implements HasFd, Disposable {
  #fd: number;

  /** Takes over an open descriptor. */
  constructor(fd: number) {
    assert(Number.isInteger(fd) && fd >= 0, 'not a descriptor');
    this.#fd = fd;
  }

  /** Throws SyscallError with the path. `flags` are of OpenFlag; O_CLOEXEC is always set. */
  static open(path: string, flags: number = OpenFlag.RDONLY, mode = 0o666): Fd {
    return new Fd(open(path, flags, mode));
  }

  get fd(): number {
    assert(this.#fd >= 0, 'the descriptor is closed or released');
    return this.#fd;
  }

  get isOpen(): boolean {
    return this.#fd >= 0;
  }

  /** A second descriptor of the same open file. */
  duplicate(): Fd {
    return new Fd(dup(this.fd));
  }

  /** Gives the descriptor to the caller, who closes it. */
  release(): number {
    const fd = this.fd;
    this.#fd = -1;
    return fd;
  }

  /** Throws SyscallError when the kernel reports a late write error; the descriptor is gone all the same. */
  close(): void {
    close(this.release());
  }

  /** Closes unless the descriptor is closed or released already, so that `using` goes together with both. */
  [Symbol.dispose](): void {
    if (this.isOpen) this.close();
  }
}

/** A pipe's two ends. `flags` are of OpenFlag, for example NONBLOCK. */
export function openPipe(flags = 0): { reader: Fd; writer: Fd } {
  const { readFd, writeFd } = pipe(flags);
  return { reader: new Fd(readFd), writer: new Fd(writeFd) };
}
