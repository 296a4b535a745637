/** eventfd(2), timerfd_create(2). All throw SyscallError; reads and writes go through file.ts. */
import { struct, u64AsNumber } from '#util/struct.ts';
import { bind, lastError } from './ffi.ts';

/** uapi/linux/eventfd.h */
export const EventfdFlag = { SEMAPHORE: 1, NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;

/** uapi/linux/timerfd.h */
export const TimerfdFlag = { NONBLOCK: 0o4000, CLOEXEC: 0o2000000 } as const;

/** Clock ids, uapi/linux/time.h. */
export const ClockId = { REALTIME: 0, MONOTONIC: 1, BOOTTIME: 7 } as const;

/** `struct itimerspec`, uapi/linux/time.h. */
export const Itimerspec = struct({
  intervalSec: u64AsNumber,
  intervalNsec: u64AsNumber,
  valueSec: u64AsNumber,
  valueNsec: u64AsNumber,
});

const TFD_TIMER_ABSTIME = 1;

const c = {
  eventfd: bind<(initial: number, flags: number) => number>('int eventfd(unsigned int, int)'),
  timerCreate: bind<(clock: number, flags: number) => number>('int timerfd_create(int, int)'),
  timerSet: bind<(fd: number, flags: number, time: Uint8Array, old: null) => number>(
    'int timerfd_settime(int, int, void*, void*)',
  ),
  timerGet: bind<(fd: number, time: Uint8Array) => number>('int timerfd_gettime(int, void*)'),
};

/** An eventfd, non-blocking and closed on exec. */
export function eventfd(initial = 0, flags = 0): number {
  const fd = c.eventfd(initial, flags | EventfdFlag.NONBLOCK | EventfdFlag.CLOEXEC);
  if (fd < 0) throw lastError('eventfd2');
  return fd;
}

/** A disarmed timerfd, non-blocking and closed on exec. */
export function timerfdCreate(clock: number = ClockId.MONOTONIC): number {
  const fd = c.timerCreate(clock, TimerfdFlag.NONBLOCK | TimerfdFlag.CLOEXEC);
  if (fd < 0) throw lastError('timerfd_create');
  return fd;
}

/** Arms or (value 0) disarms a timer with an encoded Itimerspec. */
export function timerfdSettime(fd: number, time: Uint8Array, options: { absolute?: boolean } = {}): void {
  if (c.timerSet(fd, options.absolute ? TFD_TIMER_ABSTIME : 0, time, null) < 0)
    throw lastError('timerfd_settime', { fd });
}

/** Fills an encoded Itimerspec with the time that is left. */
export function timerfdGettime(fd: number, time: Uint8Array): void {
  if (c.timerGet(fd, time) < 0) throw lastError('timerfd_gettime', { fd });
}
