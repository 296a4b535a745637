import { bind, errno, lastError, type Pointer } from './ffi.ts';
import { Errno } from './syscall-error.ts';

/** Options, uapi/linux/prctl.h. */
const PR = {
  SET_PDEATHSIG: 1,
  GET_DUMPABLE: 3,
  SET_DUMPABLE: 4,
  SET_KEEPCAPS: 8,
  SET_NAME: 15,
  CAPBSET_DROP: 24,
  GET_SECUREBITS: 27,
  SET_SECUREBITS: 28,
  SET_NO_NEW_PRIVS: 38,
  CAP_AMBIENT: 47,
} as const;

const PR_CAP_AMBIENT_CLEAR_ALL = 4;

/** Secure bits, uapi/linux/securebits.h; each has a lock one bit higher. */
export const SecureBit = { NOROOT: 0x1, NO_SETUID_FIXUP: 0x4, KEEP_CAPS: 0x10, NO_CAP_AMBIENT_RAISE: 0x40 } as const;

/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS_PRCTL = 157;

/** No capability exists beyond it: the sets have 64 bits. */
const CAPABILITY_LIMIT = 64;

/** TASK_COMM_LEN, linux/sched.h, less the NUL. */
const NAME_MAX_BYTES = 15;

type PrctlArguments = [option: number, a: number, b: number, c: number, d: number];
const c = {
  prctl: bind<(...parameters: PrctlArguments) => number>(
    'int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)',
  ),
  prctlPointer: bind<(option: number, pointer: Pointer, b: number, c: number, d: number) => number>(
    'int prctl(int, void*, unsigned long, unsigned long, unsigned long)',
  ),
};

function prctl(option: number, a = 0, b = 0): number {
  const result = c.prctl(option, a, b, 0, 0);
  if (result < 0) throw lastError('prctl');
  return result;
}

/**
 * The signal that this process gets when the thread that made it ends. A change of user, of group or to more capabilities clears it.
 * A parent that has ended before sends nothing: look for it afterwards.
 */
export function setParentDeathSignal(signal: number): void {
  prctl(PR.SET_PDEATHSIG, signal);
}

/** Whether a core may be dumped, and whether the process's own user may trace it and own its files in /proc. */
export function setDumpable(dumpable: boolean): void {
  prctl(PR.SET_DUMPABLE, dumpable ? 1 : 0);
}

export function isDumpable(): boolean {
  return prctl(PR.GET_DUMPABLE) === 1;
}

/** Keep the permitted capabilities over a change from root to another user. */
export function setKeepCapabilities(keep: boolean): void {
  prctl(PR.SET_KEEPCAPS, keep ? 1 : 0);
}

/** Names the calling thread, in at most 15 bytes. */
export function setThreadName(name: string): void {
  const bytes = new Uint8Array(NAME_MAX_BYTES + 1);
  new TextEncoder().encodeInto(name, bytes.subarray(0, NAME_MAX_BYTES));
  if (c.prctlPointer(PR.SET_NAME, bytes, 0, 0, 0) < 0) throw lastError('prctl');
}

/**
 * The calls of `dropBoundingSet`, `setSecureBits`, `clearAmbientSet` and of `setNoNewPrivileges` (seccomp.ts), for threads that make them without the C
 * library. Those for capabilities that the kernel does not know fail.
 */
export function privilegeCalls(secureBits: number): { readonly number: number; readonly arguments: number[] }[] {
  const calls = Array.from({ length: CAPABILITY_LIMIT }, (_, capability) => [PR.CAPBSET_DROP, capability, 0, 0, 0]);
  calls.push([PR.SET_SECUREBITS, secureBits, 0, 0, 0], [PR.CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0]);
  calls.push([PR.SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  return calls.map((values) => ({ number: SYS_PRCTL, arguments: values }));
}

/** Drops every capability that this kernel knows from the bounding set. EPERM: without CAP_SETPCAP. */
export function dropBoundingSet(): void {
  for (let capability = 0; capability < CAPABILITY_LIMIT; capability++) {
    if (c.prctl(PR.CAPBSET_DROP, capability, 0, 0, 0) === 0) continue;
    if (errno() === Errno.EINVAL && capability > 0) return; // the first that the kernel does not know
    throw lastError('prctl');
  }
}

export function clearAmbientSet(): void {
  prctl(PR.CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL);
}

/** Bits of SecureBit and their locks. EPERM: without CAP_SETPCAP, or locked. */
export function setSecureBits(bits: number): void {
  prctl(PR.SET_SECUREBITS, bits);
}

export function getSecureBits(): number {
  return prctl(PR.GET_SECUREBITS);
}
