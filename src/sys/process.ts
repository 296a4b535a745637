/**
 * Processes: clone(2), waitid(2), _exit(2), pidfd_open(2), pidfd_send_signal(2). All throw SyscallError unless they say otherwise.
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

/**
 * The system calls for which the C library before 2.36 has no function, and clone, whose function wants a stack;
 * arch/x86/entry/syscalls/syscall_64.tbl.
 */
const SYS = { CLONE: 56, PIDFD_SEND_SIGNAL: 424, PIDFD_OPEN: 434 } as const;
/** clone's flags besides namespaces, uapi/linux/sched.h. The lowest byte is the signal that the parent gets at its child's end. */
const CLONE = { SIGCHLD: 17, PIDFD: 0x1000 } as const;

/** Kinds of id for waitid(2), uapi/linux/wait.h. */
const P = { PID: 1, PIDFD: 3 } as const;
const WAIT = { NOHANG: 1, EXITED: 4 } as const;
/** `si_code` of SIGCHLD, asm-generic/siginfo.h. */
const CLD_EXITED = 1;

const c = {
  clone: bind<
    (number: number, flags: number, stack: number, pidfd: Uint8Array, childTid: number, tls: number) => number
  >('int64_t syscall(int64_t, int64_t, int64_t, void*, int64_t, int64_t)'),
  exit: bind<(status: number) => never>('void _exit(int)'),
  getpid: bind<() => number>('int getpid()'),
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

/** How /proc/self/maps names the memory of io_uring's rings. */
const RINGS = 'anon_inode:[io_uring]';

interface Mapped {
  readonly start: number;
  readonly sizeBytes: number;
  readonly name: string;
}

function* mappings(): Generator<Mapped, void> {
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const [, low = '', high = '', name = ''] = /^([0-9a-f]+)-([0-9a-f]+) (?:\S+ +){4}(.*)$/.exec(line) ?? [];
    const start = Number.parseInt(low, 16);
    if (low === '' || start >= USER_SPACE_END) continue;
    yield { start, sizeBytes: Number.parseInt(high, 16) - start, name };
  }
}

/**
 * Keeps io_uring's rings, of which libuv has one in each loop, from children: whoever can write there has this process make system calls when
 * it submits the next time.
 */
export function keepRingsFromChildren(): void {
  for (const { start, sizeBytes, name } of mappings()) {
    if (name === RINGS && c.madvise(start, sizeBytes, Advice.DONTFORK) !== 0) throw lastError('madvise');
  }
}

/** Undoes MADV_DONTFORK for all that is mapped, save those rings and the kernel's own, which cannot be inherited: [vvar]. */
export function inheritMappings(): void {
  for (const { start, sizeBytes, name } of mappings()) {
    if (name === RINGS || c.madvise(start, sizeBytes, Advice.DOFORK) === 0) continue;
    // ENOMEM: unmapped in the meantime.
    const failure = errno();
    if (failure !== Errno.EINVAL && failure !== Errno.ENOMEM) throw lastError('madvise');
  }
}

/**
 * Forks, the child being born into new namespaces (bits of CloneFlag). Returns undefined in the child, which has the calling thread alone: it
 * must not return to libuv's event loop, whose epoll descriptor is the parent's, and ends with `exitNow`. Memory that is marked MADV_DONTFORK,
 * as V8 marks its own, is missing there. The caller owns the pidfd, which the child has not. This is the system call, not the C library's fork:
 * nobody takes the locks of malloc, V8 or libuv, so no other thread may hold one, and no handler of pthread_atfork(3) runs.
 */
export function clone(namespaceFlags: number): { readonly pid: number; readonly pidfd: number } | undefined {
  const pidfd = new Uint8Array(Int32Array.BYTES_PER_ELEMENT);
  const pid = Number(c.clone(SYS.CLONE, namespaceFlags | CLONE.PIDFD | CLONE.SIGCHLD, 0, pidfd, 0, 0));
  if (pid < 0) throw lastError('clone');
  return pid === 0 ? undefined : { pid, pidfd: viewOf(pidfd).getInt32(0, true) };
}

/** Ends the process without exit handlers, destructors or flushing. */
export function exitNow(status: number): never {
  return c.exit(status);
}

/** The process's id as its own pid namespace numbers it; `process.pid` is the parent's after a fork. */
export function getpid(): number {
  return c.getpid();
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

/** Waits for the end of a pidfd's child and reaps it; the descriptor stays open. ECHILD: it is none of ours. */
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
