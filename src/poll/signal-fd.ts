import { readdirSync, readFileSync } from 'node:fs';
import { Fd, type HasFd, openPipe } from '#sys/fd.ts';
import { OpenFlag, tryRead } from '#sys/file.ts';
import {
  changeSignalMask,
  installHandler,
  MaskChange,
  restoreHandler,
  type SavedAction,
  signalfd,
} from '#sys/signal.ts';
import { acquireSignalCode, releaseSignalCode, type SignalCode } from '#sys/signal-code.ts';
import { assert } from '#util/assert.ts';
import { CodedError } from '#util/errors.ts';
import { viewOf } from '#util/struct.ts';

/** A descriptor that signals arrive through, one number per read. */
export interface SignalSource extends HasFd, Disposable {
  /** The next signal's number, or undefined when none waits. */
  read(): number | undefined;
}

/** A thread that would take the signals away from a signalfd. */
export class SignalError extends CodedError<'SIGNALS_NOT_BLOCKED'> {
  override readonly name = 'SignalError';
}

/** `struct signalfd_siginfo` begins with the signal's number, uapi/linux/signalfd.h. */
const SIGINFO_SIZE_BYTES = 128;

/** The threads of this process that do not block all of `signals`, by name. */
function threadsNotBlocking(signals: readonly number[]): string[] {
  const wanted = signals.reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n);
  const names: string[] = [];
  for (const thread of readdirSync('/proc/self/task')) {
    const status = readFileSync(`/proc/self/task/${thread}/status`, 'latin1');
    const blocked = BigInt(`0x${/^SigBlk:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
    if ((blocked & wanted) !== wanted) names.push(/^Name:\s*(.*)$/m.exec(status)?.[1] ?? thread);
  }
  return names;
}

/**
 * A signalfd, for a process whose every thread blocks the signals: a device process and the warden, which are single-threaded.
 * Blocks the signals in the calling thread until it is closed. Use SignalPipe in a process with V8's threads.
 */
export class SignalFd implements SignalSource {
  readonly #fd: Fd;
  readonly #newlyBlocked: readonly number[];
  readonly #info = new Uint8Array(SIGINFO_SIZE_BYTES);
  readonly #view = viewOf(this.#info);

  /** Throws SignalError when another thread could take a signal, and SyscallError. */
  constructor(signals: readonly number[]) {
    const before = changeSignalMask(MaskChange.BLOCK, signals);
    this.#newlyBlocked = signals.filter((signal) => !before.includes(signal));
    try {
      const threads = threadsNotBlocking(signals);
      if (threads.length > 0) {
        throw new SignalError('SIGNALS_NOT_BLOCKED', `signals would be taken by threads: ${threads.join(', ')}`);
      }
      this.#fd = new Fd(signalfd(signals));
    } catch (error) {
      changeSignalMask(MaskChange.UNBLOCK, this.#newlyBlocked);
      throw error;
    }
  }

  get fd(): number {
    return this.#fd.fd;
  }

  read(): number | undefined {
    if (tryRead(this.fd, this.#info) === undefined) return undefined;
    return this.#view.getUint32(0, true);
  }

  /** Signals that were not read are delivered now, as if there had been no SignalFd. */
  close(): void {
    this.#fd.close();
    changeSignalMask(MaskChange.UNBLOCK, this.#newlyBlocked);
  }

  [Symbol.dispose](): void {
    if (this.#fd.isOpen) this.close();
  }
}

/**
 * Signals for a process with several threads: a native handler, which may run on any of them, writes the signal's number to a
 * pipe. The process's disposition of each signal changes until the close; so one SignalPipe owns a signal at a time, and
 * `process.on` must not be used for it.
 */
export class SignalPipe implements SignalSource {
  readonly #reader: Fd;
  readonly #writer: Fd;
  readonly #code: SignalCode;
  readonly #saved = new Map<number, SavedAction>();
  readonly #number = new Uint8Array(4);
  readonly #view = viewOf(this.#number);

  /** Throws SyscallError (EINVAL for SIGKILL and SIGSTOP). */
  constructor(signals: readonly number[]) {
    assert(new Set(signals).size === signals.length, 'every signal once');
    const { reader, writer } = openPipe(OpenFlag.NONBLOCK);
    this.#reader = reader;
    this.#writer = writer;
    this.#code = acquireSignalCode(writer.fd);
    try {
      for (const signal of signals) this.#saved.set(signal, installHandler(signal, this.#code.address));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#reader.fd;
  }

  read(): number | undefined {
    if (tryRead(this.fd, this.#number) === undefined) return undefined;
    return this.#view.getUint32(0, true);
  }

  /** Restores the dispositions. Signals that were not read are lost. */
  close(): void {
    for (const [signal, saved] of this.#saved) restoreHandler(signal, saved);
    releaseSignalCode(this.#code);
    this.#writer.close();
    this.#reader.close();
  }

  [Symbol.dispose](): void {
    if (this.#reader.isOpen) this.close();
  }
}
