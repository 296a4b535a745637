/** epoll(7) and poll(2). All throw SyscallError. */
import { struct, u32, u64 } from '#util/struct.ts';
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
};

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
