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
 * A clock that counts from `originNs` in every thread of this process: `performance.now()` alone counts from the start of the
 * thread that asks.
 */
export function clockSince(originNs: bigint): Clock {
  const offsetNs = Number(monotonicNs() - originNs) - performance.now() * 1e6;
  return { nowNs: () => Math.round(performance.now() * 1e6 + offsetNs), wallMs: () => Date.now() };
}
