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
