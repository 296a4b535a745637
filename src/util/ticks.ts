/**
 * The counts of hardware clocks in a time in nanoseconds. The plain product of a time and a frequency leaves the exact integers
 * of a double within seconds; whole seconds apart from the rest stay in them, up to 2^53 ns (104 days) and 4 MHz.
 */

const NS_PER_SECOND = 1e9;

/** How often a clock of `frequencyHz` has ticked after `ns`. */
export function ticksOfNs(ns: number, frequencyHz: number): number {
  const seconds = Math.floor(ns / NS_PER_SECOND);
  return seconds * frequencyHz + Math.floor(((ns - seconds * NS_PER_SECOND) * frequencyHz) / NS_PER_SECOND);
}

/** The first nanosecond at which a clock of `frequencyHz` has ticked `ticks` times. */
export function nsOfTicks(ticks: number, frequencyHz: number): number {
  const seconds = Math.floor(ticks / frequencyHz);
  return seconds * NS_PER_SECOND + Math.ceil(((ticks - seconds * frequencyHz) * NS_PER_SECOND) / frequencyHz);
}
