/** Where ports write: descriptors opened by the main thread and written to by vCPU threads, or by the console's process. */
import { fstatSync } from 'node:fs';
import { Fd } from '#sys/fd.ts';
import { dup, OpenFlag, open } from '#sys/file.ts';
import { connectUnix, SocketType, socket } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { ConfigError, pathMistake, type SerialConfig } from './config.ts';
import { OUTPUT_STATE_BYTES } from './fd-sink.ts';

const STDOUT_FD = 1;

/** `blocking` is a terminal or pipe that could not be opened anew: a write to it may wait. */
export const OUTPUT_KINDS = ['file', 'socket', 'blocking'] as const;
export type OutputKind = (typeof OUTPUT_KINDS)[number];

/** An open output, as plain data for other threads. The descriptor stays the opener's. */
export interface OutputDescription {
  readonly fd: number;
  readonly kind: OutputKind;
  /** What its threads have in common, FdSink's. */
  readonly state: SharedArrayBuffer;
}

/** An open output of a serial port; closes its descriptor. */
export class OpenOutput implements Disposable {
  readonly #fd: Fd;
  readonly #kind: OutputKind;
  readonly #state = new SharedArrayBuffer(OUTPUT_STATE_BYTES);

  constructor(fd: Fd, kind: OutputKind) {
    this.#fd = fd;
    this.#kind = kind;
  }

  /** A second descriptor of it, for another process. */
  duplicate(): Fd {
    return this.#fd.duplicate();
  }

  describe(): OutputDescription {
    return { fd: this.#fd.fd, kind: this.#kind, state: this.#state };
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
