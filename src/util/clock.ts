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
