import { type Clock, hostClock } from '#util/clock.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

export interface FuzzLimits {
  /** u32. */
  readonly seed: number;
  /** The run ends after this many cases or seconds, whichever comes first. */
  readonly cases: number;
  readonly seconds: number;
  /** The number of the first case; a failure's own number runs that case first. */
  readonly firstCase?: number;
}

export interface FuzzResult {
  readonly cases: number;
  readonly failure?: { readonly caseNumber: number; readonly error: unknown };
}

/** A case that takes longer is a failure: the inputs are small, so something is not linear in them. */
const CASE_SECONDS_MAX = 5;

/** Runs cases until a limit or a failure. */
export function fuzz(target: FuzzTarget, limits: FuzzLimits, clock: Clock = hostClock): FuzzResult {
  const started = clock.nowNs();
  const firstCase = limits.firstCase ?? 0;
  let cases = 0;
  let now = started;
  while (cases < limits.cases && now - started < limits.seconds * 1e9) {
    const caseNumber = firstCase + cases;
    const caseStarted = now;
    cases++;
    try {
      target.run(new Random(limits.seed, caseNumber), caseNumber);
      now = clock.nowNs();
      const seconds = (now - caseStarted) / 1e9;
      if (seconds > CASE_SECONDS_MAX) throw new Error(`the case took ${seconds.toFixed(1)} s`);
    } catch (error) {
      return { cases, failure: { caseNumber, error } };
    }
  }
  return { cases };
}
