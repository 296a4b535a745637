import type { HasFd } from '#sys/fd.ts';
import { EpollContext, type PollEvents } from './epoll-context.ts';
import type { TokenType } from './token.ts';

/** A level-triggered direction to wait for. */
export type Watch = 'readable' | 'writable' | 'both' | 'hangup';

const interests = {
  readable: { readable: true },
  writable: { writable: true },
  both: { readable: true, writable: true },
  hangup: {},
} as const;

/**
 * The wait of every loop here: what is ready is reported until it is dealt with, so that a handler may leave work for the
 * next turn. An EpollContext without edges.
 */
export class PollContext<Token> implements HasFd, Disposable {
  readonly #epoll: EpollContext<Token>;

  /** Throws SyscallError. */
  constructor(tokens: TokenType<Token>) {
    this.#epoll = new EpollContext(tokens);
  }

  get fd(): number {
    return this.#epoll.fd;
  }

  /** Hangup and error are reported for every `watch`. */
  add(source: HasFd, token: Token, watch: Watch = 'readable'): void {
    this.#epoll.add(source, token, interests[watch]);
  }

  modify(source: HasFd, token: Token, watch: Watch): void {
    this.#epoll.modify(source, token, interests[watch]);
  }

  /** Before the descriptor is closed. */
  remove(source: HasFd): void {
    this.#epoll.remove(source);
  }

  /** As EpollContext.wait. */
  wait(timeoutMs?: number): PollEvents<Token> {
    return this.#epoll.wait(timeoutMs);
  }

  close(): void {
    this.#epoll.close();
  }

  [Symbol.dispose](): void {
    this.#epoll[Symbol.dispose]();
  }
}
