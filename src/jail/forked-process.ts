import { Fd, type HasFd } from '#sys/fd.ts';
import { read } from '#sys/file.ts';
import { type ChildStatus, pidfdOpen, pidfdSendSignal, tryWaitPidfd, waitPidfd } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { assert } from '#util/assert.ts';
import { CodedError } from '#util/errors.ts';
import { JailError, type JailRefusal } from './jail-error.ts';

/** Exit statuses of a child besides those of its function. */
export const ChildExit = {
  /** Rust's, of a panic: the function threw. */
  PANIC: 101,
  /** The jail was refused; the function has not run. */
  NOT_JAILED: 102,
} as const;

/** What a child in its jail tells its parent; one without writes a JailRefusal as a line of JSON. */
export const READY = 'ready';
/** A write to a pipe of at most this much is not torn, pipe(7). */
export const REPORT_MAX_BYTES = 4096;

export class ForkError extends CodedError<'NOT_FORKABLE' | 'CHILD_DIED'> {
  override readonly name = 'ForkError';
}

/**
 * A child made by a fork. `fd` is its pidfd, readable from its end on. With a pid namespace it is the process that waits for the
 * device and ends as that does; when it is killed the device is killed too.
 */
export class ForkedProcess implements HasFd, Disposable {
  readonly pid: number;
  readonly #pidfd: Fd;
  readonly #report: Fd;
  #status: ChildStatus | undefined;

  /** Takes the reading end of the child's report over. Throws SyscallError. */
  constructor(pid: number, report: Fd) {
    this.pid = pid;
    this.#report = report;
    this.#pidfd = new Fd(pidfdOpen(pid));
  }

  get fd(): number {
    return this.#pidfd.fd;
  }

  /** Readable when `waitReady` will not wait. Open until `waitReady` has been called. */
  get readyFd(): number {
    return this.#report.fd;
  }

  /** Whether `waitReady` has still to be called. */
  get isUnready(): boolean {
    return this.#report.isOpen;
  }

  /**
   * Waits until the child is in its jail. Throws JailError when the jail was refused, ForkError CHILD_DIED when the child was
   * killed before.
   */
  waitReady(): void {
    const bytes = new Uint8Array(2 * REPORT_MAX_BYTES);
    let sizeBytes = 0;
    try {
      for (let count = 1; count > 0 && sizeBytes < bytes.length; sizeBytes += count) {
        count = read(this.readyFd, bytes.subarray(sizeBytes));
      }
    } finally {
      this.#report.close();
    }
    const text = Buffer.from(bytes.subarray(0, sizeBytes)).toString();
    if (text === READY) return;
    const line = /\{.*\}$/m.exec(text)?.[0];
    if (line === undefined) throw new ForkError('CHILD_DIED', 'the child ended before it was in its jail');
    throw new JailError(JSON.parse(line) as JailRefusal);
  }

  /** Throws SyscallError ESRCH when the child has been waited for. */
  kill(signal: number = Signal.SIGKILL): void {
    pidfdSendSignal(this.fd, signal);
  }

  /** Waits for the child's end, and reaps it. */
  wait(): ChildStatus {
    this.#status ??= waitPidfd(this.fd);
    return this.#status;
  }

  /** As `wait`, undefined while the child runs. */
  tryWait(): ChildStatus | undefined {
    this.#status ??= tryWaitPidfd(this.fd);
    return this.#status;
  }

  /** Closes the descriptors. A child that still runs is left alone, and is the caller's to reap by its pid. */
  close(): void {
    this.#pidfd.close();
    this.#report[Symbol.dispose]();
  }

  /** Kills and reaps a child that still runs. */
  [Symbol.dispose](): void {
    if (!this.#pidfd.isOpen) return;
    if (this.tryWait() === undefined) {
      this.kill();
      this.wait();
    }
    assert(this.#status !== undefined, 'the child has been reaped');
    this.close();
  }
}

/** A status in words, for messages. */
export function statusText(status: ChildStatus): string {
  if ('exitCode' in status) return `exit status ${status.exitCode}`;
  const name = Object.entries(Signal).find(([, number]) => number === status.signal)?.[0];
  return `killed by ${name ?? `signal ${status.signal}`}`;
}
