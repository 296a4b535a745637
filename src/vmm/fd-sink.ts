/** Bytes of a port to a descriptor, from whichever vCPU thread they come. */
import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { tryWrite } from '#sys/file.ts';
import { trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { SharedMutex } from '#util/shared-mutex.ts';
import type { OutputDescription } from './serial-output.ts';

/** Output is written at least this often; PIPE_BUF of Linux, so that a pipe takes it whole or not at all. */
const BUFFER_BYTES = 4096;

/** Words before the buffer. What threads held back each for itself would come out in another order than the guest wrote it. */
const WORD = { MUTEX: 0, LENGTH: 1, FAILED: 2, PANIC: 3, COUNT: 4 } as const;
const BUFFER_OFFSET = WORD.COUNT * Int32Array.BYTES_PER_ELEMENT;
export const OUTPUT_STATE_BYTES = BUFFER_OFFSET + BUFFER_BYTES;

/** The word for PanicWatch's matching, which is a port's and not a thread's, too. */
export function panicStateOf({ state }: OutputDescription): Int32Array {
  return new Int32Array(state, WORD.PANIC * Int32Array.BYTES_PER_ELEMENT, 1);
}

export interface FdSinkOptions {
  readonly output: OutputDescription;
  /** Readable when the machine ends: nothing is waited for any more. */
  readonly stop: EventFd;
  /** The output failed; what comes after is dropped. Called once, in one of the threads. */
  readonly onFailure: (error: SyscallError) => void;
}

/** A port's bytes to a descriptor, in pieces, for one thread. Waits for a slow reader until the machine ends. */
export class FdSink implements ByteSink, Disposable {
  readonly #options: FdSinkOptions;
  readonly #mutex: SharedMutex;
  readonly #words: Int32Array;
  readonly #buffer: Uint8Array;
  #poll: PollContext<'writable' | 'stop'> | undefined;

  constructor(options: FdSinkOptions) {
    const { state } = options.output;
    this.#options = options;
    this.#words = new Int32Array(state, 0, WORD.COUNT);
    this.#buffer = new Uint8Array(state, BUFFER_OFFSET, BUFFER_BYTES);
    this.#mutex = new SharedMutex(this.#words, WORD.MUTEX);
  }

  write(byte: number): void {
    this.#mutex.lock();
    try {
      const length = this.#words[WORD.LENGTH]!;
      this.#buffer[length] = byte;
      this.#words[WORD.LENGTH] = length + 1;
      if (length + 1 === BUFFER_BYTES) this.#passOn();
    } finally {
      this.#mutex.unlock();
    }
  }

  /** Who else has the lock passes on all that there is, or has just written and will. */
  flush(): void {
    if (Atomics.load(this.#words, WORD.LENGTH) === 0 || !this.#mutex.tryLock()) return;
    try {
      this.#passOn();
    } finally {
      this.#mutex.unlock();
    }
  }

  [Symbol.dispose](): void {
    this.#poll?.[Symbol.dispose]();
  }

  /** With the lock, so that what comes meanwhile waits for its turn. */
  #passOn(): void {
    const length = this.#words[WORD.LENGTH]!;
    this.#words[WORD.LENGTH] = 0;
    if (length === 0 || this.#words[WORD.FAILED] !== 0) return;
    try {
      this.#writeAll(length);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#words[WORD.FAILED] = 1;
      this.#options.onFailure(error);
    }
  }

  #writeAll(length: number): void {
    const { fd, kind } = this.#options.output;
    for (let done = 0; done < length; ) {
      const rest = this.#buffer.subarray(done, length);
      const count = kind === 'socket' ? trySend(fd, rest, rest.length) : tryWrite(fd, rest);
      if (count !== undefined) done += count;
      else if (!this.#waitWritable()) return;
    }
  }

  /** False when the machine ends. */
  #waitWritable(): boolean {
    this.#poll ??= this.#createPoll();
    let writable = true;
    for (const { token } of this.#poll.wait()) if (token === 'stop') writable = false;
    return writable;
  }

  #createPoll(): PollContext<'writable' | 'stop'> {
    const poll = new PollContext(namedTokens('writable', 'stop'));
    poll.add(this.#options.output, 'writable', 'writable');
    poll.add(this.#options.stop, 'stop');
    return poll;
  }
}
