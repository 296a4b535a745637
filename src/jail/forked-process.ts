import { Fd, type HasFd } from '#sys/fd.ts';
import { write } from '#sys/file.ts';
import { MessageBuffer } from '#sys/message.ts';
import { type ChildStatus, pidfdSendSignal, tryWaitPidfd, waitPidfd } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { Shutdown, shutdown } from '#sys/socket.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
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

/** What a child in its jail tells its parent, with its filter's listener where it has one; a child without writes a JailRefusal as a line of JSON. */
export const READY = 'ready';
/** The longest report. */
const REPORT_MAX_BYTES = 4096;

/** Room for one report at a time: nothing here waits while it holds one. */
const reports = new MessageBuffer(REPORT_MAX_BYTES, 1);

export class ForkError extends CodedError<'NOT_FORKABLE' | 'CHILD_DIED'> {
  override readonly name = 'ForkError';
}

/** A child made by a fork. `fd` is its pidfd, readable from its end on. */
export class ForkedProcess implements HasFd, Disposable {
  readonly pid: number;
  readonly #pidfd: Fd;
  readonly #report: Fd;
  #listener: Fd | undefined;
  #refusal: JailRefusal | undefined;
  #status: ChildStatus | undefined;

  /** Takes the pidfd and our end of the seqpacket pair of the child's reports over. */
  constructor({ pid, pidfd, report }: { readonly pid: number; readonly pidfd: number; readonly report: Fd }) {
    this.pid = pid;
    this.#report = report;
    this.#pidfd = new Fd(pidfd);
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

  /** Lets the child, which waits for a message, go on. One that has ended does not. Throws SyscallError. */
  start(message: Uint8Array): void {
    try {
      write(this.readyFd, message);
    } catch (error) {
      if (!(error instanceof SyscallError && error.errno === Errno.EPIPE)) throw error;
    }
  }

  /** Ends the child, which waits for `start`. `waitReady` throws this refusal. */
  refuse(refusal: JailRefusal): void {
    this.#refusal = refusal;
    shutdown(this.readyFd, Shutdown.WRITE);
  }

  /**
   * Waits until the child is in its jail. Throws JailError when the jail was refused, ForkError CHILD_DIED when the child was
   * killed before.
   */
  waitReady(): void {
    let text = '';
    try {
      for (let part = this.#nextReport(); part !== ''; part = this.#nextReport()) text += part;
    } finally {
      this.#report.close();
    }
    if (text === READY) return;
    if (this.#refusal !== undefined) throw new JailError(this.#refusal);
    if (text === '') throw new ForkError('CHILD_DIED', 'the child ended before it was in its jail');
    throw new JailError(JSON.parse(text) as JailRefusal);
  }

  /** The descriptor that hears of denied calls, once the child is in its jail; undefined where there is none. */
  get listener(): Fd | undefined {
    return this.#listener;
  }

  /**
   * Throws SyscallError ESRCH when the child has been waited for. The first process of a pid namespace takes no other signal than SIGKILL and
   * SIGSTOP.
   */
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

  /** '' at the end, when the child has closed its. */
  #nextReport(): string {
    let sizeBytes: number;
    do sizeBytes = reports.receive({ fd: this.readyFd }, true);
    while (sizeBytes === -Errno.EINTR);
    const [fd] = reports.fds;
    if (reports.fdCount > 0 && fd !== undefined) this.#listener = new Fd(fd);
    return Buffer.from(reports.bytes.subarray(0, sizeBytes)).toString();
  }

  /** Closes the descriptors. A child that still runs is left alone, and is the caller's to reap by its pid. */
  close(): void {
    this.#pidfd.close();
    this.#listener?.[Symbol.dispose]();
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
