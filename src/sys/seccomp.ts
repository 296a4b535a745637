/** seccomp(2) and the prctl(2) that it needs. What a filter does is jail/seccomp's matter. */
import { assert } from '#util/assert.ts';
import { bytes, i32, struct, u16, u32, u64, u64AsNumber, viewOf } from '#util/struct.ts';
import { PollFlag, pollFd } from './epoll.ts';
import { addressOf, bind, errno, lastError } from './ffi.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/** asm/unistd_64.h. The C library has no function for it. */
const SYS_SECCOMP = 317;

/** uapi/linux/prctl.h */
const PR = { SET_NO_NEW_PRIVS: 38, GET_NO_NEW_PRIVS: 39 } as const;

/** seccomp(2) operations, uapi/linux/seccomp.h. */
const OPERATION = { SET_MODE_FILTER: 1, GET_ACTION_AVAIL: 2 } as const;

/**
 * Flags of a filter, uapi/linux/seccomp.h. TSYNC: all threads take it; LOG: what is not allowed is logged; NEW_LISTENER: calls for which it
 * returns SECCOMP_RET_USER_NOTIF are told to a descriptor.
 */
export const SeccompFlag = { TSYNC: 1, LOG: 2, NEW_LISTENER: 8 } as const;

/** Requests of a listener's descriptor, uapi/linux/seccomp.h: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, struct seccomp_notif_resp). */
const NOTIF = { RECV: 0xc050_2100, SEND: 0xc018_2101 } as const;

/** `struct seccomp_notif` with its `struct seccomp_data`, uapi/linux/seccomp.h. */
export const SeccompNotif = struct({
  id: u64,
  pid: u32,
  flags: u32,
  call: i32,
  arch: u32,
  instructionPointer: u64,
  argumentWords: bytes(48),
});

/** `struct seccomp_notif_resp`, uapi/linux/seccomp.h. */
export const SeccompNotifResp = struct({ id: u64, value: u64, error: i32, flags: u32 });

/** `struct sock_fprog`, uapi/linux/filter.h. */
export const SockFprog = struct({ length: u16, filter: u64AsNumber });

/** sizeof(struct sock_filter). */
const INSTRUCTION_SIZE_BYTES = 8;

const c = {
  prctl: bind<(option: number, a: number, b: number, c: number, d: number) => number>(
    'int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)',
  ),
  seccomp: bind<(number: number, operation: number, flags: number, argument: Uint8Array) => number>(
    'long syscall(long, unsigned int, unsigned int, void*)',
  ),
  ioctl: bind<(fd: number, request: number, argument: Uint8Array) => number>('int ioctl(int, unsigned long, void*)'),
};

/** Gives up, for this thread and all that it starts, what setuid programs would gain. A filter needs that or CAP_SYS_ADMIN. */
export function setNoNewPrivileges(): void {
  if (c.prctl(PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) throw lastError('prctl');
}

export function hasNoNewPrivileges(): boolean {
  const result = c.prctl(PR.GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  if (result < 0) throw lastError('prctl');
  return result === 1;
}

/**
 * Puts a filter on this thread for the rest of its life; earlier ones stay. `program` is an array of struct sock_filter.
 * What runs afterwards may be refused, the exit of the process included, and functions that were never called through the
 * FFI may need more than their own call.
 *
 * Throws SyscallError: EACCES without `setNoNewPrivileges` and CAP_SYS_ADMIN, EINVAL for a program that the kernel does
 * not take, ENOMEM when the filters of the thread have more than 32768 instructions, ESRCH when with TSYNC some thread
 * has filters of its own.
 */
export function installSeccompFilter(program: Uint8Array, flags = 0): void {
  // With TSYNC the kernel returns the thread that hindered it, and no error.
  if (setFilter(program, flags) > 0) throw new SyscallError('seccomp', Errno.ESRCH);
}

/**
 * As `installSeccompFilter`, and returns a descriptor, closed on exec, that hears of each call for which the program returns SECCOMP_RET_USER_NOTIF: the
 * call waits until `refuseCall` or the end of its thread. While nobody has the descriptor open such calls fail with ENOSYS.
 *
 * Throws SyscallError also with EBUSY, when an earlier filter of the thread has a listener.
 */
export function installNotifyingFilter(program: Uint8Array): number {
  return setFilter(program, SeccompFlag.NEW_LISTENER);
}

/** A call that a filter has told of. */
export interface HeardCall {
  readonly id: bigint;
  /** Its number, of whichever architecture the filter told of. */
  readonly call: number;
}

/** What waits at a listener's descriptor; undefined when nothing does any more. Throws SyscallError. */
export function hearCall(listener: number): HeardCall | undefined {
  // The kernel would wait for a call, also where the process has ended meanwhile.
  while ((pollFd(listener, PollFlag.IN, 0) & PollFlag.IN) !== 0) {
    const notification = new Uint8Array(SeccompNotif.size);
    if (c.ioctl(listener, NOTIF.RECV, notification) === 0) {
      const { id, call } = SeccompNotif.decode(viewOf(notification));
      return { id, call };
    }
    // ENOENT: the process was killed, or a signal interrupted the call.
    if (errno() === Errno.ENOENT) return undefined;
    if (errno() !== Errno.EINTR) throw lastError('ioctl SECCOMP_IOCTL_NOTIF_RECV', { fd: listener });
  }
  return undefined;
}

/** Has a call fail with EPERM. Nothing happens where its process is gone. Throws SyscallError. */
export function refuseCall(listener: number, { id }: HeardCall): void {
  const response = SeccompNotifResp.encode({ id, error: -Errno.EPERM });
  if (c.ioctl(listener, NOTIF.SEND, response) < 0 && errno() !== Errno.ENOENT)
    throw lastError('ioctl SECCOMP_IOCTL_NOTIF_SEND', { fd: listener });
}

function setFilter(program: Uint8Array, flags: number): number {
  const length = program.length / INSTRUCTION_SIZE_BYTES;
  assert(Number.isInteger(length) && length >= 1 && length <= 0xffff, 'a program is a count of whole instructions');
  const argument = SockFprog.encode({ length, filter: addressOf(program) });
  const result = c.seccomp(SYS_SECCOMP, OPERATION.SET_MODE_FILTER, flags, argument);
  // The program lives until here: the collector does not know that `argument` has its address.
  addressOf(program);
  if (result < 0) throw lastError('seccomp');
  return result;
}

/** Whether this kernel knows the action, a SECCOMP_RET_ value without data. */
export function isSeccompActionAvailable(action: number): boolean {
  const argument = new Uint8Array(Uint32Array.of(action).buffer);
  if (c.seccomp(SYS_SECCOMP, OPERATION.GET_ACTION_AVAIL, 0, argument) === 0) return true;
  if (errno() === Errno.EOPNOTSUPP) return false;
  throw lastError('seccomp');
}
