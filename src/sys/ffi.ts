/** The one module that knows the FFI library. Everything else in this layer is written in terms of these functions. */
import koffi from 'koffi';
import { Errno, SyscallError, type SyscallSubject } from './syscall-error.ts';

/** A place in this process's memory. Linux hands out user addresses below 2^47, so a number holds them exactly. */
export type Address = number | bigint;

/** What a C `void *` may be given: memory of the JavaScript heap, or an address. */
export type Pointer = Uint8Array | Address | null;

if (process.platform !== 'linux' || process.arch !== 'x64') {
  throw new SyscallError(`${process.platform} ${process.arch}`, Errno.EINVAL);
}

const libc = koffi.load(null);

/** Binds a C function by its prototype. The type parameter states what the prototype says. */
export function bind<F extends (...args: never[]) => unknown>(prototype: string): F {
  return libc.func(prototype) as unknown as F;
}

/** The errno of this thread's last bound call. */
export function errno(): number {
  return koffi.errno();
}

/** The error of the bound call that has just failed. */
export function lastError(syscall: string, subject?: SyscallSubject): SyscallError {
  return new SyscallError(syscall, koffi.errno(), subject);
}

/** The address of a typed array's or buffer's first byte. It is valid while the object lives and is not detached. */
export function addressOf(view: ArrayBufferView | ArrayBuffer | SharedArrayBuffer): number {
  const whole = ArrayBuffer.isView(view) ? view : new Uint8Array(view);
  return Number(koffi.address(whole));
}

/**
 * An ArrayBuffer over memory that this process has mapped. It does not own the memory: detach it (`detach`) before the
 * memory is unmapped, else a later access crashes the process.
 */
export function bufferOver(address: Address, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes);
}

/** Detaches a buffer of `bufferOver`: every view of it has length 0 from here on, and its accessors throw. */
export function detach(buffer: ArrayBuffer): void {
  buffer.transfer(0);
}

/** A path as the C library takes it. A NUL byte would cut it short and name another file. */
export function checkedPath(syscall: string, path: string): string {
  if (path.includes('\0')) throw new SyscallError(syscall, Errno.EINVAL, { path });
  return path;
}
