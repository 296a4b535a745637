/**
 * One lane of SSE arithmetic: a path over the host's own IEEE arithmetic for ordinary operands, and a path over unpacked
 * values for all else. Both write the result to `lanes` and return the exception flags.
 *
 * Why the first path is exact. It is taken only with rounding to nearest and the precision exception masked. A JavaScript
 * number operation is the IEEE binary64 operation rounded to nearest, ties to even. For binary32 the operation is done in
 * binary64 and rounded again by Math.fround: 53 ≥ 2·24 + 2, so that double rounding is innocuous for + − × ÷ √ (Figueroa
 * 1995) while the result is normal. Operands are normal numbers or zeros (no D, I flag; NaN and infinity are refused), a
 * zero divisor gives no finite result (no Z), the result is finite (no O) and larger than the smallest normal number or an
 * exact zero (no U, and FTZ, DAZ have no effect): only P is left. It is known where the sticky flag is already set, for
 * raising it again changes nothing; else it follows from an error-free transformation: TwoSum for + and −, Dekker's
 * product for ×, and for q = a ÷ b and s = √a the exact products q·b and s·s, which equal a only when q or s is exact. The
 * transformations hold in the ranges that are checked; outside them the second path decides.
 */
import { add, divide, multiply, squareRoot } from './arithmetic.ts';
import { compare, ORDER } from './compare.ts';
import { BINARY32, BINARY64, type FloatFormat, ROUND_MODE, roundResult } from './round.ts';
import { commit, lanes, MXCSR, type SseView } from './sse-view.ts';
import {
  copyQuiet,
  EXCEPTION,
  KIND,
  packFloat32,
  packFloat64,
  Unpacked,
  unpackFloat32,
  unpackFloat64,
} from './unpacked.ts';

/** Operations of a lane. */
export const LANE = { ADD: 0, SUBTRACT: 1, MULTIPLY: 2, DIVIDE: 3, SQUARE_ROOT: 4, MINIMUM: 5, MAXIMUM: 6 } as const;

const MIN_NORMAL_64 = 2 ** -1022;
const MIN_NORMAL_32 = 2 ** -126;
const MAX_FINITE_64 = Number.MAX_VALUE;
/** Bounds within which neither TwoSum nor Dekker's product can overflow or lose bits to underflow. */
const EXACT_MAX = 2 ** 960;
const EXACT_MIN = 2 ** -450;
const SPLITTER = 2 ** 27 + 1;
/** RC = nearest with P masked: the first path's condition on MXCSR. */
const FAST_CONTROL = MXCSR.ROUNDING | MXCSR.PRECISION_MASK;

const operandA = new Unpacked();
const operandB = new Unpacked();
const result = new Unpacked();

/** x·y − p exactly, for p = x·y rounded (Dekker 1971; Veltkamp's splitting). */
function productError(x: number, y: number, p: number): number {
  const xScaled = SPLITTER * x;
  const xHigh = xScaled - (xScaled - x);
  const xLow = x - xHigh;
  const yScaled = SPLITTER * y;
  const yHigh = yScaled - (yScaled - y);
  const yLow = y - yHigh;
  return xLow * yLow - (p - xHigh * yHigh - xLow * yHigh - xHigh * yLow);
}

function sumError(x: number, y: number, sum: number): number {
  const yVirtual = sum - x;
  return x - (sum - yVirtual) + (y - yVirtual);
}

