import { eventfd } from '#sys/event.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup, tryRead, tryWrite } from '#sys/file.ts';
import { assert } from '#util/assert.ts';
import { u64, u64AsNumber, viewOf } from '#util/struct.ts';

/** A counter in the kernel that wakes whoever waits for it: the form of every kick and interrupt. */
export class EventFd implements HasFd, Disposable {
  readonly #fd: Fd;
  readonly #buffer = new Uint8Array(8);
  readonly #view = viewOf(this.#buffer);

  private constructor(fd: Fd) {
    this.#fd = fd;
  }

  /** Throws SyscallError. */
  static create(initial = 0): EventFd {
    return new EventFd(new Fd(eventfd(initial)));
  }

  /** Takes over an eventfd, for example one that another process sent. It must be non-blocking. */
  static fromFd(fd: Fd): EventFd {
    return new EventFd(fd);
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** Another owner of the same counter. */
  clone(): EventFd {
    return new EventFd(new Fd(dup(this.fd)));
  }

  /** Adds to the counter. A counter at its limit of 2^64 - 2 stays there: it is readable already. */
  write(count = 1): void {
    assert(count > 0, 'something to add');
    u64AsNumber.set(this.#view, 0, count);
    tryWrite(this.fd, this.#buffer);
  }

  /** Takes the counter's value, up to 2^64 - 2, and makes it 0, or returns undefined when it is 0 already. */
  read(): bigint | undefined {
    if (tryRead(this.fd, this.#buffer) === undefined) return undefined;
    return u64.get(this.#view, 0);
  }

  /** Makes the counter 0; as `read`, but without a bigint. */
  clear(): void {
    tryRead(this.fd, this.#buffer);
  }

  /** Gives the descriptor to the caller, who closes it. */
  release(): number {
    return this.#fd.release();
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}
