import { fchmodSync, lstatSync, unlinkSync } from 'node:fs';
import { Fd, type HasFd } from '#sys/fd.ts';
import { bindUnix, connectUnix, listen, SocketType, socket } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';
import { removeSocketFile } from './socket-file.ts';

const BACKLOG = 128;
/** The owner's alone. */
const MODE = 0o600;

export type UnixListenerErrorCode = 'IN_USE' | 'NOT_A_SOCKET';

/** There is something at the path that is not ours to remove. */
export class UnixListenerError extends CodedError<UnixListenerErrorCode> {
  override readonly name = 'UnixListenerError';
}

/** A non-blocking stream socket that listens at a path; the file goes with it. */
export class UnixListener implements HasFd, Disposable {
  readonly #path: string;
  readonly #fd: Fd;
  readonly #file: FileId | undefined;

  /**
   * Makes the socket file, for its owner alone. One that a process left behind, at which nobody listens, is replaced. Throws
   * UnixListenerError, and SyscallError for a path that cannot be used.
   */
  constructor(path: string) {
    this.#path = path;
    this.#fd = new Fd(socket(SocketType.STREAM | SocketType.NONBLOCK));
    try {
      // Before there is a file: it gets the socket's own mode, unix(7).
      fchmodSync(this.#fd.fd, MODE);
      bindReplacing(this.#fd, path);
    } catch (error) {
      this.#fd.close();
      throw error;
    }
    this.#file = fileAt(path);
    try {
      listen(this.#fd.fd, BACKLOG);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** A second descriptor of the same socket. */
  duplicate(): Fd {
    return this.#fd.duplicate();
  }

  /** A file that another process has put there stays. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
    const now = fileAt(this.#path);
    if (now === undefined || now.device !== this.#file?.device || now.inode !== this.#file.inode) return;
    removeSocketFile(this.#path);
  }
}

interface FileId {
  readonly device: number;
  readonly inode: number;
  readonly isSocket: boolean;
}

function fileAt(path: string): FileId | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats && { device: stats.dev, inode: stats.ino, isSocket: stats.isSocket() };
}

function bindReplacing(fd: Fd, path: string): void {
  try {
    bindUnix(fd.fd, path);
  } catch (error) {
    if (!(error instanceof SyscallError) || error.code !== 'EADDRINUSE') throw error;
    if (fileAt(path)?.isSocket !== true) throw new UnixListenerError('NOT_A_SOCKET', 'is there, and is no socket');
    if (!isDead(path)) throw new UnixListenerError('IN_USE', 'somebody listens at this socket already');
    unlinkSync(path);
    bindUnix(fd.fd, path);
  }
}

/** Only a connection that is refused shows that nobody listens. */
function isDead(path: string): boolean {
  try {
    connectStream(path).close();
    return false;
  } catch (error) {
    if (error instanceof SyscallError) return error.code === 'ECONNREFUSED';
    throw error;
  }
}

/** A non-blocking connection to a listening socket; it does not wait: EAGAIN when as many as it takes wait. Throws SyscallError. */
export function connectStream(path: string): Fd {
  const fd = new Fd(socket(SocketType.STREAM | SocketType.NONBLOCK));
  try {
    connectUnix(fd.fd, path);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}
