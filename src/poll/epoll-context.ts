import { EpollEvent, EpollFlag, EpollOperation, epollCreate, epollCtl, epollWait } from '#sys/epoll.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { viewOf } from '#util/struct.ts';
import type { TokenType } from './token.ts';

/** What to wait for. Hangup and error are always reported. */
export interface Interest {
  readonly readable?: boolean;
  readonly writable?: boolean;
  /** Reported once per change, not as long as it lasts. */
  readonly edgeTriggered?: boolean;
}

/** What happened to one descriptor. Valid until the next wait. */
export interface PollEvent<Token> {
  readonly token: Token;
  readonly readable: boolean;
  readonly writable: boolean;
  /** The other end is closed, or (a socket) will not send more. Data may be left to read. */
  readonly hungUp: boolean;
  readonly error: boolean;
}

/** The events of a wait, in a list that the next wait overwrites. */
export class PollEvents<Token> implements Iterable<PollEvent<Token>> {
  readonly #events: DataView;
  readonly #tokens: TokenType<Token>;
  readonly #slots: { token: Token; readable: boolean; writable: boolean; hungUp: boolean; error: boolean }[] = [];
  #length = 0;

  constructor(events: DataView, tokens: TokenType<Token>) {
    this.#events = events;
    this.#tokens = tokens;
  }

  get length(): number {
    return this.#length;
  }

  at(index: number): PollEvent<Token> {
    const event = this.#slots[index];
    assert(event !== undefined && index < this.#length, 'an index below the length');
    return event;
  }

  *[Symbol.iterator](): Generator<PollEvent<Token>, void> {
    for (let index = 0; index < this.#length; index++) yield this.at(index);
  }

  /** Takes over the first `count` events that the kernel wrote. */
  fill(count: number): this {
    for (let index = 0; index < count; index++) {
      const base = index * EpollEvent.size;
      const token = this.#tokens.get(this.#events, base + EpollEvent.fields.data.offset);
      const bits = this.#events.getUint32(base, true);
      const event = this.#slots[index] ?? { token, readable: false, writable: false, hungUp: false, error: false };
      this.#slots[index] = event;
      event.token = token;
      event.readable = (bits & (EpollFlag.IN | EpollFlag.PRI)) !== 0;
      event.writable = (bits & EpollFlag.OUT) !== 0;
      event.hungUp = (bits & (EpollFlag.HUP | EpollFlag.RDHUP)) !== 0;
      event.error = (bits & EpollFlag.ERR) !== 0;
    }
    this.#length = count;
    return this;
  }
}

/** More events than this wait for the next call; epoll hands them out in turn. */
const DEFAULT_CAPACITY = 64;

/**
 * Waits for many descriptors at once, level or edge triggered. A descriptor is removed before it is closed: epoll keeps the
 * open file, not the number, and would go on reporting it as long as a duplicate lives.
 */
export class EpollContext<Token> implements HasFd, Disposable {
  readonly #epoll: Fd;
  readonly #tokens: TokenType<Token>;
  readonly #registered = new Set<number>();
  readonly #buffer: Uint8Array;
  readonly #events: PollEvents<Token>;

  /** Throws SyscallError. `capacity` is the most events that one wait returns. */
  constructor(tokens: TokenType<Token>, capacity: number = DEFAULT_CAPACITY) {
    assert(tokens.size === 8, 'a token has 64 bits');
    assert(Number.isInteger(capacity) && capacity > 0, 'room for an event');
    this.#tokens = tokens;
    this.#buffer = new Uint8Array(capacity * EpollEvent.size);
    this.#events = new PollEvents(viewOf(this.#buffer), tokens);
    this.#epoll = new Fd(epollCreate());
  }

  /** The epoll descriptor: readable while an event waits, so contexts nest. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** Waits for `source` to be readable, or for what `interest` says. EPERM: a regular file, which is always ready. */
  add(source: HasFd, token: Token, interest: Interest = { readable: true }): void {
    const { fd } = source;
    assert(!this.#registered.has(fd), 'a descriptor is registered once, and removed before it is closed');
    epollCtl(this.fd, EpollOperation.ADD, fd, this.#encode(token, interest));
    this.#registered.add(fd);
  }

  /** Replaces token and interest. */
  modify(source: HasFd, token: Token, interest: Interest): void {
    epollCtl(this.fd, EpollOperation.MOD, source.fd, this.#encode(token, interest));
  }

  remove(source: HasFd): void {
    const { fd } = source;
    assert(this.#registered.has(fd), 'the descriptor is registered');
    epollCtl(this.fd, EpollOperation.DEL, fd, null);
    this.#registered.delete(fd);
  }

  /**
   * Waits for at least one event, or until `timeoutMs` have passed (0: does not wait; absent: without end), and returns the
   * events in a list that the next wait overwrites. A signal does not end the wait.
   */
  wait(timeoutMs?: number): PollEvents<Token> {
    return this.#events.fill(epollWait(this.fd, this.#buffer, timeoutMs));
  }

  close(): void {
    this.#epoll.close();
  }

  [Symbol.dispose](): void {
    this.#epoll[Symbol.dispose]();
  }

  #encode(token: Token, interest: Interest): Uint8Array {
    const { readable = false, writable = false, edgeTriggered = false } = interest;
    let events = 0;
    if (readable) events |= EpollFlag.IN | EpollFlag.RDHUP;
    if (writable) events |= EpollFlag.OUT;
    if (edgeTriggered) events |= EpollFlag.ET;
    const encoded = EpollEvent.encode({ events: events >>> 0 });
    this.#tokens.set(viewOf(encoded), EpollEvent.fields.data.offset, token);
    return encoded;
  }
}
