/** The time source that is given to everything that measures or waits, so that tests can drive time by hand. */
export interface Clock {
  /** Monotonic time in nanoseconds since an arbitrary origin; a double is exact for 104 days. */
  nowNs(): number;
  /** Time of day in milliseconds since the Unix epoch. */
  wallMs(): number;
}

/** The host's own clocks. `performance.now()` is CLOCK_MONOTONIC with sub-microsecond resolution. */
export const hostClock: Clock = {
  nowNs: () => Math.round(performance.now() * 1e6),
  wallMs: () => Date.now(),
};

/** Now, as an origin for `clockSince`: CLOCK_MONOTONIC in nanoseconds. */
export function monotonicNs(): bigint {
  return process.hrtime.bigint();
}

/**
 * A clock that counts from `originNs`, the same to the nanosecond in every thread of this process. `performance.now()` would
 * cost a little less, but counts from the start of the thread that asks, and no thread can tell exactly when that was:
 * measured, guesses are microseconds apart, milliseconds in a thread that had not used it before.
 */
export function clockSince(originNs: bigint): Clock {
  return { nowNs: () => Number(monotonicNs() - originNs), wallMs: () => Date.now() };
}

/** Words of a PausableClock: doubles, in shared memory. */
const PAUSE = { LOST_NS: 0, STOPPED_AT_NS: 1 } as const;
const PAUSE_WORDS = 2;
const RUNS = Number.NaN;

/**
 * A clock as `clockSince` that can stand still: a machine's time. Every thread has its own over the same words. It is stopped and
 * set going by one thread while no other reads it. The time of day goes on.
 */
export class PausableClock implements Clock {
  readonly words: Float64Array;
  readonly #base: Clock;

  /** Over the words of another thread's clock, or new ones, of a clock that runs. */
  constructor(base: Clock, words?: Float64Array) {
    this.#base = base;
    this.words = words ?? new Float64Array(new SharedArrayBuffer(PAUSE_WORDS * Float64Array.BYTES_PER_ELEMENT));
    if (words === undefined) this.words[PAUSE.STOPPED_AT_NS] = RUNS;
  }

  nowNs(): number {
    const stoppedAtNs = this.words[PAUSE.STOPPED_AT_NS] as number;
    const baseNs = Number.isNaN(stoppedAtNs) ? this.#base.nowNs() : stoppedAtNs;
    return baseNs - (this.words[PAUSE.LOST_NS] as number);
  }

  wallMs(): number {
    return this.#base.wallMs();
  }

  /** `nowNs` stays as it is from here on. */
  stop(): void {
    if (Number.isNaN(this.words[PAUSE.STOPPED_AT_NS])) this.words[PAUSE.STOPPED_AT_NS] = this.#base.nowNs();
  }

  /** `nowNs` goes on from where it is. */
  go(): void {
    const stoppedAtNs = this.words[PAUSE.STOPPED_AT_NS] as number;
    if (Number.isNaN(stoppedAtNs)) return;
    this.words[PAUSE.LOST_NS] = (this.words[PAUSE.LOST_NS] as number) + (this.#base.nowNs() - stoppedAtNs);
    this.words[PAUSE.STOPPED_AT_NS] = RUNS;
  }
}
