/**
 * A signal handler in machine code. V8's threads exist before the first line of a program runs and do not block the signals
 * of a user, so a signal may arrive on any of them: it cannot be made to wait for a signalfd (see docs/decisions/0002-signals.md).
 * A handler that runs on whatever thread, touches no JavaScript and makes one system call is safe everywhere.
 */
import { bufferOver } from './ffi.ts';
import { MapFlag, mmap, mprotect, PAGE_SIZE_BYTES, Prot } from './memory.ts';

/** handler(signal): writes the signal's number, 4 bytes, to a descriptor. A system call made here leaves errno alone. */
// biome-ignore format: an instruction a line
const HANDLER_CODE = Uint8Array.of(
  0xf3, 0x0f, 0x1e, 0xfa,             // endbr64
  0x57,                               // push rdi            the signal's number
  0xb8, 0x01, 0x00, 0x00, 0x00,       // mov  eax, 1         write
  0x8b, 0x3d, 0xf0, 0x0f, 0x00, 0x00, // mov  edi, [rip + 0xff0]   the descriptor: 16 + 0xff0 is the next page's start
  0x48, 0x89, 0xe6,                   // mov  rsi, rsp
  0xba, 0x04, 0x00, 0x00, 0x00,       // mov  edx, 4
  0x0f, 0x05,                         // syscall
  0x5f,                               // pop  rdi
  0xc3,                               // ret
);

/** A page of code and a page with the descriptor that it writes to. */
export interface SignalCode {
  /** The handler's address. */
  readonly address: number;
  readonly descriptor: Int32Array;
}

/** Code that no signal leads to any more. It is used again and never unmapped: another thread may still be about to return. */
const unused: SignalCode[] = [];

function mapSignalCode(): SignalCode {
  const sizeBytes = 2 * PAGE_SIZE_BYTES;
  const flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS;
  const address = mmap({ sizeBytes, prot: Prot.READ | Prot.WRITE, flags });
  const buffer = bufferOver(address, sizeBytes);
  new Uint8Array(buffer).set(HANDLER_CODE);
  mprotect(address, PAGE_SIZE_BYTES, Prot.READ | Prot.EXEC);
  return { address, descriptor: new Int32Array(buffer, PAGE_SIZE_BYTES, 1) };
}

/** A native handler that writes its signal to `fd`. Throws SyscallError. */
export function acquireSignalCode(fd: number): SignalCode {
  const code = unused.pop() ?? mapSignalCode();
  Atomics.store(code.descriptor, 0, fd);
  return code;
}

/** Gives a handler back that is installed for no signal any more. */
export function releaseSignalCode(code: SignalCode): void {
  Atomics.store(code.descriptor, 0, -1);
  unused.push(code);
}
