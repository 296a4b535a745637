/** The file of a VM's control socket: made for its owner alone, and gone with the VM. */

import { fchmodSync, lstatSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { FlockOperation, flock } from '#sys/disk.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { bindUnix, connectUnix, listen, SocketType, socket } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { quoted } from '#util/quoted.ts';
import { ConfigError, pathMistake } from './config.ts';
import { removeSocketFile } from './socket-file.ts';

const OPTION = '--socket';
const OWNER_ONLY = 0o600;
/** Clients that wait for the loop to take them; more wait in `connect`. */
const BACKLOG = 16;

/** A listening socket with its file, which its disposal removes unless another has taken the file's place. */
export class ControlSocket implements HasFd, Disposable {
  readonly #fd: Fd;
  readonly #path: string;
  readonly #identity: string;

  /** Throws ConfigError for a path that cannot be used. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = new Fd(socket(SocketType.SEQPACKET | SocketType.NONBLOCK));
    try {
      // On Linux the file gets the mode of the socket: nobody else can connect, from the file's first moment on.
      fchmodSync(this.#fd.fd, OWNER_ONLY);
      this.#identity = bindFile(this.#fd, path);
    } catch (error) {
      this.#fd.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#fd.fd;
  }

  [Symbol.dispose](): void {
    if (!this.#fd.isOpen) return;
    if (identityOf(this.#path) === this.#identity) removeSocketFile(this.#path);
    this.#fd.close();
  }
}

/** Returns the file's identity. */
function bindFile(fd: Fd, path: string): string {
  if (identityOf(path) !== undefined) removeStale(path);
  asMistake(path, () => bindUnix(fd.fd, path));
  const identity = identityOf(path);
  listen(fd.fd, BACKLOG);
  // One that does not listen yet looks stale to another VM.
  if (identity === undefined || identityOf(path) !== identity) throw mistake(path, 'was taken by another process');
  return identity;
}

/** Two VMs that find the same stale file must not both replace it, the second the first one's: who looks has the directory locked. */
function removeStale(path: string): void {
  using directory = asMistake(path, () => Fd.open(dirname(path), OpenFlag.RDONLY | OpenFlag.DIRECTORY));
  asMistake(path, () => flock(directory.fd, FlockOperation.EXCLUSIVE | FlockOperation.NONBLOCK));
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw mistake(path, 'exists and is no socket');
  if (isListening(path)) throw mistake(path, 'another process listens there');
  asMistake(path, () => unlinkSync(path));
}

function isListening(path: string): boolean {
  using probe = new Fd(socket(SocketType.SEQPACKET | SocketType.NONBLOCK));
  try {
    connectUnix(probe.fd, path);
    return true;
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') return false;
    // A full backlog, a socket of another kind, one of another user: somebody's in any case.
    return true;
  }
}

/** Undefined when there is no such file. */
function identityOf(path: string): string | undefined {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  return stats && `${stats.dev}:${stats.ino}`;
}

function asMistake<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    throw new ConfigError([pathMistake(OPTION, path, error)]);
  }
}

function mistake(path: string, message: string): ConfigError {
  return new ConfigError([{ option: OPTION, message: `${quoted(path)}: ${message}` }]);
}
