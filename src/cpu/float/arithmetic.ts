/**
 * Exact arithmetic on unpacked values: results carry 96 bits with a sticky last bit, ready for `roundResult`. Operands are
 * numbers or infinities; the caller has dealt with NaNs and unsupported encodings, whose rules differ between SSE and x87.
 * Each function returns its pre-computation exceptions: INVALID (with the default NaN as the result) or ZERO_DIVIDE.
 */
import { shiftRightSticky } from './round.ts';
import { copyQuiet, EXCEPTION, KIND, ROUNDING, setDefaultNan, setInfinity, setZero, Unpacked } from './unpacked.ts';

const aligned = new Unpacked();
const product = new Int32Array(4);

/** Normalises the 96 bits of a non-zero result. */
function normalize96(value: Unpacked): void {
  let { high, low, rest } = value;
  let shift = 0;
  while (high === 0) {
    high = low;
    low = rest;
    rest = 0;
    shift += 32;
  }
  const zeros = Math.clz32(high);
  if (zeros !== 0) {
    high = (high << zeros) | (low >>> (32 - zeros));
    low = (low << zeros) | (rest >>> (32 - zeros));
    rest <<= zeros;
  }
  value.high = high | 0;
  value.low = low | 0;
  value.rest = rest | 0;
  value.exponent -= shift + zeros;
}

function addMagnitudes(larger: Unpacked, smaller: Unpacked, result: Unpacked): void {
  const rest = (larger.rest + smaller.rest) | 0;
  const carryRest = rest >>> 0 < larger.rest >>> 0 ? 1 : 0;
  const low = (larger.low >>> 0) + (smaller.low >>> 0) + carryRest;
  const carryLow = low > 0xffffffff ? 1 : 0;
  const high = (larger.high >>> 0) + (smaller.high >>> 0) + carryLow;
  result.exponent = larger.exponent;
  result.high = high | 0;
  result.low = low | 0;
  result.rest = rest;
  if (high > 0xffffffff) {
    shiftRightSticky(result, 1);
    result.high |= 0x80000000;
    result.exponent++;
  }
}

/** larger − smaller, of magnitudes on one exponent; the result may be zero. */
function subtractMagnitudes(larger: Unpacked, smaller: Unpacked, result: Unpacked): void {
  const rest = (larger.rest - smaller.rest) | 0;
  const borrowRest = larger.rest >>> 0 < smaller.rest >>> 0 ? 1 : 0;
  const low = (larger.low >>> 0) - (smaller.low >>> 0) - borrowRest;
  const borrowLow = low < 0 ? 1 : 0;
  result.exponent = larger.exponent;
  result.high = (larger.high - smaller.high - borrowLow) | 0;
  result.low = low | 0;
  result.rest = rest;
}

/** Compares the magnitudes of two finite non-zero normalised values: negative, zero or positive. */
export function compareMagnitudes(a: Unpacked, b: Unpacked): number {
  if (a.exponent !== b.exponent) return a.exponent - b.exponent;
  if (a.high !== b.high) return a.high >>> 0 < b.high >>> 0 ? -1 : 1;
  if (a.low !== b.low) return a.low >>> 0 < b.low >>> 0 ? -1 : 1;
  return 0;
}

/** result = a + b, where b counts with the sign `signB` (so that a − b is the same function). */
export function add(a: Unpacked, b: Unpacked, signB: number, rounding: number, result: Unpacked): number {
  if (a.kind === KIND.INFINITY) {
    if (b.kind === KIND.INFINITY && a.sign !== signB) {
      setDefaultNan(result);
      return EXCEPTION.INVALID;
    }
    setInfinity(result, a.sign);
    return 0;
  }
  if (b.kind === KIND.INFINITY) {
    setInfinity(result, signB);
    return 0;
  }
  const zeroSign = rounding === ROUNDING.DOWN ? 1 : 0;
  if (b.kind === KIND.ZERO) {
    if (a.kind === KIND.ZERO) setZero(result, a.sign === signB ? signB : zeroSign);
    else copyQuiet(result, a);
    return 0;
  }
  if (a.kind === KIND.ZERO) {
    copyQuiet(result, b);
    result.sign = signB;
    return 0;
  }
  const order = compareMagnitudes(a, b);
  const larger = order >= 0 ? a : b;
  const smaller = order >= 0 ? b : a;
  const sign = order >= 0 ? a.sign : signB;
  const distance = larger.exponent - smaller.exponent;
  aligned.high = smaller.high;
  aligned.low = smaller.low;
  aligned.rest = smaller.rest;
  if (distance !== 0) shiftRightSticky(aligned, distance);
  result.kind = KIND.FINITE;
  if (a.sign === signB) {
    addMagnitudes(larger, aligned, result);
  } else if (order === 0) {
    setZero(result, zeroSign);
    return 0;
  } else {
    subtractMagnitudes(larger, aligned, result);
    normalize96(result);
  }
  result.sign = sign;
  return 0;
}

