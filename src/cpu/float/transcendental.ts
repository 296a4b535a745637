/**
 * Sine, cosine, tangent, arc tangent, 2^x − 1 and the base-2 logarithms of unpacked numbers, to more than 120 bits: after
 * rounding they are within 0.5001 ulp of the exact values. Power series after argument reduction; their coefficients and
 * constants are computed when the module loads. Callers deal with zeros, infinities, NaNs and domains.
 */

import { compareMagnitudes } from './arithmetic.ts';
import {
  absoluteFixed,
  addFixed,
  createFixed,
  divideSmall,
  type Fixed,
  isZeroFixed,
  multiplyFixed,
  reciprocalFixed,
  setMagnitude,
  setSignificand,
  setSmall,
  subtractFixed,
  toDouble,
  toUnpacked,
} from './fixed.ts';
import { copyQuiet, Unpacked } from './unpacked.ts';

const ONE = createFixed();
setSmall(ONE, 1);

/** Terms such that the first one left out is below 2^-110 of the sum, in each series' range. */
const TERMS = { SINE: 15, EXPONENTIAL: 30, LOGARITHM: 25, ARC_TANGENT: 13 } as const;

function series(terms: number, coefficient: (target: Fixed, n: number) => void): Fixed[] {
  return Array.from({ length: terms }, (_, n) => {
    const value = createFixed();
    coefficient(value, n);
    return value;
  });
}

function inverseFactorial(target: Fixed, n: number): void {
  setSmall(target, 1);
  for (let i = 2; i <= n; i++) divideSmall(target, target, i);
}

/** sin(r)/r and cos(r) in z = r², alternating. */
const SINE_SERIES = series(TERMS.SINE, (target, n) => inverseFactorial(target, 2 * n + 1));
const COSINE_SERIES = series(TERMS.SINE, (target, n) => inverseFactorial(target, 2 * n));
/** (e^w − 1)/w. */
const EXPONENTIAL_SERIES = series(TERMS.EXPONENTIAL, (target, n) => inverseFactorial(target, n + 1));
/** atanh(s)/s in s², and with alternating signs atan(u)/u in u². */
const ODD_RECIPROCALS = series(TERMS.LOGARITHM, (target, n) => divideSmall(target, ONE, 2 * n + 1));

const sum = createFixed();

/** target = Σ c[n]·(∓z)^n over the first `terms` coefficients; `alternating` takes −z. */
function evaluate(target: Fixed, coefficients: readonly Fixed[], terms: number, z: Fixed, alternating: boolean): void {
  sum.set(coefficients[terms - 1]!);
  for (let n = terms - 2; n >= 0; n--) {
    multiplyFixed(sum, sum, z);
    if (alternating) subtractFixed(sum, coefficients[n]!, sum);
    else addFixed(sum, coefficients[n]!, sum);
  }
  target.set(sum);
}

/** atan(numerator / denominator) for a ratio of at most 1/16, by its series. */
function arcTangentOfInverse(target: Fixed, numerator: number, denominator: number): void {
  const u = createFixed();
  const z = createFixed();
  setSmall(u, numerator);
  divideSmall(u, u, denominator);
  multiplyFixed(z, u, u);
  evaluate(target, ODD_RECIPROCALS, 20, z, true);
  multiplyFixed(target, target, u);
}

/** atan(i/16), each from the one before: atan(a) − atan(b) = atan((a − b)/(1 + ab)). */
const ARC_TANGENTS: Fixed[] = [createFixed()];
for (let i = 1; i <= 16; i++) {
  const value = createFixed();
  arcTangentOfInverse(value, 16, 256 + i * (i - 1));
  addFixed(value, value, ARC_TANGENTS[i - 1]!);
  ARC_TANGENTS.push(value);
}

const PI = createFixed();
const HALF_PI = createFixed();
addFixed(HALF_PI, ARC_TANGENTS[16]!, ARC_TANGENTS[16]!);
addFixed(PI, HALF_PI, HALF_PI);

/** ln 2 = 2·atanh(1/3), and its inverse. */
const LN_2 = createFixed();
const INVERSE_LN_2 = createFixed();
{
  const power = createFixed();
  const term = createFixed();
  divideSmall(power, ONE, 3);
  for (let n = 0; n < 48; n++) {
    divideSmall(term, power, 2 * n + 1);
    addFixed(LN_2, LN_2, term);
    divideSmall(power, power, 9);
  }
  addFixed(LN_2, LN_2, LN_2);
  reciprocalFixed(INVERSE_LN_2, LN_2);
}

const argument = createFixed();
const square = createFixed();
const factor = createFixed();
const other = createFixed();
const reduced = new Unpacked();

