/** The VM's side of its control socket, docs/control-socket.md. No client can make the loop that turns it wait. */

import { MsgError } from '#msg-socket/errors.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { fitText } from '#msg-socket/scalars.ts';
import { PollContext } from '#poll/poll-context.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { peerCredentials, tryAccept } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import type { Clock } from '#util/clock.ts';
import { CodedError } from '#util/errors.ts';
import { u64AsNumber } from '#util/struct.ts';
import type { BalloonState } from '#vm-control/balloon-control.ts';
import {
  CONTROL_VERSION,
  ERROR_TEXT_MAX_BYTES,
  VmControlError,
  VmRequest,
  VmResponse,
  type VmStatus,
} from '#vm-control/vm-request.ts';
import type { SuspendDone } from './suspension.ts';

/** One more is told so and closed. */
export const CLIENTS_MAX = 16;
/** A client that has asked nothing for so long is closed: it would keep others out. */
export const SILENCE_LIMIT_MS = 10_000;

const LISTENER = 0;
const NS_PER_MS = 1e6;

/** What the VM does for its clients. A CodedError is answered as an error. */
export interface ControlHandlers {
  status(): VmStatus;
  /** After the answer; clients that wait for the VM's end see it by the end of their connection. */
  stop(): void;
  powerButton(): void;
  /** Calls `done` when the machine stands still, or with why it does not; perhaps at once, later otherwise. */
  suspend(done: SuspendDone): void;
  resume(): void;
  balloon(sizeBytes: number): void;
  balloonStats(): BalloonState;
  /** Disks are counted from 0. */
  diskResize(index: number, sizeBytes: number): void;
}

export interface ControlServerOptions {
  /** Listens, without blocking; stays the caller's and outlives the server. */
  readonly listener: HasFd;
  readonly handlers: ControlHandlers;
  readonly clock: Clock;
  /** The effective user id that may ask. */
  readonly ownerUid: number;
}

interface Connection {
  readonly socket: MsgSocket<VmResponse, VmRequest>;
  saidHello: boolean;
  /** When it asked last, or came. */
  activeNs: number;
  /** Waits for the answer to its last request; no other is read meanwhile. */
  isWaiting: boolean;
}

