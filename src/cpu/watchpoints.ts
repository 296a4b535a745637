/** Data that a debugger watches, by virtual addresses. Pages with some of it stay out of the data TLB, so that each access comes by. */
import type { SystemState } from './system-state.ts';

/** In the place of an exception's vector: an access has been put off because a debugger watches what it reaches. */
export const DEBUGGER_VECTOR = 0x100;

/** What an access does: a sum. */
export const WATCH = { READ: 1, WRITE: 2 } as const;

export interface Watchpoint {
  /** Halves of the address. The bytes do not go beyond the addresses that have the same upper half. */
  readonly low: number;
  readonly high: number;
  readonly sizeBytes: number;
  /** Of WATCH: which accesses count. */
  readonly accesses: number;
}

const TWO_32 = 2 ** 32;

export class Watchpoints {
  readonly #list: readonly Watchpoint[];
  readonly #system: SystemState;
  /**
   * Whether an access that counts is put off, by a fault with DEBUGGER_VECTOR: its instruction can be run again, and then it is only noted. So
   * the debugger hears of it after the instruction, as of a debug register's (SDM vol. 3 §17.2.4).
   */
  putsOff = false;
  /** What was met last. */
  hit: Watchpoint | undefined;

  constructor(list: readonly Watchpoint[], system: SystemState) {
    this.#list = list;
    this.#system = system;
  }

  /** Whether a watched byte lies in the page of this address. */
  hasPage(low: number, high: number): boolean {
    const page = (low & ~0xfff) >>> 0;
    return this.#list.some((each) => overlaps(each, page, high, 4096));
  }

  /** Notes an access. True: it is put off. */
  meets(low: number, high: number, sizeBytes: number, accesses: number): boolean {
    const start = low >>> 0;
    const left = TWO_32 - start;
    const found = this.#list.find(
      (each) =>
        (each.accesses & accesses) !== 0 &&
        (overlaps(each, start, high, sizeBytes) ||
          (sizeBytes > left && overlaps(each, 0, (high + 1) | 0, sizeBytes - left))),
    );
    if (found === undefined) return false;
    this.hit = found;
    if (!this.putsOff) return false;
    this.#system.vector = DEBUGGER_VECTOR;
    this.#system.errorCode = -1;
    return true;
  }
}

function overlaps(watched: Watchpoint, start: number, high: number, sizeBytes: number): boolean {
  const from = watched.low >>> 0;
  return watched.high === high && start < from + watched.sizeBytes && start + sizeBytes > from;
}
