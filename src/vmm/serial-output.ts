/** Where ports write: descriptors opened by the main thread and written to by vCPU threads, or by the console's process. */
import { fstatSync } from 'node:fs';
import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd } from '#sys/fd.ts';
import { dup, OpenFlag, open, tryWrite } from '#sys/file.ts';
import { connectUnix, SocketType, socket, trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { ConfigError, pathMistake, type SerialConfig } from './config.ts';

const STDOUT_FD = 1;
/** Output is written at least this often; PIPE_BUF of Linux, so that a pipe takes it whole or not at all. */
const BUFFER_BYTES = 4096;

/** `blocking` is a terminal or pipe that could not be opened anew: a write to it may wait. */
export const OUTPUT_KINDS = ['file', 'socket', 'blocking'] as const;
export type OutputKind = (typeof OUTPUT_KINDS)[number];

/** An open output, as plain data for other threads. The descriptor stays the opener's. */
export interface OutputDescription {
  readonly fd: number;
  readonly kind: OutputKind;
}

/** An open output of a serial port; closes its descriptor. */
export class OpenOutput implements Disposable {
  readonly #fd: Fd;
  readonly #kind: OutputKind;

  constructor(fd: Fd, kind: OutputKind) {
    this.#fd = fd;
    this.#kind = kind;
  }

  /** A second descriptor of it, for another process. */
  duplicate(): Fd {
    return this.#fd.duplicate();
  }

  describe(): OutputDescription {
    return { fd: this.#fd.fd, kind: this.#kind };
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }
}

/** Opens what a port writes to; undefined for a sink. Throws ConfigError for a path that cannot be used. */
export function openOutput({ type, path = '' }: SerialConfig): OpenOutput | undefined {
  try {
    switch (type) {
      case 'sink':
        return undefined;
      case 'stdout':
        return openStdout();
      case 'file':
        return new OpenOutput(Fd.open(path, OpenFlag.WRONLY | OpenFlag.APPEND | OpenFlag.CREAT, 0o666), 'file');
      case 'unix':
        return connected(SocketType.DGRAM, path);
      case 'unix-stream':
        return connected(SocketType.STREAM, path);
    }
  } catch (error) {
    if (type === 'stdout' || !(error instanceof SyscallError)) throw error;
    throw new ConfigError([pathMistake('--serial', path, error)]);
  }
}

function connected(type: number, path: string): OpenOutput {
  const fd = new Fd(socket(type));
  try {
    connectUnix(fd.fd, path);
  } catch (error) {
    fd.close();
    throw error;
  }
  return new OpenOutput(fd, 'socket');
}

/**
 * Standard output in a form that a write does not block on, so that a reader who stops reading cannot keep the machine from
 * ending. A pipe or terminal is opened anew for that: O_NONBLOCK on the description that we share with others would be theirs too.
 */
function openStdout(): OpenOutput {
  const stats = fstatSync(STDOUT_FD);
  if (stats.isSocket()) return new OpenOutput(new Fd(dup(STDOUT_FD)), 'socket');
  if (stats.isFIFO() || stats.isCharacterDevice()) {
    try {
      const flags = OpenFlag.WRONLY | OpenFlag.NONBLOCK | OpenFlag.NOCTTY;
      return new OpenOutput(new Fd(open(`/proc/self/fd/${STDOUT_FD}`, flags)), 'file');
    } catch (error) {
      // A terminal of another user (after su), or no /proc.
      if (!(error instanceof SyscallError)) throw error;
      return new OpenOutput(new Fd(dup(STDOUT_FD)), 'blocking');
    }
  }
  return new OpenOutput(new Fd(dup(STDOUT_FD)), 'file');
}

export interface FdSinkOptions {
  readonly output: OutputDescription;
  /** Readable when the machine ends: nothing is waited for any more. */
  readonly stop: EventFd;
  /** The output failed; what comes after is dropped. Called once. */
  readonly onFailure: (error: SyscallError) => void;
}

/** A port's bytes to a descriptor, in pieces. Waits for a slow reader until the machine ends. */
export class FdSink implements ByteSink, Disposable {
  readonly #options: FdSinkOptions;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #length = 0;
  #failed = false;
  #poll: PollContext<'writable' | 'stop'> | undefined;

  constructor(options: FdSinkOptions) {
    this.#options = options;
  }

  write(byte: number): void {
    this.#buffer[this.#length++] = byte;
    if (this.#length === BUFFER_BYTES) this.flush();
  }

  flush(): void {
    if (this.#length === 0) return;
    const length = this.#length;
    this.#length = 0;
    if (this.#failed) return;
    try {
      this.#writeAll(length);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#failed = true;
      this.#options.onFailure(error);
    }
  }

  [Symbol.dispose](): void {
    this.#poll?.[Symbol.dispose]();
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
