import { PollFlag, pollFd } from '#sys/epoll.ts';
import type { Fd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { Shutdown, shutdown, trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { BUFFER_BYTES, Operation, PACKET_BYTES_MAX, ShutdownFlag } from './constants.ts';

/**
 * `requested`: the host asked, the guest has not answered. `answering`: the guest asked, and the RESPONSE is on its way.
 * `lingering`: over for the guest; what it has sent still goes to the host.
 */
export type ConnectionState = 'requested' | 'answering' | 'established' | 'lingering';

/** Operations in the order in which they go, when several wait. */
const CONTROL_ORDER = [
  Operation.REQUEST,
  Operation.RESPONSE,
  Operation.CREDIT_UPDATE,
  Operation.CREDIT_REQUEST,
  Operation.SHUTDOWN,
] as const;

/** What credit is worth a packet of its own. */
const CREDIT_STEP_BYTES = BUFFER_BYTES / 2;

export interface ConnectionOptions {
  readonly token: number;
  readonly hostPort: number;
  readonly guestPort: number;
  /** Non-blocking; taken over. */
  readonly socket: Fd;
  readonly state: 'requested' | 'answering';
}

/**
 * A stream between a port of the guest and a socket of the host: what waits, credit both ways (§5.10.6.3), and who has closed
 * what. It knows neither queues nor polls. Counts of bytes are modulo 2^32, as on the wire.
 */
export class Connection {
  readonly token: number;
  readonly hostPort: number;
  readonly guestPort: number;
  state: ConnectionState;
  /** In its worker's list of those that have something to send. */
  isListed = false;
  /** The REQUEST has reached the guest: only then is there something to reset. */
  isKnownToGuest: boolean;
  /** ShutdownFlag bits: what the guest will no longer do. */
  guestShutdown = 0;
  /** ShutdownFlag bits: what the host will no longer do. */
  hostShutdown = 0;
  /** The socket may have bytes, as far as is known. */
  mayRead = true;
  #socket: Fd | undefined;
  /** Bits by Operation. */
  #pending = 0;
  #sent = 0;
  #guestBuffer = 0;
  #guestForwarded = 0;
  #askedForCredit = false;
  #forwarded = 0;
  #announced = 0;
  /** What the socket did not take; made when first needed. */
  #buffer: Uint8Array | undefined;
  #start = 0;
  #end = 0;

  constructor({ token, hostPort, guestPort, socket, state }: ConnectionOptions) {
    this.token = token;
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.state = state;
    this.isKnownToGuest = state === 'answering';
    this.#socket = socket;
    this.need(state === 'requested' ? Operation.REQUEST : Operation.RESPONSE);
  }

  get socket(): Fd | undefined {
    return this.#socket;
  }

  /** Bytes of the guest that wait for the host. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** How many bytes the guest has room for. */
  get credit(): number {
    const inFlight = (this.#sent - this.#guestForwarded) >>> 0;
    // A guest may take room back, and may say what is not so: then it has none.
    return Math.max(0, this.#guestBuffer - inFlight);
  }

  /** For the header of a packet that is sent now: `fwd_cnt`. */
  announce(): number {
    this.#announced = this.#forwarded;
    return this.#forwarded;
  }

  /** Both directions are over for the host, and all that it has sent is on its way: the socket is of no use. */
  get isOverForHost(): boolean {
    return this.hostShutdown === ShutdownFlag.BOTH;
  }

  get hasWork(): boolean {
    return this.#sendable !== 0 || (this.#wantsToRead && this.credit > 0);
  }

  /** Nobody of the host would miss it. */
  get isAbandoned(): boolean {
    return this.isOverForHost || (this.state === 'requested' && this.hostShutdown !== 0);
  }

  /** An operation that is to be sent. */
  need(operation: number): void {
    this.#pending |= 1 << operation;
  }

  /** The next operation to send besides RW; 0 when there is none. */
  takeControl(): number {
    const sendable = this.#sendable;
    if (sendable === 0) return 0;
    for (let index = 0; index < CONTROL_ORDER.length; index++) {
      const operation = CONTROL_ORDER[index]!;
      const bit = 1 << operation;
      if ((sendable & bit) === 0) continue;
      this.#pending &= ~bit;
      return operation;
    }
    return 0;
  }

  /** What every packet of the guest says. */
  learnCredit(bufferBytes: number, forwarded: number): void {
    this.#guestBuffer = bufferBytes;
    this.#guestForwarded = forwarded;
    if (this.credit > 0) this.#askedForCredit = false;
  }

  /** Asks for credit, once, when bytes wait that the guest has no room for. */
  askForCredit(): void {
    if (!this.#wantsToRead || this.credit > 0 || this.#askedForCredit) return;
    this.#askedForCredit = true;
    this.need(Operation.CREDIT_REQUEST);
  }

  /** Reads up to `sizeBytes` of the host's bytes: their count, 0 for none. At their end the guest is to be told. */
  readHost(target: Uint8Array, sizeBytes: number): number {
    const size = Math.min(sizeBytes, this.credit, PACKET_BYTES_MAX);
    if (!this.#wantsToRead || size === 0) return 0;
    let count: number | undefined;
    try {
      count = tryRead(this.#fd, target, size);
    } catch (error) {
      // ECONNRESET: the peer left without reading all. Its bytes end here.
      if (!(error instanceof SyscallError)) throw error;
      count = 0;
    }
    if (count === undefined) this.mayRead = false;
    else if (count === 0) this.#hostCloses(ShutdownFlag.SEND);
    else this.#sent = (this.#sent + count) >>> 0;
    return count ?? 0;
  }

  /** Takes bytes of the guest; false when they are more than it was given room for. */
  takeGuest(bytes: Uint8Array, sizeBytes: number): boolean {
    if (sizeBytes > BUFFER_BYTES - this.bufferedBytes) return false;
    if (sizeBytes === 0) return true;
    const refused = (this.hostShutdown & ShutdownFlag.RECEIVE) !== 0;
    const taken = refused ? sizeBytes : this.bufferedBytes > 0 ? 0 : this.#send(bytes, sizeBytes);
    this.#forward(taken);
    if (taken < sizeBytes) this.#keep(bytes, taken, sizeBytes);
    return true;
  }

  /** Sends what waits for the host, as far as it takes it. */
  flush(): void {
    while (this.bufferedBytes > 0) {
      const waiting = this.#buffer!.subarray(this.#start, this.#end);
      const taken = this.#send(waiting, waiting.length);
      if (taken === 0) return;
      this.#start += taken;
      this.#forward(taken);
    }
    if ((this.guestShutdown & ShutdownFlag.SEND) !== 0) this.#shutdown(Shutdown.WRITE);
  }

  /** The guest will no longer do what `flags` say. */
  guestCloses(flags: number): void {
    this.guestShutdown |= flags & ShutdownFlag.BOTH;
    if ((flags & ShutdownFlag.RECEIVE) !== 0) this.#shutdown(Shutdown.READ);
    this.flush();
  }

  /** The socket reports that its peer has closed something: looks what. */
  onHangup(): void {
    this.mayRead = true;
    if (this.#socket === undefined) return;
    if ((pollFd(this.#fd, 0, 0) & (PollFlag.HUP | PollFlag.ERR)) === 0) return;
    this.#hostCloses(ShutdownFlag.RECEIVE);
    // Its end is not read any more where the guest takes no bytes.
    if ((this.guestShutdown & ShutdownFlag.RECEIVE) !== 0) this.#hostCloses(ShutdownFlag.SEND);
    this.#forward(this.bufferedBytes);
    this.#start = this.#end;
  }

  /** The answer to the host's CONNECT; false when it cannot be given. */
  greet(): boolean {
    const line = Buffer.from(`OK ${this.hostPort}\n`, 'latin1');
    return this.#send(line, line.length) === line.length;
  }

  /** The socket is closed, once, by who has taken it out of its poll. */
  close(): void {
    this.#socket?.close();
    this.#socket = undefined;
    this.#buffer = undefined;
    this.#start = 0;
    this.#end = 0;
  }

  get #fd(): number {
    assert(this.#socket !== undefined, 'a connection with a socket');
    return this.#socket.fd;
  }

  /** Until the guest has answered nothing but the REQUEST may go to it. */
  get #sendable(): number {
    return this.state === 'requested' ? this.#pending & (1 << Operation.REQUEST) : this.#pending;
  }

  get #wantsToRead(): boolean {
    return (
      this.state === 'established' &&
      this.mayRead &&
      this.#socket !== undefined &&
      (this.hostShutdown & ShutdownFlag.SEND) === 0 &&
      (this.guestShutdown & ShutdownFlag.RECEIVE) === 0
    );
  }

  /** How many bytes the socket took; all of them when nobody will ever read them. */
  #send(bytes: Uint8Array, sizeBytes: number): number {
    try {
      return trySend(this.#fd, bytes, sizeBytes) ?? 0;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#hostCloses(ShutdownFlag.RECEIVE);
      return sizeBytes;
    }
  }

  #forward(sizeBytes: number): void {
    this.#forwarded = (this.#forwarded + sizeBytes) >>> 0;
    if ((this.#forwarded - this.#announced) >>> 0 >= CREDIT_STEP_BYTES) this.need(Operation.CREDIT_UPDATE);
  }

  #keep(bytes: Uint8Array, from: number, to: number): void {
    this.#buffer ??= new Uint8Array(BUFFER_BYTES);
    const waiting = this.bufferedBytes;
    if (this.#end + to - from > BUFFER_BYTES) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#start = 0;
      this.#end = waiting;
    } else if (waiting === 0) {
      this.#start = 0;
      this.#end = 0;
    }
    this.#buffer.set(bytes.subarray(from, to), this.#end);
    this.#end += to - from;
  }

  #hostCloses(flag: number): void {
    if ((this.hostShutdown & flag) !== 0) return;
    this.hostShutdown |= flag;
    this.need(Operation.SHUTDOWN);
  }

  #shutdown(how: number): void {
    if (this.#socket === undefined) return;
    try {
      shutdown(this.#fd, how);
    } catch (error) {
      // ENOTCONN: the peer has gone.
      if (!(error instanceof SyscallError)) throw error;
    }
  }
}