/** 32 × 32 → 64 bits into product[index], product[index + 1] (low word first). */
export function multiplyWords(a: number, b: number, target: Int32Array, index: number): void {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const lowLow = Math.imul(aLow, bLow) >>> 0;
  const middle = Math.imul(aHigh, bLow) + (lowLow >>> 16);
  const middleUnsigned = middle < 0 ? middle + 0x100000000 : middle;
  const cross = (Math.imul(aLow, bHigh) >>> 0) + (middleUnsigned & 0xffff);
  const top = (Math.imul(aHigh, bHigh) >>> 0) + Math.floor(middleUnsigned / 0x10000) + Math.floor(cross / 0x10000);
  target[index] = (cross << 16) | (lowLow & 0xffff);
  target[index + 1] = top | 0;
}

/** The 128-bit product of two 64-bit significands in words[0..3], lowest first. */
export function multiply64(aHigh: number, aLow: number, bHigh: number, bLow: number, words: Int32Array): void {
  multiplyWords(aLow, bLow, words, 0);
  multiplyWords(aHigh, bHigh, words, 2);
  accumulateCross(aHigh, bLow, words);
  accumulateCross(aLow, bHigh, words);
}

const crossProduct = new Int32Array(2);

function accumulateCross(a: number, b: number, words: Int32Array): void {
  multiplyWords(a, b, crossProduct, 0);
  const sum1 = (words[1]! >>> 0) + (crossProduct[0]! >>> 0);
  const sum2 = (words[2]! >>> 0) + (crossProduct[1]! >>> 0) + (sum1 > 0xffffffff ? 1 : 0);
  words[1] = sum1 | 0;
  words[2] = sum2 | 0;
  if (sum2 > 0xffffffff) words[3] = (words[3]! + 1) | 0;
}

export function multiply(a: Unpacked, b: Unpacked, result: Unpacked): number {
  const sign = a.sign ^ b.sign;
  if (a.kind !== KIND.FINITE || b.kind !== KIND.FINITE) {
    if (a.kind === KIND.INFINITY || b.kind === KIND.INFINITY) {
      if (a.kind === KIND.ZERO || b.kind === KIND.ZERO) {
        setDefaultNan(result);
        return EXCEPTION.INVALID;
      }
      setInfinity(result, sign);
    } else {
      setZero(result, sign);
    }
    return 0;
  }
  multiply64(a.high, a.low, b.high, b.low, product);
  let high = product[3]!;
  let low = product[2]!;
  let rest = product[1]!;
  let bottom = product[0]!;
  let exponent = a.exponent + b.exponent + 1;
  if (high >= 0) {
    high = (high << 1) | (low >>> 31);
    low = (low << 1) | (rest >>> 31);
    rest = (rest << 1) | (bottom >>> 31);
    bottom <<= 1;
    exponent--;
  }
  result.kind = KIND.FINITE;
  result.sign = sign;
  result.exponent = exponent;
  result.high = high;
  result.low = low;
  result.rest = rest | (bottom !== 0 ? 1 : 0);
  return 0;
}

/** The quotient and remainder limbs of a long division under way. */
const division = { remainderHigh: 0, remainderLow: 0 };

/**
 * One 32-bit digit of a quotient by restoring division: takes the remainder (less than the divisor, whose bit 31 of
 * `divisorHigh` is set) through 32 steps.
 */
function quotientDigit(divisorHigh: number, divisorLow: number): number {
  let high = division.remainderHigh >>> 0;
  let low = division.remainderLow >>> 0;
  const dHigh = divisorHigh >>> 0;
  const dLow = divisorLow >>> 0;
  let digit = 0;
  for (let step = 0; step < 32; step++) {
    const carry = high >>> 31;
    high = ((high << 1) | (low >>> 31)) >>> 0;
    low = (low << 1) >>> 0;
    digit <<= 1;
    if (carry !== 0 || high > dHigh || (high === dHigh && low >= dLow)) {
      const borrow = low < dLow ? 1 : 0;
      low = (low - dLow) >>> 0;
      high = (high - dHigh - borrow) >>> 0;
      digit |= 1;
    }
  }
  division.remainderHigh = high | 0;
  division.remainderLow = low | 0;
  return digit;
}

