/** seccomp(2) and the prctl(2) that it needs. What a filter does is jail/seccomp's matter. */
import { assert } from '#util/assert.ts';
import { struct, u16, u64AsNumber } from '#util/struct.ts';
import { addressOf, bind, errno, lastError } from './ffi.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/** asm/unistd_64.h. The C library has no function for it. */
const SYS_SECCOMP = 317;

/** uapi/linux/prctl.h */
const PR = { SET_NO_NEW_PRIVS: 38, GET_NO_NEW_PRIVS: 39 } as const;

/** seccomp(2) operations, uapi/linux/seccomp.h. */
const OPERATION = { SET_MODE_FILTER: 1, GET_ACTION_AVAIL: 2 } as const;

/** Flags of a filter, uapi/linux/seccomp.h. TSYNC: all threads take it; LOG: what is not allowed is logged. */
export const SeccompFlag = { TSYNC: 1, LOG: 2 } as const;

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
  const length = program.length / INSTRUCTION_SIZE_BYTES;
  assert(Number.isInteger(length) && length >= 1 && length <= 0xffff, 'a program is a count of whole instructions');
  const argument = SockFprog.encode({ length, filter: addressOf(program) });
  const result = c.seccomp(SYS_SECCOMP, OPERATION.SET_MODE_FILTER, flags, argument);
  // The program lives until here: the collector does not know that `argument` has its address.
  addressOf(program);
  if (result < 0) throw lastError('seccomp');
  // With TSYNC the kernel returns the thread that hindered it, and no error.
  if (result > 0) throw new SyscallError('seccomp', Errno.ESRCH);
}

/** Whether this kernel knows the action, a SECCOMP_RET_ value without data. */
export function isSeccompActionAvailable(action: number): boolean {
  const argument = new Uint8Array(Uint32Array.of(action).buffer);
  if (c.seccomp(SYS_SECCOMP, OPERATION.GET_ACTION_AVAIL, 0, argument) === 0) return true;
  if (errno() === Errno.EOPNOTSUPP) return false;
  throw lastError('seccomp');
}