export class ControlServer implements Disposable {
  readonly #options: ControlServerOptions;
  readonly #poll = new PollContext<number>(u64AsNumber);
  /** By token. */
  readonly #connections = new Map<number, Connection>();
  #nextToken = LISTENER + 1;
  #isListening = true;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#poll.add(options.listener, LISTENER);
  }

  /** Readable when `turn` has something to do. */
  get waiting(): HasFd {
    return this.#poll;
  }

  /** Answers at most one request of each client. Never waits. */
  turn(): void {
    const events = this.#poll.wait(0);
    for (let index = 0; index < events.length; index++) {
      const { token } = events.at(index);
      if (token === LISTENER) this.#accept();
      else this.#serve(token);
    }
  }

  /** Closes clients that are silent for too long, and takes new ones again where that failed. To be called about once a second. */
  tidy(): void {
    if (!this.#isListening) {
      this.#poll.add(this.#options.listener, LISTENER);
      this.#isListening = true;
    }
    const sinceNs = this.#options.clock.nowNs() - SILENCE_LIMIT_MS * NS_PER_MS;
    for (const [token, { activeNs, isWaiting }] of this.#connections)
      if (!isWaiting && activeNs < sinceNs) this.#close(token);
  }

  /** Takes over a client's connection, a SOCK_SEQPACKET socket. */
  add(fd: Fd): void {
    const { ownerUid, clock } = this.#options;
    const refusal = this.#refusalOf(fd, ownerUid);
    const socket = new MsgSocket(fd, { send: VmResponse, recv: VmRequest });
    if (refusal !== undefined) {
      trySend(socket, errorResponse(refusal));
      socket.close();
      return;
    }
    const token = this.#nextToken++;
    this.#connections.set(token, { socket, saidHello: false, activeNs: clock.nowNs(), isWaiting: false });
    this.#poll.add(socket, token);
  }

  [Symbol.dispose](): void {
    for (const token of [...this.#connections.keys()]) this.#close(token);
    this.#poll.close();
  }

  #accept(): void {
    const raw = this.#tryAccept(this.#options.listener);
    if (raw !== undefined) this.add(new Fd(raw));
  }

  /** A full table of descriptors is no reason to end the VM; the client is left waiting, without a busy loop. */
  #tryAccept(listener: HasFd): number | undefined {
    try {
      return tryAccept(listener.fd);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#poll.remove(listener);
      this.#isListening = false;
      return undefined;
    }
  }

  #refusalOf({ fd }: HasFd, ownerUid: number): VmControlError | undefined {
    if (peerCredentials(fd).uid !== ownerUid)
      return new VmControlError('NOT_OWNER', 'only the user that runs the virtual machine may control it');
    if (this.#connections.size < CLIENTS_MAX) return undefined;
    return new VmControlError('TOO_MANY_CLIENTS', `the virtual machine has ${CLIENTS_MAX} clients already`);
  }

  #serve(token: number): void {
    const connection = this.#connections.get(token);
    if (connection === undefined) return;
    const { socket } = connection;
    if (connection.isWaiting) {
      // Nothing but a hangup is reported: nobody waits any more.
      this.#close(token);
      return;
    }
    let response: VmResponse;
    try {
      const request = socket.tryRecv();
      if (request === undefined) return;
      if (request === null) {
        this.#close(token);
        return;
      }
      connection.activeNs = this.#options.clock.nowNs();
      if (request.kind === 'suspend' && connection.saidHello) {
        this.#suspend(token, connection);
        return;
      }
      response = this.#answer(request, connection);
    } catch (error) {
      if (!(error instanceof CodedError)) throw error;
      response = errorResponse(error instanceof MsgError ? badRequest(error) : error);
    }
    this.#respond(token, connection, response);
  }

  /** Who does not read its answers, or sends what is no request, is not waited for or listened to. */
  #respond(token: number, { socket }: Connection, response: VmResponse): void {
    if (!trySend(socket, response) || endsConversation(response)) this.#close(token);
  }

  #suspend(token: number, connection: Connection): void {
    connection.isWaiting = true;
    this.#poll.modify(connection.socket, token, 'hangup');
    this.#options.handlers.suspend((error) => {
      // The client may have left meanwhile.
      if (this.#connections.get(token) !== connection) return;
      connection.isWaiting = false;
      this.#poll.modify(connection.socket, token, 'readable');
      this.#respond(token, connection, error === undefined ? { kind: 'done' } : errorResponse(error));
    });
  }

  #answer(request: VmRequest, connection: Connection): VmResponse {
    if (request.kind === 'hello') {
      if (request.version !== CONTROL_VERSION) throw unknownVersion(request.version);
      connection.saidHello = true;
      return { kind: 'hello', version: CONTROL_VERSION };
    }
    if (!connection.saidHello) throw new VmControlError('HELLO_FIRST', 'the first request is hello');
    const { handlers } = this.#options;
    if (request.kind === 'status') return { kind: 'status', ...handlers.status() };
    if (request.kind === 'balloonStats') return { kind: 'balloonStats', ...handlers.balloonStats() };
    if (request.kind === 'balloon') handlers.balloon(request.sizeBytes);
    else if (request.kind === 'diskResize') handlers.diskResize(request.index, request.sizeBytes);
    else if (request.kind !== 'suspend') handlers[request.kind]();
    return { kind: 'done' };
  }

  #close(token: number): void {
    const connection = this.#connections.get(token);
    if (connection === undefined) return;
    this.#connections.delete(token);
    this.#poll.remove(connection.socket);
    connection.socket.close();
  }
}

/** False when the client does not read, or is gone. */
function trySend(socket: MsgSocket<VmResponse, VmRequest>, response: VmResponse): boolean {
  try {
    return socket.trySend(response);
  } catch (error) {
    if (error instanceof CodedError) return false;
    throw error;
  }
}

const badRequest = (error: MsgError): VmControlError => new VmControlError('BAD_REQUEST', error.message);

function unknownVersion(version: number): VmControlError {
  const message = `version ${version} is not spoken here; version ${CONTROL_VERSION} is`;
  return new VmControlError('UNKNOWN_VERSION', message);
}

function errorResponse({ code, message }: CodedError): VmResponse {
  const { code: codeMax, message: messageMax } = ERROR_TEXT_MAX_BYTES;
  return { kind: 'error', code: fitText(code, codeMax), message: fitText(message, messageMax) };
}

/** After an unknown version or request a client may ask for another. */
function endsConversation(response: VmResponse): boolean {
  return response.kind === 'error' && (response.code === 'BAD_REQUEST' || response.code === 'HELLO_FIRST');
}
