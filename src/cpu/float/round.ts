/**
 * Rounding of unpacked results to a format, with x86's exceptions: Intel SDM vol. 1 §4.8.4 (rounding), §4.9.1.4–6
 * (overflow, underflow, inexact result; tininess is detected after rounding).
 */
import { EXCEPTION, KIND, ROUNDING, setInfinity, setZero, type Unpacked } from './unpacked.ts';

/** A destination format: exponents of the smallest and the largest normal number. */
export interface FloatFormat {
  readonly precisionBits: 24 | 53 | 64;
  readonly minExponent: number;
  readonly maxExponent: number;
}

export const BINARY32: FloatFormat = { precisionBits: 24, minExponent: -126, maxExponent: 127 };
export const BINARY64: FloatFormat = { precisionBits: 53, minExponent: -1022, maxExponent: 1023 };
export const EXTENDED80: FloatFormat = { precisionBits: 64, minExponent: -16382, maxExponent: 16383 };
/** x87 registers under precision control: a short significand, the full exponent range (SDM vol. 1 §8.1.5.2). */
export const EXTENDED80_PC53: FloatFormat = { precisionBits: 53, minExponent: -16382, maxExponent: 16383 };
export const EXTENDED80_PC24: FloatFormat = { precisionBits: 24, minExponent: -16382, maxExponent: 16383 };

/** What `roundResult` does besides the default masked response; may be combined. */
export const ROUND_MODE = {
  /** Underflow is unmasked: a tiny result keeps full precision, and is reported even when exact. */
  UNDERFLOW_UNMASKED: 1,
  /** Overflow is unmasked: the result keeps its exponent. */
  OVERFLOW_UNMASKED: 2,
  /** MXCSR.FTZ: a tiny result becomes zero. */
  FLUSH_TO_ZERO: 4,
} as const;

/** Shifts (high:low:rest) right by 1 or more, keeping what falls out in the sticky bit. */
export function shiftRightSticky(value: Unpacked, count: number): void {
  let { high, low, rest } = value;
  let lost = 0;
  if (count >= 96) {
    value.rest = (high | low | rest) !== 0 ? 1 : 0;
    value.high = 0;
    value.low = 0;
    return;
  }
  while (count >= 32) {
    lost |= rest;
    rest = low;
    low = high;
    high = 0;
    count -= 32;
  }
  if (count !== 0) {
    lost |= rest << (32 - count);
    rest = (rest >>> count) | (low << (32 - count));
    low = (low >>> count) | (high << (32 - count));
    high >>>= count;
  }
  value.high = high | 0;
  value.low = low | 0;
  value.rest = rest | (lost !== 0 ? 1 : 0);
}

/** Whether a magnitude is incremented, given its last kept bit, the first bit below and whether anything lies under that. */
function increments(rounding: number, sign: number, last: number, guard: number, sticky: number): boolean {
  if (rounding === ROUNDING.NEAREST) return guard !== 0 && (sticky !== 0 || last !== 0);
  if (rounding === ROUNDING.TOWARD_ZERO) return false;
  return (guard | sticky) !== 0 && (rounding === ROUNDING.UP) === (sign === 0);
}

/**
 * Rounds the significand in place to 24, 53 or 64 bits, counted from bit 31 of `high`; a carry out raises the exponent.
 * Returns whether the result is inexact; sets `roundedUp`.
 */
export function roundSignificand(value: Unpacked, precisionBits: number, rounding: number): boolean {
  const { high, low, rest } = value;
  let keptHigh = high;
  let keptLow = low;
  let last: number;
  let guard: number;
  let sticky: number;
  let unitHigh = 0;
  let unitLow = 0;
  if (precisionBits === 64) {
    last = low & 1;
    guard = rest >>> 31;
    sticky = rest & 0x7fffffff;
    unitLow = 1;
  } else if (precisionBits === 53) {
    last = low & 0x800;
    guard = low & 0x400;
    sticky = (low & 0x3ff) | rest;
    keptLow &= ~0x7ff;
    unitLow = 0x800;
  } else {
    last = high & 0x100;
    guard = high & 0x80;
    sticky = (high & 0x7f) | low | rest;
    keptHigh &= ~0xff;
    keptLow = 0;
    unitHigh = 0x100;
  }
  value.roundedUp = 0;
  value.rest = 0;
  if (increments(rounding, value.sign, last, guard, sticky)) {
    value.roundedUp = 1;
    const sumLow = (keptLow + unitLow) | 0;
    const carry = unitLow !== 0 && sumLow >>> 0 < keptLow >>> 0 ? 1 : 0;
    const sumHigh = (keptHigh + unitHigh + carry) | 0;
    if (keptHigh < 0 && sumHigh >= 0) {
      // All ones became zero: the next power of two.
      keptHigh = 0x80000000 | 0;
      keptLow = 0;
      value.exponent++;
    } else {
      keptHigh = sumHigh;
      keptLow = sumLow;
    }
  }
  value.high = keptHigh;
  value.low = keptLow;
  return (guard | sticky) !== 0;
}

