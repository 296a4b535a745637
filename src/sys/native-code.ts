/**
 * Machine code of this process's own making: executable mappings at chosen addresses, calls into them, and signal
 * handlers that are machine code. Nothing here keeps a mistake from ending the
 * process.
 */
import koffi from 'koffi';
import { type Address, bind, bufferOver, lastError } from './ffi.ts';

/** mmap(2) protection bits, asm-generic/mman-common.h. */
export const Protection = { NONE: 0, READ: 1, WRITE: 2, EXECUTE: 4 } as const;

/** mmap(2) flags, linux/mman.h and asm-generic/mman-common.h. */
const MAP = { SHARED: 0x01, PRIVATE: 0x02, ANONYMOUS: 0x20, FIXED_NOREPLACE: 0x10_0000 } as const;

/** arch/x86/entry/syscalls/syscall_64.tbl. The C library's sigaction would put in its own restorer. */
const SYS_RT_SIGACTION = 13;

/** sigaction(2) flags, asm/signal.h. */
const SA = { SIGINFO: 0x4, RESTORER: 0x0400_0000, ONSTACK: 0x0800_0000, NODEFER: 0x4000_0000 } as const;

const MAP_FAILED = 2n ** 64n - 1n;

const mmap = bind<
  (address: Address, length: number, protection: number, flags: number, fd: number, offset: number) => bigint
>('uintptr_t mmap(uintptr_t address, size_t length, int protection, int flags, int fd, int64_t offset)');
const mprotect = bind<(address: Address, length: number, protection: number) => number>(
  'int mprotect(uintptr_t address, size_t length, int protection)',
);
const memfdCreate = bind<(name: string, flags: number) => number>(
  'int memfd_create(const char *name, unsigned int flags)',
);
const ftruncate = bind<(fd: number, length: number) => number>('int ftruncate(int fd, int64_t length)');
const sigaltstack = bind<(ss: Uint8Array, old: null) => number>('int sigaltstack(const void *ss, void *old)');
const syscall = bind<(number: number, a: number, b: Uint8Array, c: number, d: number) => number>(
  'long syscall(long number, uintptr_t a, const void *b, uintptr_t c, uintptr_t d)',
);

export interface MapOptions {
  /** Page-aligned address that has to be free; without it the kernel chooses. */
  readonly address?: number;
  readonly sizeBytes: number;
  readonly protection: number;
  /** A descriptor to map shared from its start; without it private zeroed memory. */
  readonly fd?: number;
}

export interface Mapped {
  readonly address: number;
  /** The mapping's bytes; they stay mapped until the process ends. */
  readonly bytes: Uint8Array;
}

/**
 * Maps memory for the rest of the process's life. Throws SyscallError: EEXIST when something is at the address, ENOMEM,
 * EPERM where executable memory is forbidden.
 */
export function mapForever(options: MapOptions): Mapped {
  const { address = 0, sizeBytes, protection, fd = -1 } = options;
  const flags =
    (fd < 0 ? MAP.PRIVATE | MAP.ANONYMOUS : MAP.SHARED) | (options.address === undefined ? 0 : MAP.FIXED_NOREPLACE);
  const result = BigInt(mmap(address, sizeBytes, protection, flags, fd, 0));
  if (result === MAP_FAILED) throw lastError('mmap');
  const at = Number(result);
  return { address: at, bytes: new Uint8Array(bufferOver(at, sizeBytes)) };
}

/** Changes the protection of whole pages. Throws SyscallError. */
export function protect(address: number, sizeBytes: number, protection: number): void {
  if (mprotect(address, sizeBytes, protection) !== 0) throw lastError('mprotect');
}

/** A memory file of this size. It closes with the process. Throws SyscallError. */
export function createMemoryFile(name: string, sizeBytes: number): number {
  const fd = memfdCreate(name, 0);
  if (fd < 0) throw lastError('memfd_create');
  if (ftruncate(fd, sizeBytes) !== 0) throw lastError('ftruncate', { fd });
  return fd;
}

/** The function at this address (System V ABI), by its prototype without a name. The type parameter states what that says. */
export function functionAt<F extends (...args: never[]) => unknown = () => void>(
  address: number,
  prototype = 'void ()',
): F {
  return koffi.decode(BigInt(address), koffi.proto(prototype)) as F;
}

/** Gives this thread an alternate signal stack. Throws SyscallError. */
export function setSignalStack(stack: Mapped): void {
  const ss = new DataView(new ArrayBuffer(24)); // stack_t: ss_sp, ss_flags, ss_size
  ss.setBigUint64(0, BigInt(stack.address), true);
  ss.setBigUint64(16, BigInt(stack.bytes.length), true);
  if (sigaltstack(new Uint8Array(ss.buffer), null) !== 0) throw lastError('sigaltstack');
}

/**
 * Makes the machine code at `handler` the process's handler for `signal`, on the alternate stack and without blocking the
 * signal. It is entered as the kernel enters handlers (number in EDI, siginfo in RSI, ucontext in RDX) and may leave
 * without sigreturn; if it returns, it returns to `restorer`. Throws SyscallError.
 */
export function setNativeSignalHandler(signal: number, handler: number, restorer: number): void {
  const action = new DataView(new ArrayBuffer(32)); // struct kernel_sigaction: handler, flags, restorer, mask
  action.setBigUint64(0, BigInt(handler), true);
  action.setBigUint64(8, BigInt(SA.SIGINFO | SA.RESTORER | SA.ONSTACK | SA.NODEFER), true);
  action.setBigUint64(16, BigInt(restorer), true);
  if (syscall(SYS_RT_SIGACTION, signal, new Uint8Array(action.buffer), 0, 8) !== 0) throw lastError('rt_sigaction');
}