/** Whether x op y = r exactly: 0, else PRECISION; −1 where the transformations do not hold. */
function exactness64(op: number, x: number, y: number, r: number): number {
  const xSize = Math.abs(x);
  const ySize = Math.abs(y);
  if (xSize > EXACT_MAX || ySize > EXACT_MAX || Math.abs(r) > EXACT_MAX) return -1;
  if (op <= LANE.SUBTRACT) {
    return sumError(x, op === LANE.ADD ? y : -y, r) === 0 ? 0 : EXCEPTION.PRECISION;
  }
  if (xSize < EXACT_MIN || ySize < EXACT_MIN) return xSize === 0 || (ySize === 0 && op === LANE.MULTIPLY) ? 0 : -1;
  if (op === LANE.MULTIPLY) return productError(x, y, r) === 0 ? 0 : EXCEPTION.PRECISION;
  if (Math.abs(r) < EXACT_MIN) return -1;
  const factor = op === LANE.DIVIDE ? y : r;
  const p = r * factor;
  return p === x && productError(r, factor, p) === 0 ? 0 : EXCEPTION.PRECISION;
}

/**
 * One binary64 lane over the host's arithmetic, its result to target.doubles[lane]; −1 when it does not apply. Indices are of
 * doubles.
 */
function fastLane64(
  op: number,
  view: SseView,
  a: number,
  b: number,
  mxcsr: number,
  target: SseView,
  lane: number,
): number {
  const y = view.doubles[b]!;
  const x = op === LANE.SQUARE_ROOT ? y : view.doubles[a]!;
  const xSize = Math.abs(x);
  const ySize = Math.abs(y);
  // Also refuses NaN; an infinite operand shows in the result, but for a finite number divided by it.
  if (!(xSize >= MIN_NORMAL_64 || xSize === 0) || !(ySize >= MIN_NORMAL_64 || ySize === 0)) return -1;
  let r: number;
  switch (op) {
    case LANE.ADD:
      r = x + y;
      break;
    case LANE.SUBTRACT:
      r = x - y;
      break;
    case LANE.MULTIPLY:
      r = x * y;
      break;
    case LANE.DIVIDE:
      r = x / y;
      break;
    default:
      r = Math.sqrt(x);
      break;
  }
  const size = Math.abs(r);
  if (!(size <= MAX_FINITE_64)) return -1;
  if (!(size > MIN_NORMAL_64)) {
    if (r !== 0) return -1;
    if (op >= LANE.MULTIPLY && xSize !== 0 && (ySize !== 0 || op === LANE.DIVIDE)) return -1;
  }
  const flags = (mxcsr & MXCSR.PRECISION_FLAG) !== 0 ? 0 : exactness64(op, x, y, r);
  if (flags >= 0) target.doubles[lane] = r;
  return flags;
}

/** Whether x op y = r exactly for binary32 operands, r64 being the binary64 result and r the binary32 one. */
function exactness32(op: number, x: number, y: number, r64: number, r: number): number {
  let exact: boolean;
  switch (op) {
    case LANE.ADD:
      exact = r === r64 && sumError(x, y, r64) === 0;
      break;
    case LANE.SUBTRACT:
      exact = r === r64 && sumError(x, -y, r64) === 0;
      break;
    case LANE.MULTIPLY:
      exact = r === r64;
      break;
    case LANE.DIVIDE:
      exact = x === 0 || r * y === x;
      break;
    default:
      exact = r * r === x;
      break;
  }
  return exact ? 0 : EXCEPTION.PRECISION;
}

/** As `fastLane64` for binary32; indices are of singles. */
function fastLane32(
  op: number,
  view: SseView,
  a: number,
  b: number,
  mxcsr: number,
  target: SseView,
  lane: number,
): number {
  const y = view.singles[b]!;
  const x = op === LANE.SQUARE_ROOT ? y : view.singles[a]!;
  const xSize = Math.abs(x);
  const ySize = Math.abs(y);
  if (!(xSize >= MIN_NORMAL_32 || xSize === 0) || !(ySize >= MIN_NORMAL_32 || ySize === 0)) return -1;
  let r64: number;
  switch (op) {
    case LANE.ADD:
      r64 = x + y;
      break;
    case LANE.SUBTRACT:
      r64 = x - y;
      break;
    case LANE.MULTIPLY:
      r64 = x * y;
      break;
    case LANE.DIVIDE:
      r64 = x / y;
      break;
    default:
      r64 = Math.sqrt(x);
      break;
  }
  const r = Math.fround(r64);
  const size = Math.abs(r);
  if (!(size <= MAX_FINITE_64)) return -1;
  if (!(size > MIN_NORMAL_32)) {
    if (r !== 0) return -1;
    if (op >= LANE.MULTIPLY && xSize !== 0 && (ySize !== 0 || op === LANE.DIVIDE)) return -1;
  }
  target.singles[lane] = r;
  return (mxcsr & MXCSR.PRECISION_FLAG) !== 0 ? 0 : exactness32(op, x, y, r64, r);
}

