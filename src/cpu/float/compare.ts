/** Ordering of unpacked values. */
import { compareMagnitudes } from './arithmetic.ts';
import { KIND, type Unpacked } from './unpacked.ts';

/** Results of `compare`. */
export const ORDER = { LESS: 0, EQUAL: 1, GREATER: 2, UNORDERED: 3 } as const;

/** The order of a to b; a NaN or unsupported encoding is UNORDERED, zeros of either sign are EQUAL. */
export function compare(a: Unpacked, b: Unpacked): number {
  if (a.kind >= KIND.QNAN || b.kind >= KIND.QNAN) return ORDER.UNORDERED;
  if (a.kind === KIND.ZERO) {
    if (b.kind === KIND.ZERO) return ORDER.EQUAL;
    return b.sign !== 0 ? ORDER.GREATER : ORDER.LESS;
  }
  if (b.kind === KIND.ZERO || a.sign !== b.sign) return a.sign !== 0 ? ORDER.LESS : ORDER.GREATER;
  let magnitude: number;
  if (a.kind === KIND.INFINITY || b.kind === KIND.INFINITY) {
    magnitude = (a.kind === KIND.INFINITY ? 1 : 0) - (b.kind === KIND.INFINITY ? 1 : 0);
  } else {
    magnitude = compareMagnitudes(a, b);
  }
  if (magnitude === 0) return ORDER.EQUAL;
  return magnitude > 0 === (a.sign === 0) ? ORDER.GREATER : ORDER.LESS;
}
