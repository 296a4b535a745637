import { gettid, Signal, tgkill } from '#sys/signal.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';

/**
 * What ends a vCPU's KVM_RUN: its thread blocks it, and KVM_RUN alone lets it in. So one that comes before KVM_RUN ends that at once,
 * one that comes later interrupts it, and none interrupts anything else. The default action is to ignore it: a thread that has a
 * dead one's number takes no harm.
 */
export const KICK_SIGNAL = Signal.SIGURG;

/** Words of a vCPU: a kick that has not been seen, and the id of the thread that runs it, 0 for none. */
const WORD = { PENDING: 0, THREAD: 1, COUNT: 2 } as const;

/** Kicks of a VM's vCPUs, from any thread, none of which is lost. Every thread has its own over the same words. */
export class Kicks {
  readonly #words: Int32Array;

  static words(vcpuCount: number): number {
    return WORD.COUNT * vcpuCount;
  }

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** This thread runs the vCPU from now on, and blocks KICK_SIGNAL. It has to look by `take` before it runs it first. */
  enter(index: number): void {
    Atomics.store(this.#words, index * WORD.COUNT + WORD.THREAD, gettid());
  }

  /** No thread runs the vCPU any more. */
  leave(index: number): void {
    Atomics.store(this.#words, index * WORD.COUNT + WORD.THREAD, 0);
  }

  /** The note comes first: a thread that does not see the signal sees the note. */
  kick(index: number): void {
    Atomics.store(this.#words, index * WORD.COUNT + WORD.PENDING, 1);
    const thread = Atomics.load(this.#words, index * WORD.COUNT + WORD.THREAD);
    if (thread === 0) return;
    try {
      tgkill(thread, KICK_SIGNAL);
    } catch (error) {
      // The thread has ended meanwhile.
      if (!(error instanceof SyscallError) || error.errno !== Errno.ESRCH) throw error;
    }
  }

  /** Whether the vCPU has been kicked since the last call. */
  take(index: number): boolean {
    return Atomics.exchange(this.#words, index * WORD.COUNT + WORD.PENDING, 0) !== 0;
  }
}
