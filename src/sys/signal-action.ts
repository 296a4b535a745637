/** sigaction(2) for handlers that are machine code, with their own way back: the C library's would put in its own. */
import { bind, lastError } from './ffi.ts';

/** arch/x86/entry/syscalls/syscall_64.tbl */
const SYS_RT_SIGACTION = 13;

/** sigaction(2) flags, asm/signal.h. */
export const SignalActionFlag = { SIGINFO: 0x4, RESTORER: 0x0400_0000, RESTART: 0x1000_0000 } as const;

/** The kernel's `struct sigaction` on x86-64: handler, flags, restorer, mask of 8 bytes. */
const SIGACTION = { SIZE_BYTES: 32, HANDLER: 0, FLAGS: 8, RESTORER: 16, MASK_BYTES: 8 } as const;

const sigaction = bind<(number: number, signal: number, action: Uint8Array, old: Uint8Array, size: number) => number>(
  'long syscall(long, long, void*, void*, long)',
);

export interface SignalAction {
  /** Addresses of code that is never unmapped; the handler returns to the restorer. */
  readonly handler: number;
  readonly restorer: number;
  /** Of SignalActionFlag; RESTORER is always set. */
  readonly flags: number;
}

/** Makes this the process's action for `signal`, which is blocked while the handler runs. Throws SyscallError. */
export function setSignalAction(signal: number, { handler, restorer, flags }: SignalAction): void {
  const action = new Uint8Array(SIGACTION.SIZE_BYTES);
  const view = new DataView(action.buffer);
  view.setBigUint64(SIGACTION.HANDLER, BigInt(handler), true);
  view.setBigUint64(SIGACTION.FLAGS, BigInt(flags | SignalActionFlag.RESTORER), true);
  view.setBigUint64(SIGACTION.RESTORER, BigInt(restorer), true);
  const old = new Uint8Array(SIGACTION.SIZE_BYTES);
  if (sigaction(SYS_RT_SIGACTION, signal, action, old, SIGACTION.MASK_BYTES) < 0) throw lastError('rt_sigaction');
}