/**
 * The modulus of the argument reduction, π/2 with π cut to 66 bits as in Intel's processors (SDM vol. 1 §8.3.8: "an internal
 * value of π with a 66-bit mantissa"), in units of 2^-65.
 */
const HALF_PI_66 = { TOP: 0x3, HIGH: 0x243f6a88, LOW: 0x85a308d3 } as const;

/** The reduced argument's quadrant, set by `reduceArgument`. */
let quadrant = 0;

/** Whether the magnitude is at least π/4, where the argument is reduced (decided on the high word: any near bound serves). */
function needsReduction(x: Unpacked): boolean {
  return x.exponent >= 0 || (x.exponent === -1 && x.high >>> 0 >= 0xc90fdaa2);
}

/** reduced = |x| − k·π/2 for the nearest k, exactly for the 66-bit π; quadrant = k mod 4. x is below 2^63. */
function reduceArgument(x: Unpacked): void {
  copyQuiet(reduced, x);
  reduced.sign = 0;
  quadrant = 0;
  if (!needsReduction(x)) return;
  let top = 0;
  let high = x.high >>> 0;
  let low = x.low >>> 0;
  for (let step = 0; step < x.exponent + 2; step++) {
    top = (top << 1) | (high >>> 31);
    high = ((high << 1) | (low >>> 31)) >>> 0;
    low = (low << 1) >>> 0;
    quadrant <<= 1;
    if (top > HALF_PI_66.TOP || (top === HALF_PI_66.TOP && !isBelowHalfPi(high, low))) {
      const borrowLow = low < HALF_PI_66.LOW ? 1 : 0;
      const difference = high - HALF_PI_66.HIGH - borrowLow;
      low = (low - HALF_PI_66.LOW) >>> 0;
      high = difference >>> 0;
      top = top - HALF_PI_66.TOP - (difference < 0 ? 1 : 0);
      quadrant |= 1;
    }
  }
  // Above π/4, take the distance to the next multiple. Half of the modulus is 1.921FB544…
  if (top > 1 || (top === 1 && high >= 0x921fb544)) {
    const borrowLow = low > HALF_PI_66.LOW ? 1 : 0;
    const difference = HALF_PI_66.HIGH - high - borrowLow;
    low = (HALF_PI_66.LOW - low) >>> 0;
    high = difference >>> 0;
    top = HALF_PI_66.TOP - top - (difference < 0 ? 1 : 0);
    quadrant++;
    reduced.sign = 1;
  }
  setReduced(top, high, low);
}

function isBelowHalfPi(high: number, low: number): boolean {
  return high < HALF_PI_66.HIGH || (high === HALF_PI_66.HIGH && low < HALF_PI_66.LOW);
}

/** reduced = (top:high:low) · 2^-65, which is not zero: no multiple of the odd modulus has a 64-bit significand. */
function setReduced(top: number, high: number, low: number): void {
  let a = top;
  let b = high;
  let c = low;
  // The binary point of (a:b:c) lies 31 bits below the top of a: bit 0 of a weighs 2^-1.
  let exponent = 30;
  while (a === 0) {
    a = b;
    b = c;
    c = 0;
    exponent -= 32;
  }
  const zeros = Math.clz32(a);
  if (zeros !== 0) {
    a = (a << zeros) | (b >>> (32 - zeros));
    b = (b << zeros) | (c >>> (32 - zeros));
    c <<= zeros;
  }
  reduced.high = a | 0;
  reduced.low = b | 0;
  reduced.rest = c | 0;
  reduced.exponent = exponent - zeros;
}

/** factor = sin(r)/r for the reduced argument, in `square` = r²; just below 1 when r² vanishes. */
function sineFactor(): void {
  if (isZeroFixed(square)) {
    // 1 − 2^-144: keeps the result on the right side of r for every rounding.
    factor.fill(0xffffff);
    factor[0] = 0;
    return;
  }
  evaluate(factor, SINE_SERIES, TERMS.SINE, square, true);
}

function setSquare(): void {
  setMagnitude(argument, reduced);
  multiplyFixed(square, argument, argument);
}

function reducedSine(sign: number, result: Unpacked): void {
  sineFactor();
  setSignificand(argument, reduced, 0);
  multiplyFixed(factor, factor, argument);
  toUnpacked(factor, sign, reduced.exponent, result);
}

function reducedCosine(sign: number, result: Unpacked): void {
  if (isZeroFixed(square)) {
    factor.fill(0xffffff);
    factor[0] = 0;
  } else {
    evaluate(factor, COSINE_SERIES, TERMS.SINE, square, true);
  }
  toUnpacked(factor, sign, 0, result);
}

