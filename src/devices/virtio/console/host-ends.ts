/** The ends of a port as descriptors of the device's process. */
import { PollFlag, pollFd } from '#sys/epoll.ts';
import type { Fd, HasFd } from '#sys/fd.ts';
import { tryRead, tryWrite } from '#sys/file.ts';
import { trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import type { Log } from '#util/log.ts';
import type { ConsoleInput, ConsoleOutput } from './console-port.ts';

/** A stream socket or a pipe that does not block. */
export class FdInput implements ConsoleInput {
  readonly #fd: Fd;
  readonly #log: Log;

  constructor(fd: Fd, log: Log) {
    this.#fd = fd;
    this.#log = log;
  }

  get fd(): number {
    return this.#fd.fd;
  }

  read(target: Uint8Array): number | undefined {
    try {
      return tryRead(this.fd, target);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#log.warn(`input failed: ${error.message}`);
      return 0;
    }
  }
}

/** Of a descriptor for output: `blocking` is a terminal or pipe whose writes may wait. */
export type FdOutputKind = 'file' | 'socket' | 'blocking';

/** A file, a terminal, a pipe or a connected socket. After a failure, which is reported, what comes is dropped. */
export class FdOutput implements ConsoleOutput {
  readonly source: HasFd;
  isClosed = false;
  readonly #kind: FdOutputKind;
  readonly #log: Log;

  constructor(fd: Fd, kind: FdOutputKind, log: Log) {
    this.source = fd;
    this.#kind = kind;
    this.#log = log;
  }

  write(bytes: Uint8Array): number {
    if (this.isClosed) return bytes.length;
    try {
      const { fd } = this.source;
      if (this.#kind === 'socket') return trySend(fd, bytes, bytes.length) ?? 0;
      // A pipe that can be written to takes PIPE_BUF bytes at least, which is what comes at most.
      if (this.#kind === 'blocking' && pollFd(fd, PollFlag.OUT, 0) === 0) return 0;
      return tryWrite(fd, bytes) ?? 0;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.isClosed = true;
      this.#log.error(`output failed: ${error.message}`);
      return bytes.length;
    }
  }

  /** Only a socket has a peer; one that has only ended its own direction still takes what comes. */
  checkPeer(): void {
    if (this.#kind === 'socket' && (pollFd(this.source.fd, 0, 0) & PollFlag.HUP) !== 0) this.isClosed = true;
  }
}

/** Swallows everything. */
export const nullOutput: ConsoleOutput = {
  isClosed: false,
  write: (bytes) => bytes.length,
  checkPeer() {},
};
