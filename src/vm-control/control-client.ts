/** The client of a VM's control socket. Blocking, with a bound on every wait. */

import { MsgError } from '#msg-socket/errors.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { RemoteError } from '#msg-socket/protocol.ts';
import { Fd } from '#sys/fd.ts';
import { connectUnix, SocketType, socket } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';
import type { BalloonState } from './balloon-control.ts';
import { CONTROL_VERSION, VmRequest, VmResponse, type VmStatus } from './vm-request.ts';

/** What a VM that does its work needs by far, also on a busy host, and while it is being built. */
const TIMEOUT_MS = 10_000;

export type ControlConnectErrorCode =
  | 'NO_SOCKET'
  | 'NOT_LISTENING'
  | 'PERMISSION_DENIED'
  | 'WRONG_SOCKET'
  | 'TIMED_OUT';

/** There is no VM to be asked at this path; the message says why, without the path. */
export class ControlConnectError extends CodedError<ControlConnectErrorCode> {
  override readonly name = 'ControlConnectError';
}

const CONNECT_ERRORS: Readonly<Record<string, readonly [ControlConnectErrorCode, string]>> = {
  ENOENT: ['NO_SOCKET', 'does not exist'],
  ENOTDIR: ['NO_SOCKET', 'a part of the path is not a directory'],
  ENAMETOOLONG: ['NO_SOCKET', "a socket's path has at most 107 bytes"],
  EINVAL: ['NO_SOCKET', 'is not a valid path'],
  ECONNREFUSED: ['NOT_LISTENING', 'no virtual machine listens there'],
  EACCES: ['PERMISSION_DENIED', 'permission denied'],
  EPERM: ['PERMISSION_DENIED', 'permission denied'],
  EPROTOTYPE: ['WRONG_SOCKET', 'is not the control socket of a virtual machine'],
  EAGAIN: ['TIMED_OUT', 'the virtual machine does not answer'],
};

/** A connection to one VM. Every request throws RemoteError when the VM refuses, MsgError when it does not answer as it should. */
export class ControlClient implements Disposable {
  readonly #socket: MsgSocket<VmRequest, VmResponse>;

  private constructor(fd: Fd) {
    this.#socket = new MsgSocket(fd, { send: VmRequest, recv: VmResponse });
    this.#socket.setTimeouts({ sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS });
  }

  /** Connects and agrees on the version. Throws ControlConnectError, RemoteError, MsgError, SyscallError. */
  static connect(path: string): ControlClient {
    const fd = new Fd(socket(SocketType.SEQPACKET));
    const client = new ControlClient(fd);
    try {
      connectUnix(fd.fd, path);
      client.#ask({ kind: 'hello', version: CONTROL_VERSION }, 'hello');
      return client;
    } catch (error) {
      client[Symbol.dispose]();
      throw connectError(error);
    }
  }

  status(): VmStatus {
    const { kind: _, ...status } = this.#ask({ kind: 'status' }, 'status');
    return status;
  }

  /** Ends the VM as its user's Ctrl-A x does. Returns when it has ended: it closes the connection last. */
  stop(): void {
    this.#ask({ kind: 'stop' }, 'done');
    if (this.#socket.recv() !== null) throw new MsgError('WRONG_KIND', 'a response to no request');
  }

  /** Presses the power button; the guest does with it what it likes. */
  powerButton(): void {
    this.#ask({ kind: 'powerButton' }, 'done');
  }

  /** Returns when vCPUs and devices stand still, within a second, or throws RemoteError TOO_LATE and the machine goes on. */
  suspend(): void {
    this.#ask({ kind: 'suspend' }, 'done');
  }

  /** The machine goes on from where it stood still; one that runs is left as it is. */
  resume(): void {
    this.#ask({ kind: 'resume' }, 'done');
  }

  /** Asks the guest to give back so much memory; it does what it can, in its own time. */
  balloon(sizeBytes: number): void {
    this.#ask({ kind: 'balloon', sizeBytes }, 'done');
  }

  /** Makes a disk longer; the first one has the index 0. Returns when the guest has been told. */
  resizeDisk(index: number, sizeBytes: number): void {
    this.#ask({ kind: 'diskResize', index, sizeBytes }, 'done');
  }

  /** What is known of the balloon now. Has the guest report anew: the next answer may have a higher `sequence`. */
  balloonStats(): BalloonState {
    const { kind: _, ...state } = this.#ask({ kind: 'balloonStats' }, 'balloonStats');
    return state;
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #ask<Kind extends VmResponse['kind']>(request: VmRequest, kind: Kind): Extract<VmResponse, { readonly kind: Kind }> {
    this.#trySend(request);
    const response = this.#socket.recv();
    if (response === null) throw new MsgError('DISCONNECTED', 'the virtual machine closed the connection');
    if (response.kind === 'error') throw new RemoteError(response.code, oneLine(response.message));
    if (response.kind !== kind) throw new MsgError('WRONG_KIND', 'a response to another request');
    return response as Extract<VmResponse, { readonly kind: Kind }>;
  }

  /** A VM that refuses the connection has said why before it closed. */
  #trySend(request: VmRequest): void {
    try {
      this.#socket.send(request);
    } catch (error) {
      if (!(error instanceof MsgError) || error.code !== 'DISCONNECTED') throw error;
    }
  }
}

function connectError(error: unknown): unknown {
  if (!(error instanceof SyscallError)) return error;
  const [code, message] = CONNECT_ERRORS[error.code] ?? [];
  return code === undefined || message === undefined ? error : new ControlConnectError(code, message, { cause: error });
}

/** Who listens at a path may be anybody: the text must not break a line or command a terminal. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, '\ufffd');
}