/** sin(x) of a finite x, not zero, below 2^63 in magnitude. */
export function sineOf(x: Unpacked, result: Unpacked): void {
  reduceArgument(x);
  setSquare();
  const sign = x.sign ^ ((quadrant >>> 1) & 1);
  if ((quadrant & 1) !== 0) reducedCosine(sign, result);
  else reducedSine(sign ^ reduced.sign, result);
}

/** cos(x), for the same arguments. */
export function cosineOf(x: Unpacked, result: Unpacked): void {
  reduceArgument(x);
  setSquare();
  const sign = ((quadrant + 1) >>> 1) & 1;
  if ((quadrant & 1) !== 0) reducedSine(sign ^ reduced.sign, result);
  else reducedCosine(sign, result);
}

/**
 * Below this exponent the tangent, whose exact value lies above x by less than an ulp, is computed as a value just below x
 * (as Intel's processors do: *measured*; it shows in directed rounding only).
 */
const TANGENT_AS_SINE = -32;

/** tan(x), for the same arguments. */
export function tangentOf(x: Unpacked, result: Unpacked): void {
  reduceArgument(x);
  setSquare();
  const sign = x.sign ^ reduced.sign;
  setSignificand(argument, reduced, 0);
  if (reduced.exponent < TANGENT_AS_SINE && (quadrant & 1) === 0) {
    sineFactor();
    multiplyFixed(factor, factor, argument);
    toUnpacked(factor, sign, reduced.exponent, result);
    return;
  }
  evaluate(other, COSINE_SERIES, TERMS.SINE, square, true);
  evaluate(factor, SINE_SERIES, TERMS.SINE, square, true);
  multiplyFixed(factor, factor, argument);
  if ((quadrant & 1) === 0) {
    reciprocalFixed(other, other);
    multiplyFixed(factor, factor, other);
    toUnpacked(factor, sign, reduced.exponent, result);
  } else {
    reciprocalFixed(factor, factor);
    multiplyFixed(factor, factor, other);
    toUnpacked(factor, sign ^ 1, -reduced.exponent, result);
  }
}

/** 2^x − 1 for a finite x, not zero, with |x| < 1. */
export function exponentialOf(x: Unpacked, result: Unpacked): void {
  setMagnitude(argument, x);
  multiplyFixed(argument, argument, LN_2);
  evaluate(factor, EXPONENTIAL_SERIES, TERMS.EXPONENTIAL, argument, x.sign !== 0);
  setSignificand(argument, x, 0);
  multiplyFixed(factor, factor, argument);
  multiplyFixed(factor, factor, LN_2);
  toUnpacked(factor, x.sign, x.exponent, result);
}

const numerator = new Unpacked();
const divisor = createFixed();

/**
 * factor = log2(1 + f)/(significand of f) · 2^−exponent(f), for f = (−1)^sign · `numerator`, |f| ≤ 1 − √2/2: with s = f/(2 + f),
 * log2(1 + f) = 2·atanh(s)/ln 2.
 */
function logarithmFactor(sign: number): void {
  setMagnitude(argument, numerator);
  setSmall(divisor, 2);
  if (sign !== 0) subtractFixed(divisor, divisor, argument);
  else addFixed(divisor, divisor, argument);
  reciprocalFixed(divisor, divisor);
  multiplyFixed(argument, argument, divisor);
  multiplyFixed(square, argument, argument);
  evaluate(factor, ODD_RECIPROCALS, TERMS.LOGARITHM, square, false);
  multiplyFixed(factor, factor, divisor);
  multiplyFixed(factor, factor, INVERSE_LN_2);
  addFixed(factor, factor, factor);
}

/** y·log2(1 + x) for finite y and x, not zero, |x| ≤ 1 − √2/2: relative accuracy down to the smallest x. */
export function logarithmPlusOneOf(x: Unpacked, y: Unpacked, result: Unpacked): void {
  copyQuiet(numerator, x);
  logarithmFactor(x.sign);
  setSignificand(argument, numerator, 0);
  multiplyFixed(factor, factor, argument);
  setSignificand(argument, y, 0);
  multiplyFixed(factor, factor, argument);
  toUnpacked(factor, x.sign ^ y.sign, numerator.exponent + y.exponent, result);
}

/** √2's significand, the upper bound of the reduced argument: any value near it serves. */
const ROOT_2_HIGH = 0xb504f334;

/** numerator = m − 1 for a significand m = high:low:rest from 1 to 2, normalised; or (1 − m/2) when `halved`. */
function setDistanceFromOne(x: Unpacked, halved: boolean): void {
  let high = x.high & 0x7fffffff;
  let { low, rest } = x;
  // m − 1 in units of 2^-95; 1 − m/2 = (2 − m)/2 in units of 2^-96.
  if (halved) {
    high = rest === 0 && low === 0 ? -x.high : ~x.high;
    low = rest === 0 ? -low : ~low;
    rest = -rest;
  }
  let shift = halved ? 1 : 0;
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
  numerator.high = high | 0;
  numerator.low = low | 0;
  numerator.rest = rest | 0;
  numerator.exponent = -shift - zeros;
}

