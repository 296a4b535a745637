import { assert } from '#util/assert.ts';
import { bytes, i32, struct, u64AsNumber, viewOf } from '#util/struct.ts';
import { type Address, bind, lastError } from './ffi.ts';
import { gettid } from './signal.ts';

/** `struct sigevent` for one thread, asm-generic/siginfo.h. */
export const ThreadSigevent = struct({
  value: u64AsNumber,
  signo: i32,
  notify: i32,
  threadId: i32,
  rest: bytes(44),
});

/** `struct itimerspec`, uapi/linux/time.h, but for the interval: the timer goes off once. */
const TIME = { SECONDS: 16, NANOSECONDS: 24, SIZE_BYTES: 32 } as const;

const SIGEV_THREAD_ID = 4;
const CLOCK_MONOTONIC = 1;
const NS_PER_SECOND = 1e9;

const c = {
  create: bind<(clock: number, event: Uint8Array, timer: Uint8Array) => number>('int timer_create(int, void*, void*)'),
  set: bind<(timer: Address, flags: number, time: Uint8Array, old: null) => number>(
    'int timer_settime(uint64_t, int, const void*, void*)',
  ),
  delete: bind<(timer: Address) => number>('int timer_delete(uint64_t)'),
};

/** A timer of the calling thread: it sends the thread a signal, timer_create(2). */
export class ThreadTimer implements Disposable {
  readonly #timer: Address;
  readonly #time = new Uint8Array(TIME.SIZE_BYTES);
  readonly #view = viewOf(this.#time);

  /** Throws SyscallError. */
  constructor(signal: number) {
    const id = new Uint8Array(8);
    const event = ThreadSigevent.encode({ signo: signal, notify: SIGEV_THREAD_ID, threadId: gettid() });
    if (c.create(CLOCK_MONOTONIC, event, id) < 0) throw lastError('timer_create');
    this.#timer = viewOf(id).getBigUint64(0, true);
  }

  /** Goes off once in so many nanoseconds, 1 or more, instead of when it was to before. */
  set(delayNs: number): void {
    assert(delayNs >= 1 && Number.isSafeInteger(Math.ceil(delayNs)), 'a time to come');
    const wholeNs = Math.ceil(delayNs);
    u64AsNumber.set(this.#view, TIME.SECONDS, Math.floor(wholeNs / NS_PER_SECOND));
    u64AsNumber.set(this.#view, TIME.NANOSECONDS, wholeNs % NS_PER_SECOND);
    if (c.set(this.#timer, 0, this.#time, null) < 0) throw lastError('timer_settime');
  }

  [Symbol.dispose](): void {
    if (c.delete(this.#timer) < 0) throw lastError('timer_delete');
  }
}
