/** Typed messages over a SOCK_SEQPACKET Unix socket, which keeps their bounds and carries descriptors. */
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { MessageBuffer, setSocketTimeout } from '#sys/message.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { MsgError } from './errors.ts';
import {
  decodeMessage,
  define,
  encodeMessage,
  HEADER_SIZE_BYTES,
  MessageReader,
  type MessageType,
  MessageWriter,
  takeHeader,
} from './message-type.ts';

/** The sending side of a MsgSocket: what to hand to those who may only send. */
export interface MsgSender<T> extends HasFd {
  /**
   * Sends one message and waits for room. The message's descriptors are closed when this returns or throws; the receiver has
   * its own. Throws MsgError DISCONNECTED or TIMED_OUT (nothing was sent), SyscallError.
   */
  send(message: T): void;
  /**
   * As `send` without waiting: false when there is no room; the descriptors are then still the caller's. For a poll loop,
   * which waits for 'writable'.
   */
  trySend(message: T): boolean;
}

/** The receiving side of a MsgSocket. */
export interface MsgReceiver<T> extends HasFd {
  /**
   * Waits for one message; null when the peer has closed. Its descriptors are the caller's. Throws MsgError for one that is
   * not of the type, which is gone then and its descriptors closed; TIMED_OUT; SyscallError.
   */
  recv(): T | null;
  /** As `recv` without waiting: undefined when there is no message. For a poll loop, which waits for 'readable'. */
  tryRecv(): T | null | undefined;
}

/** The two directions, each as the one who holds the socket sees it. */
export interface MessageTypes<S extends object, R extends object> {
  readonly send: MessageType<S>;
  readonly recv: MessageType<R>;
}

/** Whole milliseconds; undefined: waits without end. */
export interface MessageTimeouts {
  readonly sendMs?: number | undefined;
  readonly receiveMs?: number | undefined;
}

/**
 * A SOCK_SEQPACKET socket: an Fd is taken over; a borrowed descriptor stays its owner's, who outlives the borrower and closes it. A
 * thread that may die at any time borrows.
 */
export type SocketFd = Fd | { readonly borrowed: HasFd };

/** What `#receive` says besides a size in bytes, which is never 0. */
const END = 0;
const NO_MESSAGE = -1;

/**
 * One end of a conversation over a blocking socket, with one buffer for every message: used by one thread, and not from within a
 * message's own encoding. Another thread has a MsgSocket of its own that borrows the descriptor.
 */
export class MsgSocket<S extends object, R extends object> implements MsgSender<S>, MsgReceiver<R>, Disposable {
  readonly #fd: HasFd;
  readonly #owned: Fd | undefined;
  readonly #types: MessageTypes<S, R>;
  readonly #buffer: MessageBuffer;
  readonly #writer: MessageWriter;
  readonly #reader: MessageReader;
  #sendTimeoutMs: number | undefined;
  #receiveTimeoutMs: number | undefined;

  constructor(fd: SocketFd, types: MessageTypes<S, R>) {
    define(types.send);
    define(types.recv);
    this.#owned = fd instanceof Fd ? fd : undefined;
    this.#fd = fd instanceof Fd ? fd : fd.borrowed;
    this.#types = types;
    const sizeBytes = HEADER_SIZE_BYTES + Math.max(types.send.maxBytes, types.recv.maxBytes);
    this.#buffer = new MessageBuffer(sizeBytes, Math.max(types.send.maxFds, types.recv.maxFds));
    this.#writer = new MessageWriter(this.#buffer.bytes);
    this.#reader = new MessageReader(this.#buffer.bytes, this.#buffer.fds, (raw) => new Fd(raw));
  }

  /** Two connected ends; `types` are the first one's. Throws SyscallError. */
  static pair<S extends object, R extends object>(types: MessageTypes<S, R>): [MsgSocket<S, R>, MsgSocket<R, S>] {
    const [first, second] = socketpair(SocketType.SEQPACKET);
    return [new MsgSocket(new Fd(first), types), new MsgSocket(new Fd(second), { send: types.recv, recv: types.send })];
  }

  get fd(): number {
    return this.#fd.fd;
  }

  /** Bounds the waits of `send` and `recv`; a signal may double one. Absent directions stay as they are. Throws SyscallError. */
  setTimeouts(timeouts: MessageTimeouts): void {
    if ('sendMs' in timeouts) {
      setSocketTimeout(this.fd, 'send', timeouts.sendMs);
      this.#sendTimeoutMs = timeouts.sendMs;
    }
    if ('receiveMs' in timeouts) {
      setSocketTimeout(this.fd, 'receive', timeouts.receiveMs);
      this.#receiveTimeoutMs = timeouts.receiveMs;
    }
  }

  send(message: S): void {
    try {
      this.#transmit(encodeMessage(this.#types.send, this.#writer, message), true);
    } finally {
      this.closeUnsent();
    }
  }

  trySend(message: S): boolean {
    let isDone = true;
    try {
      isDone = this.#transmit(encodeMessage(this.#types.send, this.#writer, message), false);
    } finally {
      if (isDone) this.closeUnsent();
    }
    return isDone;
  }

  recv(): R | null {
    const size = this.#receive(true);
    return size === END ? null : this.#decode(size);
  }

  tryRecv(): R | null | undefined {
    const size = this.#receive(false);
    if (size === NO_MESSAGE) return undefined;
    return size === END ? null : this.#decode(size);
  }