/** y·log2(x) for a finite y, not zero, and a positive x that is no power of two; x may have 96 bits. */
export function logarithmOf(x: Unpacked, y: Unpacked, result: Unpacked): void {
  const halved = x.high >>> 0 > ROOT_2_HIGH;
  const integer = x.exponent + (halved ? 1 : 0);
  setDistanceFromOne(x, halved);
  let negative = halved;
  logarithmFactor(halved ? 1 : 0);
  let exponent: number;
  if (integer === 0) {
    setSignificand(argument, numerator, 0);
    multiplyFixed(factor, factor, argument);
    exponent = numerator.exponent;
  } else {
    setMagnitude(argument, numerator);
    multiplyFixed(factor, factor, argument);
    setSmall(other, integer);
    if (halved) subtractFixed(factor, other, factor);
    else addFixed(factor, other, factor);
    negative = absoluteFixed(factor);
    exponent = 0;
  }
  setSignificand(argument, y, 0);
  multiplyFixed(factor, factor, argument);
  toUnpacked(factor, (negative ? 1 : 0) ^ y.sign, y.exponent + exponent, result);
}

/** argument = atan(small/large)'s factor: result value = factor · 2^exponent; returns the exponent. small ≤ large. */
function arcTangentOfRatio(small: Unpacked, large: Unpacked): number {
  const distance = large.exponent - small.exponent;
  setSignificand(other, large, 0);
  setSignificand(argument, small, distance);
  const index = distance > 8 ? 0 : Math.round((toDouble(argument) / toDouble(other)) * 16);
  if (index === 0) {
    // The ratio keeps its own exponent, so that a small one loses nothing.
    reciprocalFixed(divisor, other);
    multiplyFixed(argument, argument, divisor);
    multiplyFixed(square, argument, argument);
    arcTangentFactor();
    setSignificand(argument, small, 0);
    multiplyFixed(factor, factor, argument);
    multiplyFixed(factor, factor, divisor);
    return -distance;
  }
  // (small − c·large)/(large + c·small) with c = index/16.
  scaleSixteenth(divisor, argument, index);
  addFixed(divisor, divisor, other);
  reciprocalFixed(divisor, divisor);
  scaleSixteenth(other, other, index);
  subtractFixed(argument, argument, other);
  multiplyFixed(argument, argument, divisor);
  multiplyFixed(square, argument, argument);
  arcTangentFactor();
  multiplyFixed(factor, factor, argument);
  addFixed(factor, factor, ARC_TANGENTS[index]!);
  return 0;
}

function scaleSixteenth(target: Fixed, value: Fixed, index: number): void {
  setSmall(sum, index);
  divideSmall(sum, sum, 16);
  multiplyFixed(target, value, sum);
}

/** factor = atan(u)/u in `square` = u². */
function arcTangentFactor(): void {
  if (isZeroFixed(square)) {
    factor.fill(0xffffff);
    factor[0] = 0;
    return;
  }
  evaluate(factor, ODD_RECIPROCALS, TERMS.ARC_TANGENT, square, true);
}

/** factor = value · 2^exponent for exponent ≤ 0, at least the least positive number. */
function shiftFactor(exponent: number): void {
  if (exponent === 0) return;
  toUnpacked(factor, 0, exponent, reduced);
  if (reduced.exponent < -144) setSmall(factor, 0);
  else setMagnitude(factor, reduced);
  if (isZeroFixed(factor)) factor[factor.length - 1] = 1;
}

/** The angle of the point (x, y), both finite and not zero. */
export function arcTangentOf(y: Unpacked, x: Unpacked, result: Unpacked): void {
  const order = compareMagnitudes(y, x);
  if (order <= 0) {
    const exponent = arcTangentOfRatio(y, x);
    if (x.sign === 0) {
      toUnpacked(factor, y.sign, exponent, result);
      return;
    }
    shiftFactor(exponent);
    subtractFixed(factor, PI, factor);
  } else {
    shiftFactor(arcTangentOfRatio(x, y));
    if (x.sign === 0) subtractFixed(factor, HALF_PI, factor);
    else addFixed(factor, HALF_PI, factor);
  }
  toUnpacked(factor, y.sign, 0, result);
}

/** The angles of points on an axis, infinite or diagonal: (−1)^sign · eighths · π/4 for eighths from 1 to 4. */
export function setAngle(eighths: number, sign: number, result: Unpacked): void {
  divideSmall(factor, PI, 4);
  setSmall(other, eighths);
  multiplyFixed(factor, factor, other);
  toUnpacked(factor, sign, 0, result);
}