/** The rounding mode bits of `roundResult` that MXCSR asks for. */
export function roundMode(mxcsr: number): number {
  const overflow = (mxcsr & MXCSR.OVERFLOW_MASK) === 0 ? ROUND_MODE.OVERFLOW_UNMASKED : 0;
  if ((mxcsr & MXCSR.UNDERFLOW_MASK) === 0) return overflow | ROUND_MODE.UNDERFLOW_UNMASKED;
  return overflow | ((mxcsr & MXCSR.FLUSH_TO_ZERO) !== 0 ? ROUND_MODE.FLUSH_TO_ZERO : 0);
}

export function roundSse(value: Unpacked, format: FloatFormat, mxcsr: number): number {
  return roundResult(value, format, (mxcsr >>> MXCSR.ROUNDING_SHIFT) & 3, roundMode(mxcsr));
}

const TAKE_FIRST = 0x40;

/**
 * MINxx and MAXxx: the second operand unless the first is strictly smaller or larger; any NaN is invalid. Returns the flags,
 * with TAKE_FIRST.
 */
function minimumMaximum(op: number): number {
  const order = compare(operandA, operandB);
  if (order === ORDER.UNORDERED) return EXCEPTION.INVALID;
  const takeFirst = order === (op === LANE.MINIMUM ? ORDER.LESS : ORDER.GREATER) ? TAKE_FIRST : 0;
  return takeFirst | ((operandA.denormal | operandB.denormal) !== 0 ? EXCEPTION.DENORMAL : 0);
}

/** op on operandA and operandB (a square root of operandB), rounded into `result`. */
function compute(op: number, format: FloatFormat, mxcsr: number): number {
  const first = op === LANE.SQUARE_ROOT ? operandB : operandA;
  if (first.kind >= KIND.QNAN || operandB.kind >= KIND.QNAN) {
    // SDM vol. 1 table 4-7: the first operand if it is a NaN, else the second.
    copyQuiet(result, first.kind >= KIND.QNAN ? first : operandB);
    return first.kind === KIND.SNAN || operandB.kind === KIND.SNAN ? EXCEPTION.INVALID : 0;
  }
  const rounding = (mxcsr >>> MXCSR.ROUNDING_SHIFT) & 3;
  let flags: number;
  switch (op) {
    case LANE.ADD:
      flags = add(operandA, operandB, operandB.sign, rounding, result);
      break;
    case LANE.SUBTRACT:
      flags = add(operandA, operandB, operandB.sign ^ 1, rounding, result);
      break;
    case LANE.MULTIPLY:
      flags = multiply(operandA, operandB, result);
      break;
    case LANE.DIVIDE:
      flags = divide(operandA, operandB, result);
      break;
    default:
      flags = squareRoot(operandB, result);
      break;
  }
  if (flags !== 0) return flags;
  if ((first.denormal | operandB.denormal) !== 0) flags = EXCEPTION.DENORMAL;
  return flags | roundResult(result, format, rounding, roundMode(mxcsr));
}

