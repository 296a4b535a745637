/**
 * Processes: fork(2), waitid(2), _exit(2), pidfd_open(2), pidfd_send_signal(2). All throw SyscallError unless they say otherwise.
 * What a fork without exec needs of a Node process is in docs/decisions/0011-fork-without-exec.md.
 */
import { readFileSync } from 'node:fs';
import { bytes, i32, struct, u32, viewOf } from '#util/struct.ts';
import { bind, errno, lastError } from './ffi.ts';
import { Advice } from './memory.ts';
import { Errno } from './syscall-error.ts';

/** `siginfo_t` as waitid(2) fills it, asm-generic/siginfo.h. */
export const ChildSiginfo = struct({
  signo: i32,
  errno: i32,
  code: i32,
  alignment: u32,
  pid: i32,
  uid: u32,
  status: i32,
  rest: bytes(100),
});

/** How a process ended. */
export type ChildStatus = { readonly exitCode: number } | { readonly signal: number };

/** The system calls for which the C library before 2.36 has no function, arch/x86/entry/syscalls/syscall_64.tbl. */
const SYS = { PIDFD_SEND_SIGNAL: 424, PIDFD_OPEN: 434 } as const;

/** Kinds of id for waitid(2), uapi/linux/wait.h. */
const P = { PID: 1, PIDFD: 3 } as const;
const WAIT = { NOHANG: 1, EXITED: 4 } as const;
/** `si_code` of SIGCHLD, asm-generic/siginfo.h. */
const CLD_EXITED = 1;

const c = {
  fork: bind<() => number>('int fork()'),
  exit: bind<(status: number) => never>('void _exit(int)'),
  getpid: bind<() => number>('int getpid()'),
  getppid: bind<() => number>('int getppid()'),
  waitid: bind<(kind: number, id: number, info: Uint8Array, options: number) => number>(
    'int waitid(int, int, void*, int)',
  ),
  madvise: bind<(address: number, size: number, advice: number) => number>('int madvise(uint64_t, size_t, int)'),
  pidfdOpen: bind<(number: number, pid: number, flags: number) => number>('int64_t syscall(int64_t, int64_t, int64_t)'),
  pidfdSendSignal: bind<(number: number, pidfd: number, signal: number, info: number, flags: number) => number>(
    'int64_t syscall(int64_t, int64_t, int64_t, int64_t, int64_t)',
  ),
};

/** Where the kernel's half begins, with [vsyscall]. */
const USER_SPACE_END = 2 ** 63;

/** Undoes MADV_DONTFORK for all that is mapped, save the kernel's own, which cannot be inherited: [vvar], rings of io_uring. */
export function inheritMappings(): void {
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [, low = '', high = ''] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? [];
    const start = Number.parseInt(low, 16);
    if (low === '' || start >= USER_SPACE_END) continue;
    if (c.madvise(start, Number.parseInt(high, 16) - start, Advice.DOFORK) === 0) continue;
    // ENOMEM: unmapped in the meantime.
    const failure = errno();
    if (failure !== Errno.EINVAL && failure !== Errno.ENOMEM) throw lastError('madvise');
  }
}

/**
 * Forks. Returns 0 in the child, which has the calling thread alone: it must not return to libuv's event loop, whose epoll descriptor
 * is the parent's, and ends with `exitNow`. Memory that is marked MADV_DONTFORK, as V8 marks its own, is missing there.
 */
export function fork(): number {
  const pid = c.fork();
  if (pid < 0) throw lastError('fork');
  return pid;
}

/** Ends the process without exit handlers, destructors or flushing. */
export function exitNow(status: number): never {
  return c.exit(status);
}

/** The process's id as its own pid namespace numbers it; `process.pid` is the parent's after a fork. */
export function getpid(): number {
  return c.getpid();
}

/** The parent's id, 0 when it is outside of the caller's pid namespace. */
export function getppid(): number {
  return c.getppid();
}

function wait(kind: number, id: number, options: number): ChildStatus | undefined {
  const info = new Uint8Array(ChildSiginfo.size);
  while (c.waitid(kind, id, info, WAIT.EXITED | options) < 0) {
    if (errno() !== Errno.EINTR) throw lastError('waitid', kind === P.PIDFD ? { fd: id } : {});
  }
  const { pid, code, status } = ChildSiginfo.at(viewOf(info));
  if (pid === 0) return undefined;
  return code === CLD_EXITED ? { exitCode: status } : { signal: status };
}

/** Waits for a child's end and reaps it. ECHILD: it is none of ours. */
export function waitPid(pid: number): ChildStatus {
  return wait(P.PID, pid, 0) as ChildStatus;
}

/** As `waitPid`, for the child of a pidfd; the descriptor stays open. */
export function waitPidfd(pidfd: number): ChildStatus {
  return wait(P.PIDFD, pidfd, 0) as ChildStatus;
}

/** As `waitPidfd` without waiting: undefined while the child runs. */
export function tryWaitPidfd(pidfd: number): ChildStatus | undefined {
  return wait(P.PIDFD, pidfd, WAIT.NOHANG);
}

/**
 * A descriptor that stands for the process and is readable when it has ended; closed on exec. For a child that has not been reaped
 * the id cannot have become another process's.
 */
export function pidfdOpen(pid: number): number {
  const fd = c.pidfdOpen(SYS.PIDFD_OPEN, pid, 0);
  if (fd < 0) throw lastError('pidfd_open');
  return fd;
}

/** Sends a signal. ESRCH: the process has been reaped. */
export function pidfdSendSignal(pidfd: number, signal: number): void {
  if (c.pidfdSendSignal(SYS.PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0) < 0)
    throw lastError('pidfd_send_signal', { fd: pidfd });
}
