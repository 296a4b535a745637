import type { Fd, HasFd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';

/** The other end of an input device: events come from it and status events go to it, as records of InputEvent in a stream. */
export interface InputSource extends HasFd {
  /** Why nothing will come or be taken any more. */
  readonly end: string | undefined;
  /** Reads what there is, up to the size of `target`; 0 when nothing is there, or at the end. Never waits. */
  read(target: Uint8Array): number;
  /** Sends as much of the first `sizeBytes` of `source` as is taken now; returns how much. Never waits. */
  write(source: Uint8Array, sizeBytes: number): number;
  keepFds(): readonly number[];
}

/** A connected Unix stream socket, crosvm's socket event source. */
export class SocketSource implements InputSource {
  readonly #socket: Fd;
  #end: string | undefined;

  /** Takes over the descriptor. */
  constructor(socket: Fd) {
    this.#socket = socket;
  }

  get fd(): number {
    return this.#socket.fd;
  }

  get end(): string | undefined {
    return this.#end;
  }

  read(target: Uint8Array): number {
    if (this.#end !== undefined) return 0;
    try {
      const count = tryRead(this.fd, target);
      if (count === 0) this.#end = 'the connection was closed';
      return count ?? 0;
    } catch (error) {
      this.#fail(error);
      return 0;
    }
  }

  write(source: Uint8Array, sizeBytes: number): number {
    if (this.#end !== undefined) return 0;
    try {
      return trySend(this.fd, source, sizeBytes) ?? 0;
    } catch (error) {
      this.#fail(error);
      return 0;
    }
  }

  keepFds(): readonly number[] {
    return [this.fd];
  }

  #fail(error: unknown): void {
    if (!(error instanceof SyscallError)) throw error;
    this.#end = error.message;
  }
}
