/** epoll(7) and poll(2). All throw SyscallError. */
import { i32, struct, u16, u32, u64, u64AsNumber, viewOf } from '#util/struct.ts';
import { bind, errno, lastError } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** Event bits, uapi/linux/eventpoll.h. */
export const EpollFlag = {
  IN: 0x001,
  PRI: 0x002,
  OUT: 0x004,
  ERR: 0x008,
  HUP: 0x010,
  RDHUP: 0x2000,
  EXCLUSIVE: 2 ** 28,
  ONESHOT: 2 ** 30,
  ET: 2 ** 31,
} as const;

/** epoll_ctl(2) operations, uapi/linux/eventpoll.h. */
export const EpollOperation = { ADD: 1, DEL: 2, MOD: 3 } as const;

/** `struct epoll_event`: packed on x86-64 alone. */
export const EpollEvent = struct({ events: u32, data: u64 }, { packed: true });

/** poll(2) bits, asm-generic/poll.h. */
export const PollFlag = { IN: 0x1, PRI: 0x2, OUT: 0x4, ERR: 0x8, HUP: 0x10, NVAL: 0x20, RDHUP: 0x2000 } as const;

const c = {
  create: bind<(flags: number) => number>('int epoll_create1(int)'),
  ctl: bind<(epollFd: number, operation: number, fd: number, event: Uint8Array | null) => number>(
    'int epoll_ctl(int, int, int, void*)',
  ),
  wait: bind<(epollFd: number, events: Uint8Array, count: number, timeoutMs: number) => number>(
    'int epoll_wait(int, void*, int, int)',
  ),
  poll: bind<(fds: Uint8Array, count: number, timeoutMs: number) => number>('int poll(void*, unsigned long, int)'),
  ppoll: bind<(fds: Uint8Array, count: number, timeout: Uint8Array, signalMask: null) => number>(
    'int ppoll(void*, unsigned long, void*, void*)',
  ),
};

/** `struct pollfd`, asm-generic/poll.h. */
const Pollfd = struct({ fd: i32, events: u16, revents: u16 });
/** `struct timespec`, uapi/linux/time.h. */
const Timespec = struct({ seconds: u64AsNumber, nanoseconds: u64AsNumber });

const EPOLL_CLOEXEC = 0o2000000;

/** The longest timeout of one call; a longer wait is cut into several. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

export function epollCreate(): number {
  const fd = c.create(EPOLL_CLOEXEC);
  if (fd < 0) throw lastError('epoll_create1');
  return fd;
}

/** `event` is an encoded EpollEvent, null for DEL. */
export function epollCtl(epollFd: number, operation: number, fd: number, event: Uint8Array | null): void {
  if (c.ctl(epollFd, operation, fd, event) < 0) throw lastError('epoll_ctl', { fd });
}

/** The call's timeout for the time left until `deadlineMs`: never shorter, so that a wait does not end early and spin. */
function timeoutFor(deadlineMs: number | undefined): number {
  if (deadlineMs === undefined) return -1;
  return Math.min(Math.max(Math.ceil(deadlineMs - performance.now()), 0), MAX_TIMEOUT_MS);
}

/**
 * Waits for events and writes them to `events`, as many as fit. Retried on EINTR with the time that is left. Returns their
 * number: 0 after `timeoutMs` (absent: waits without end).
 */
export function epollWait(epollFd: number, events: Uint8Array, timeoutMs?: number): number {
  const capacity = Math.floor(events.length / EpollEvent.size);
  const deadlineMs = timeoutMs === undefined || timeoutMs === 0 ? undefined : performance.now() + timeoutMs;
  for (;;) {
    const callTimeoutMs = timeoutMs === 0 ? 0 : timeoutFor(deadlineMs);
    const count = c.wait(epollFd, events, capacity, callTimeoutMs);
    if (count > 0) return count;
    if (count === 0 && callTimeoutMs < MAX_TIMEOUT_MS) return 0;
    if (count < 0 && errno() !== Errno.EINTR) throw lastError('epoll_wait', { fd: epollFd });
  }
}

/**
 * Waits until `fd` has one of `events` (PollFlag bits) or an error. Retried on EINTR with the time that is left. Returns
 * the bits that hold, 0 after `timeoutMs`.
 */
export function pollFd(fd: number, events: number, timeoutMs?: number): number {
  const entry = new DataView(new ArrayBuffer(8));
  entry.setInt32(0, fd, true);
  entry.setUint16(4, events, true);
  const deadlineMs = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  for (;;) {
    const callTimeoutMs = timeoutFor(deadlineMs);
    const count = c.poll(new Uint8Array(entry.buffer), 1, callTimeoutMs);
    if (count > 0) return entry.getUint16(6, true);
    if (count === 0 && callTimeoutMs < MAX_TIMEOUT_MS) return 0;
    if (count < 0 && errno() !== Errno.EINTR) throw lastError('poll', { fd });
  }
}

/** A few descriptors to wait for again and again, to the nanosecond. */
export class PollSet {
  readonly #count: number;
  readonly #entries: Uint8Array;
  readonly #view: DataView;
  readonly #timeout = new Uint8Array(Timespec.size);
  readonly #timeoutView = viewOf(this.#timeout);

  /** Waits for `events` (PollFlag bits) or an error of each. */
  constructor(fds: readonly number[], events: number) {
    this.#count = fds.length;
    this.#entries = new Uint8Array(fds.length * Pollfd.size);
    this.#view = viewOf(this.#entries);
    for (const [index, fd] of fds.entries()) this.#entries.set(Pollfd.encode({ fd, events }), index * Pollfd.size);
  }

  /** False when `timeoutNs`, below 2^53, have passed or a signal has come before any descriptor was ready. */
  wait(timeoutNs: number): boolean {
    const { seconds, nanoseconds } = Timespec.fields;
    const wholeNs = Math.ceil(timeoutNs);
    u64AsNumber.set(this.#timeoutView, seconds.offset, Math.floor(wholeNs / 1e9));
    u64AsNumber.set(this.#timeoutView, nanoseconds.offset, wholeNs % 1e9);
    const count = c.ppoll(this.#entries, this.#count, this.#timeout, null);
    if (count < 0 && errno() !== Errno.EINTR) throw lastError('ppoll');
    return count > 0;
  }

  /** Whether the descriptor at `index` was ready after the last wait that returned true. */
  isReady(index: number): boolean {
    return this.#view.getUint16(index * Pollfd.size + Pollfd.fields.revents.offset, true) !== 0;
  }
}
