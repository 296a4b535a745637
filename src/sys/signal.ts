/** Signals: masks, signalfd(2), sigaction(2), kill(2). All throw SyscallError. */
import { constants } from 'node:os';
import { assert } from '#util/assert.ts';
import { type Address, addressOf, bind, errno, lastError, type Pointer } from './ffi.ts';
import { Errno, SyscallError } from './syscall-error.ts';

/** A signal's number; those that programs name are `Signal.SIGINT` and so on. */
export const Signal = constants.signals;

/** pthread_sigmask(3) `how`, asm-generic/signal-defs.h. */
export const MaskChange = { BLOCK: 0, UNBLOCK: 1, SET: 2 } as const;

/** sigaction(2) flags, asm-generic/signal-defs.h. */
const SA = { RESTART: 0x10000000 } as const;

/** `sigset_t` of the C library: 1024 bits, of which the kernel knows 64. */
const SIGSET_SIZE_BYTES = 128;

/** `struct sigaction` of the C library on x86-64: handler, mask, flags, restorer. */
const SIGACTION = { SIZE_BYTES: 152, HANDLER: 0, MASK: 8, FLAGS: 136 } as const;

const SIGNALFD_FLAGS = 0o4000 | 0o2000000; // SFD_NONBLOCK | SFD_CLOEXEC

const c = {
  mask: bind<(how: number, set: Uint8Array | null, old: Uint8Array) => number>(
    'int pthread_sigmask(int, void*, void*)',
  ),
  signalfd: bind<(fd: number, set: Uint8Array, flags: number) => number>('int signalfd(int, void*, int)'),
  sigaction: bind<(signal: number, action: Uint8Array, old: Pointer) => number>('int sigaction(int, void*, void*)'),
  kill: bind<(pid: number, signal: number) => number>('int kill(int, int)'),
  tgkill: bind<(group: number, thread: number, signal: number) => number>('int tgkill(int, int, int)'),
  gettid: bind<() => number>('int gettid()'),
  timedwait: bind<(set: Uint8Array, info: null, timeout: Uint8Array | null) => number>(
    'int sigtimedwait(const void*, void*, const void*)',
  ),
};

function sigset(signals: readonly number[]): Uint8Array {
  const set = new Uint8Array(SIGSET_SIZE_BYTES);
  for (const signal of signals) {
    assert(Number.isInteger(signal) && signal >= 1 && signal <= 64, 'not a signal number');
    const bit = signal - 1;
    set[bit >> 3] = (set[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return set;
}

/** Changes the calling thread's mask. Returns the mask before, as signal numbers. Threads inherit their creator's mask. */
export function changeSignalMask(how: number, signals: readonly number[]): number[] {
  const old = new Uint8Array(SIGSET_SIZE_BYTES);
  const error = c.mask(how, sigset(signals), old); // returns the error, does not set errno
  if (error !== 0) throw new SyscallError('rt_sigprocmask', error);
  const numbers = Array.from({ length: 64 }, (_, bit) => bit + 1);
  return numbers.filter((signal) => ((old[(signal - 1) >> 3] ?? 0) >> ((signal - 1) & 7)) & 1);
}

/** A non-blocking signalfd of signals that every thread of the process must block. */
export function signalfd(signals: readonly number[]): number {
  const fd = c.signalfd(-1, sigset(signals), SIGNALFD_FLAGS);
  if (fd < 0) throw lastError('signalfd4');
  return fd;
}

/** The disposition of a signal before `installHandler`, for `restoreHandler`. */
export type SavedAction = Uint8Array;

/** Installs native code as handler. `handler` is an address; interrupted calls restart. */
export function installHandler(signal: number, handler: Address): SavedAction {
  const action = new Uint8Array(SIGACTION.SIZE_BYTES);
  const view = new DataView(action.buffer);
  view.setBigUint64(SIGACTION.HANDLER, BigInt(handler), true);
  view.setUint32(SIGACTION.FLAGS, SA.RESTART, true);
  const old = new Uint8Array(SIGACTION.SIZE_BYTES);
  if (c.sigaction(signal, action, old) < 0) throw lastError('rt_sigaction');
  return old;
}

export function restoreHandler(signal: number, saved: SavedAction): void {
  assert(saved.length === SIGACTION.SIZE_BYTES && addressOf(saved) !== 0, 'not a saved action');
  if (c.sigaction(signal, saved, null) < 0) throw lastError('rt_sigaction');
}

/** Sends a signal; 0 only checks that the process exists and may be signalled. */
export function kill(pid: number, signal: number): void {
  if (c.kill(pid, signal) < 0) throw lastError('kill');
}

/** The calling thread's id. */
export function gettid(): number {
  return c.gettid();
}

/** Sends a signal to one thread of this process. */
export function tgkill(threadId: number, signal: number): void {
  if (c.tgkill(process.pid, threadId, signal) < 0) throw lastError('tgkill');
}

/** Signals that the calling thread blocks, to be taken by itself. */
export class BlockedSignals {
  readonly #set: Uint8Array;
  /** `struct timespec` of no time. */
  readonly #noTime = new Uint8Array(16);

  constructor(signals: readonly number[]) {
    this.#set = sigset(signals);
  }

  /** Takes one that is pending; undefined when none is. */
  tryTake(): number | undefined {
    const signal = c.timedwait(this.#set, null, this.#noTime);
    if (signal > 0) return signal;
    if (errno() !== Errno.EAGAIN && errno() !== Errno.EINTR) throw lastError('rt_sigtimedwait');
    return undefined;
  }

  /** Waits for one and takes it. */
  wait(): number {
    for (;;) {
      const signal = c.timedwait(this.#set, null, null);
      if (signal > 0) return signal;
      if (errno() !== Errno.EINTR) throw lastError('rt_sigtimedwait');
    }
  }
}

/** The kernel's form of a set of signals: 8 bytes. */
export function kernelSigset(signals: readonly number[]): Uint8Array {
  return sigset(signals).subarray(0, 8);
}

/** Gives signals their default action. For a child of a fork, whose handlers belong to the parent's event loop. */
export function resetSignals(signals: readonly number[]): void {
  for (const signal of signals) {
    if (c.sigaction(signal, new Uint8Array(SIGACTION.SIZE_BYTES), null) < 0) throw lastError('rt_sigaction');
  }
}