  /**
   * As `recv`, into an object that the caller reuses: no allocation when its fields are numbers. False when the peer has closed.
   * The type must be a structure. After a MsgError `target` may be half overwritten.
   */
  recvInto(target: R): boolean {
    const size = this.#receive(true);
    if (size !== END) this.#decodeInto(size, target);
    return size !== END;
  }

  /** As `tryRecv`, into an object: true for a message, false when the peer has closed, undefined when there is none. */
  tryRecvInto(target: R): boolean | undefined {
    const size = this.#receive(false);
    if (size === NO_MESSAGE) return undefined;
    if (size !== END) this.#decodeInto(size, target);
    return size !== END;
  }

  /** Closes what is still open of the descriptors that the last call received: for a message that is refused after all. */
  closeReceived(): void {
    for (const fd of this.#reader.fds) fd[Symbol.dispose]();
    this.#reader.fds.length = 0;
  }

  /** Closes the descriptors of the last message that `trySend` returned false for: for a message that is given up. */
  closeUnsent(): void {
    const { fds } = this.#writer;
    if (fds.length === 0) return;
    for (const fd of fds) fd[Symbol.dispose]();
    fds.length = 0;
  }

  /** The peer's `recv` returns null from here on, unless the descriptor was borrowed, which stays open. */
  close(): void {
    this.#owned?.close();
  }

  [Symbol.dispose](): void {
    this.#owned?.[Symbol.dispose]();
  }

  /** False when there is no room and `wait` is false. */
  #transmit(sizeBytes: number, wait: boolean): boolean {
    for (;;) {
      const result = this.#trySendOnce(sizeBytes, wait);
      if (result === 0) return true;
      if (result === -Errno.EAGAIN) {
        if (!wait) return false;
        throw new MsgError('TIMED_OUT', 'a message could not be sent in time');
      }
      this.#interrupted(PollFlag.OUT, wait ? this.#sendTimeoutMs : undefined);
    }
  }

  #trySendOnce(sizeBytes: number, wait: boolean): number {
    try {
      return this.#buffer.send(this.#fd, sizeBytes, this.#writer.fds, wait);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      if (error.errno !== Errno.EPIPE && error.errno !== Errno.ECONNRESET) throw error;
      throw new MsgError('DISCONNECTED', 'the peer has closed', { cause: error });
    }
  }

  /** The size of a message in the buffer, END, or NO_MESSAGE when `wait` is false. */
  #receive(wait: boolean): number {
    // Those of the message before are its receiver's, whatever comes now.
    this.#reader.start(0, 0);
    for (;;) {
      const size = this.#tryReceiveOnce(wait);
      if (size > 0) return size;
      if (size === 0) return this.#endOrEmpty();
      if (size === -Errno.EAGAIN) {
        if (!wait) return NO_MESSAGE;
        throw new MsgError('TIMED_OUT', 'no message came in time');
      }
      this.#interrupted(PollFlag.IN, wait ? this.#receiveTimeoutMs : undefined);
    }
  }

  #tryReceiveOnce(wait: boolean): number {
    try {
      return this.#buffer.receive(this.#fd, wait);
    } catch (error) {
      // The peer closed with messages of ours unread. Said once; what it sent before, or the end, comes with the next call.
      if (error instanceof SyscallError && error.errno === Errno.ECONNRESET) return -Errno.EINTR;
      throw error;
    }
  }

  /** After a signal the kernel would begin the whole timeout anew, so that frequent signals would make it endless. */
  #interrupted(events: number, timeoutMs: number | undefined): void {
    if (timeoutMs !== undefined && pollFd(this.fd, events, timeoutMs) === 0) {
      throw new MsgError('TIMED_OUT', 'a signal interrupted the call, and the socket was not ready in time');
    }
  }

  /** recvmsg returns 0 at the end of the stream and for an empty message, which none of ours is. */
  #endOrEmpty(): typeof END {
    const isEnd = this.#buffer.fdCount === 0 && (pollFd(this.fd, PollFlag.RDHUP, 0) & PollFlag.RDHUP) !== 0;
    this.#buffer.closeReceived();
    if (!isEnd) throw new MsgError('TOO_SHORT', 'an empty message');
    return END;
  }

  #decode(sizeBytes: number): R {
    try {
      this.#startReading(sizeBytes);
      return decodeMessage(this.#types.recv, this.#reader);
    } catch (error) {
      this.#refuse();
      throw error;
    }
  }

  #decodeInto(sizeBytes: number, target: R): void {
    const type = this.#types.recv;
    try {
      assert(type.readInto !== undefined, 'a structure, which can be read into an object');
      this.#startReading(sizeBytes);
      takeHeader(type, this.#reader);
      type.readInto(this.#reader, target);
      this.#reader.finish();
    } catch (error) {
      this.#refuse();
      throw error;
    }
  }

  #startReading(sizeBytes: number): void {
    const buffer = this.#buffer;
    this.#reader.start(sizeBytes, buffer.fdCount);
    if (buffer.isTruncated) throw new MsgError('TOO_LONG', `a message is longer than ${buffer.bytes.length} bytes`);
    if (buffer.isControlTruncated) {
      throw new MsgError(
        'WRONG_DESCRIPTORS',
        `a message came with more than ${buffer.fds.length} descriptors, or than this process may open`,
      );
    }
  }

  /** Closes by number what came: nobody but the reader has seen an Fd of it. */
  #refuse(): void {
    for (const fd of this.#reader.fds) fd.release();
    this.#reader.fds.length = 0;
    this.#buffer.closeReceived();
  }
}