/** Whether a significand in [1, 2) rounds up to 2 at the given precision. */
function roundsUpToTwo(value: Unpacked, precisionBits: number, rounding: number): boolean {
  const { high, low, rest } = value;
  if (precisionBits === 64) {
    if (high !== -1 || low !== -1) return false;
    return increments(rounding, value.sign, 1, rest >>> 31, rest & 0x7fffffff);
  }
  if (precisionBits === 53) {
    if (high !== -1 || low >>> 11 !== 0x1fffff) return false;
    return increments(rounding, value.sign, 1, low & 0x400, (low & 0x3ff) | rest);
  }
  if (high >>> 8 !== 0xffffff) return false;
  return increments(rounding, value.sign, 1, high & 0x80, (high & 0x7f) | low | rest);
}

/** Result of an overflow with the exception masked (SDM vol. 1 table 4-10). */
function setOverflowed(value: Unpacked, format: FloatFormat, rounding: number): void {
  const toInfinity =
    rounding === ROUNDING.NEAREST ||
    (rounding === ROUNDING.UP && value.sign === 0) ||
    (rounding === ROUNDING.DOWN && value.sign !== 0);
  if (toInfinity) {
    setInfinity(value, value.sign);
    value.roundedUp = 1;
    return;
  }
  value.exponent = format.maxExponent;
  value.high = format.precisionBits === 24 ? -0x100 : -1;
  value.low = format.precisionBits === 64 ? -1 : format.precisionBits === 53 ? -0x800 : 0;
  value.roundedUp = 0;
}

function roundTiny(value: Unpacked, format: FloatFormat, rounding: number, mode: number): number {
  const { precisionBits, minExponent } = format;
  const tiny = value.exponent < minExponent - 1 || !roundsUpToTwo(value, precisionBits, rounding);
  if (tiny) {
    if ((mode & ROUND_MODE.UNDERFLOW_UNMASKED) !== 0) {
      const inexact = roundSignificand(value, precisionBits, rounding);
      return EXCEPTION.UNDERFLOW | (inexact ? EXCEPTION.PRECISION : 0);
    }
    if ((mode & ROUND_MODE.FLUSH_TO_ZERO) !== 0) {
      setZero(value, value.sign);
      return EXCEPTION.UNDERFLOW | EXCEPTION.PRECISION;
    }
  }
  shiftRightSticky(value, minExponent - value.exponent);
  value.exponent = minExponent;
  const inexact = roundSignificand(value, precisionBits, rounding);
  if ((value.high | value.low) === 0) value.kind = KIND.ZERO;
  if (!inexact) return 0;
  return tiny ? EXCEPTION.UNDERFLOW | EXCEPTION.PRECISION : EXCEPTION.PRECISION;
}

/**
 * Rounds a result to a format in place and returns its exception flags (O, U, P). A value that is not FINITE stays as it is.
 * A denormal result has `exponent` at the format's minimum and bit 31 of `high` clear. With an unmasked overflow or
 * underflow the exponent is left outside the format's range, for the caller to scale or to discard.
 */
export function roundResult(value: Unpacked, format: FloatFormat, rounding: number, mode: number): number {
  value.roundedUp = 0;
  if (value.kind !== KIND.FINITE) return 0;
  if (value.exponent < format.minExponent) return roundTiny(value, format, rounding, mode);
  const inexact = roundSignificand(value, format.precisionBits, rounding);
  if (value.exponent <= format.maxExponent) return inexact ? EXCEPTION.PRECISION : 0;
  if ((mode & ROUND_MODE.OVERFLOW_UNMASKED) !== 0) {
    return EXCEPTION.OVERFLOW | (inexact ? EXCEPTION.PRECISION : 0);
  }
  setOverflowed(value, format, rounding);
  return EXCEPTION.OVERFLOW | EXCEPTION.PRECISION;
}

/**
 * Rounds a finite value to an integral value in place (still FINITE or ZERO, sign kept). Returns whether it was inexact;
 * sets `roundedUp`.
 */
export function roundToIntegral(value: Unpacked, rounding: number): boolean {
  value.roundedUp = 0;
  if (value.kind !== KIND.FINITE || value.exponent >= 63) return false;
  const fractionBits = 63 - value.exponent;
  shiftRightSticky(value, fractionBits);
  const inexact = roundSignificand(value, 64, rounding);
  const sign = value.sign;
  const { high, low, roundedUp } = value;
  // An integer below 2^63 cannot carry out of 64 bits.
  if ((high | low) === 0) {
    setZero(value, sign);
  } else {
    let shift = 0;
    let top = high;
    let bottom = low;
    if (top === 0) {
      top = bottom;
      bottom = 0;
      shift = 32;
    }
    const zeros = Math.clz32(top);
    if (zeros !== 0) {
      top = (top << zeros) | (bottom >>> (32 - zeros));
      bottom <<= zeros;
    }
    value.high = top | 0;
    value.low = bottom | 0;
    value.exponent = 63 - shift - zeros;
  }
  value.roundedUp = roundedUp;
  return inexact;
}