export function divide(a: Unpacked, b: Unpacked, result: Unpacked): number {
  const sign = a.sign ^ b.sign;
  if (a.kind !== KIND.FINITE || b.kind !== KIND.FINITE) return divideSpecial(a, b, sign, result);
  let exponent = a.exponent - b.exponent;
  const aHigh = a.high >>> 0;
  const bHigh = b.high >>> 0;
  const below = aHigh < bHigh || (aHigh === bHigh && a.low >>> 0 < b.low >>> 0);
  let integerBit = 0;
  if (below) {
    division.remainderHigh = a.high;
    division.remainderLow = a.low;
    exponent--;
  } else {
    integerBit = 1;
    const borrow = a.low >>> 0 < b.low >>> 0 ? 1 : 0;
    division.remainderHigh = (a.high - b.high - borrow) | 0;
    division.remainderLow = (a.low - b.low) | 0;
  }
  let high = quotientDigit(b.high, b.low);
  let low = quotientDigit(b.high, b.low);
  let rest = quotientDigit(b.high, b.low);
  const remains = (division.remainderHigh | division.remainderLow) !== 0 ? 1 : 0;
  if (integerBit !== 0) {
    rest = (rest >>> 1) | (low << 31) | (rest & 1);
    low = (low >>> 1) | (high << 31);
    high = (high >>> 1) | 0x80000000;
  }
  result.kind = KIND.FINITE;
  result.sign = sign;
  result.exponent = exponent;
  result.high = high;
  result.low = low;
  result.rest = rest | remains;
  return 0;
}

function divideSpecial(a: Unpacked, b: Unpacked, sign: number, result: Unpacked): number {
  if (a.kind === KIND.INFINITY) {
    if (b.kind === KIND.INFINITY) {
      setDefaultNan(result);
      return EXCEPTION.INVALID;
    }
    setInfinity(result, sign);
    return 0;
  }
  if (b.kind === KIND.ZERO) {
    if (a.kind === KIND.ZERO) {
      setDefaultNan(result);
      return EXCEPTION.INVALID;
    }
    setInfinity(result, sign);
    return EXCEPTION.ZERO_DIVIDE;
  }
  setZero(result, sign);
  return 0;
}

/** Square root by digit recurrence: 66 bits of the root, the remainder as sticky. */
export function squareRoot(a: Unpacked, result: Unpacked): number {
  if (a.kind === KIND.ZERO) {
    setZero(result, a.sign);
    return 0;
  }
  if (a.sign !== 0) {
    setDefaultNan(result);
    return EXCEPTION.INVALID;
  }
  if (a.kind === KIND.INFINITY) {
    setInfinity(result, 0);
    return 0;
  }
  const odd = a.exponent & 1;
  rootDigits(a.high, a.low, odd, result);
  result.kind = KIND.FINITE;
  result.sign = 0;
  result.exponent = (a.exponent - odd) / 2;
  return 0;
}

/**
 * The root of the significand (times 2 when `odd`). Two radicand bits are taken per step; the root so far is (r2:r1:r0) and
 * the remainder (m2:m1:m0), at most 67 and 68 bits.
 */
function rootDigits(high: number, low: number, odd: number, result: Unpacked): void {
  // The radicand as a fixed-point number in [1, 4): two integer bits, the rest fraction.
  let radicandHigh = odd !== 0 ? high : high >>> 1;
  let radicandLow = odd !== 0 ? low : (low >>> 1) | (high << 31);
  let radicandTail = odd !== 0 ? 0 : low << 31;
  let rootHigh = 0;
  let rootMiddle = 0;
  let rootLow = 0;
  let restHigh = 0;
  let restMiddle = 0;
  let restLow = 0;
  for (let step = 0; step < 66; step++) {
    restHigh = ((restHigh << 2) | (restMiddle >>> 30)) >>> 0;
    restMiddle = ((restMiddle << 2) | (restLow >>> 30)) >>> 0;
    restLow = ((restLow << 2) | (radicandHigh >>> 30)) >>> 0;
    radicandHigh = (radicandHigh << 2) | (radicandLow >>> 30);
    radicandLow = (radicandLow << 2) | (radicandTail >>> 30);
    radicandTail <<= 2;
    // The trial subtrahend is 4 · root + 1.
    const trialHigh = ((rootHigh << 2) | (rootMiddle >>> 30)) >>> 0;
    const trialMiddle = ((rootMiddle << 2) | (rootLow >>> 30)) >>> 0;
    const trialLow = ((rootLow << 2) | 1) >>> 0;
    rootHigh = (rootHigh << 1) | (rootMiddle >>> 31);
    rootMiddle = (rootMiddle << 1) | (rootLow >>> 31);
    rootLow <<= 1;
    const fits =
      restHigh !== trialHigh
        ? restHigh > trialHigh
        : restMiddle !== trialMiddle
          ? restMiddle > trialMiddle
          : restLow >= trialLow;
    if (fits) {
      const borrowLow = restLow < trialLow ? 1 : 0;
      const middle = restMiddle - trialMiddle - borrowLow;
      restLow = (restLow - trialLow) >>> 0;
      restMiddle = middle >>> 0;
      restHigh = (restHigh - trialHigh - (middle < 0 ? 1 : 0)) >>> 0;
      rootLow |= 1;
    }
  }
  const remains = (restHigh | restMiddle | restLow) !== 0 ? 1 : 0;
  // 66 root bits: 64 for the significand, 2 below it.
  result.high = (rootHigh << 30) | (rootMiddle >>> 2);
  result.low = (rootMiddle << 30) | (rootLow >>> 2);
  result.rest = (rootLow << 30) | remains;
}