/** One binary64 lane over unpacked values. Indices are of words. */
export function softLane64(op: number, view: SseView, a: number, b: number, mxcsr: number, lane: number): number {
  const { words } = view;
  const daz = (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0;
  unpackFloat64(words[a]!, words[a + 1]!, operandA, daz);
  unpackFloat64(words[b]!, words[b + 1]!, operandB, daz);
  if (op >= LANE.MINIMUM) {
    const flags = minimumMaximum(op);
    const takeFirst = (flags & TAKE_FIRST) !== 0;
    const chosen = takeFirst ? operandA : operandB;
    const index = takeFirst ? a : b;
    const flushed = chosen.kind === KIND.ZERO;
    lanes.words[lane * 2] = flushed ? 0 : words[index]!;
    lanes.words[lane * 2 + 1] = flushed ? chosen.sign << 31 : words[index + 1]!;
    return flags & ~TAKE_FIRST;
  }
  const flags = compute(op, BINARY64, mxcsr);
  packFloat64(result, lanes.words, lane * 2);
  return flags;
}

/** One binary32 lane over unpacked values. Indices are of words. */
export function softLane32(op: number, view: SseView, a: number, b: number, mxcsr: number, lane: number): number {
  const { words } = view;
  const daz = (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0;
  unpackFloat32(words[a]!, operandA, daz);
  unpackFloat32(words[b]!, operandB, daz);
  if (op >= LANE.MINIMUM) {
    const flags = minimumMaximum(op);
    const takeFirst = (flags & TAKE_FIRST) !== 0;
    const chosen = takeFirst ? operandA : operandB;
    lanes.words[lane] = chosen.kind === KIND.ZERO ? chosen.sign << 31 : words[takeFirst ? a : b]!;
    return flags & ~TAKE_FIRST;
  }
  const flags = compute(op, BINARY32, mxcsr);
  lanes.words[lane] = packFloat32(result);
  return flags;
}

/** One binary64 lane by whichever path applies. Indices are of words. */
export function lane64(op: number, view: SseView, a: number, b: number, mxcsr: number, lane: number): number {
  if ((mxcsr & FAST_CONTROL) === MXCSR.PRECISION_MASK && op < LANE.MINIMUM) {
    const flags = fastLane64(op, view, a >>> 1, b >>> 1, mxcsr, lanes, lane);
    if (flags >= 0) return flags;
  }
  return softLane64(op, view, a, b, mxcsr, lane);
}

/** One binary32 lane by whichever path applies. Indices are of words. */
export function lane32(op: number, view: SseView, a: number, b: number, mxcsr: number, lane: number): number {
  if ((mxcsr & FAST_CONTROL) === MXCSR.PRECISION_MASK && op < LANE.MINIMUM) {
    const flags = fastLane32(op, view, a, b, mxcsr, lanes, lane);
    if (flags >= 0) return flags;
  }
  return softLane32(op, view, a, b, mxcsr, lane);
}

/**
 * A scalar binary64 operation to the register at word `dst`. The first path writes it at once: it raises P at most, which is
 * masked.
 */
export function scalar64(op: number, view: SseView, dst: number, src: number, mxcsr: number): number {
  if ((mxcsr & FAST_CONTROL) === MXCSR.PRECISION_MASK && op < LANE.MINIMUM) {
    const flags = fastLane64(op, view, dst >>> 1, src >>> 1, mxcsr, view, dst >>> 1);
    if (flags >= 0) return flags;
  }
  return commit(view, dst, 2, softLane64(op, view, dst, src, mxcsr, 0), mxcsr);
}

/** As `scalar64` for binary32. */
export function scalar32(op: number, view: SseView, dst: number, src: number, mxcsr: number): number {
  if ((mxcsr & FAST_CONTROL) === MXCSR.PRECISION_MASK && op < LANE.MINIMUM) {
    const flags = fastLane32(op, view, dst, src, mxcsr, view, dst);
    if (flags >= 0) return flags;
  }
  return commit(view, dst, 1, softLane32(op, view, dst, src, mxcsr, 0), mxcsr);
}
