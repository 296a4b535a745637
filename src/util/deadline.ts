/** Something that acts at a time of its own. Its owner's loop sleeps no longer than the deadline and calls `advance` then. */
export interface DeadlineSource {
  /** When `advance` is next needed, in nanoseconds of the clock; Infinity when it is not. */
  nextDeadlineNs(): number;
  /** Does everything that is due at `nowNs`. Calling it early, late or twice is harmless. */
  advance(nowNs: number): void;
}
