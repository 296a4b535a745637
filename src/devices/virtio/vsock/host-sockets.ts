/** The host's side of the device: a listening socket that main made, and main, which connects for the guest. */
import type { Client } from '#msg-socket/protocol.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { SocketType, tryAccept } from '#sys/socket.ts';
import { CodedError } from '#util/errors.ts';
import type { VsockConnect } from '#vm-control/vsock-connect.ts';

/** All sockets that it gives are connected, non-blocking and the caller's. */
export interface HostSockets {
  /** Readable when somebody of the host has connected. */
  readonly listener: HasFd;
  /** The next who has connected; undefined when there is none. Throws SyscallError. */
  accept(): Fd | undefined;
  /** A connection to what the host offers at a port; undefined when that is nothing. */
  connect(port: number): Fd | undefined;
}

export class UnixHostSockets implements HostSockets {
  readonly listener: Fd;
  readonly #main: Client<typeof VsockConnect>;

  /** Takes over both. The listening socket is non-blocking. */
  constructor(listener: Fd, main: Client<typeof VsockConnect>) {
    this.listener = listener;
    this.#main = main;
  }

  accept(): Fd | undefined {
    const fd = tryAccept(this.listener.fd, SocketType.NONBLOCK);
    return fd === undefined ? undefined : new Fd(fd);
  }

  connect(port: number): Fd | undefined {
    try {
      return this.#main.connect({ port }).socket;
    } catch (error) {
      // Refused: nobody listens there.
      if (error instanceof CodedError) return undefined;
      throw error;
    }
  }

  keepFds(): readonly number[] {
    return [this.listener.fd, this.#main.fd];
  }
}
