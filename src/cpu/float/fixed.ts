/**
 * Fixed-point numbers of 144 fraction bits for the transcendental functions: seven digits in base 2^24, the first the
 * integer part (which carries the sign), the others from 0 to 2^24 − 1. Digits are doubles: a column of a product sums at most
 * eight products below 2^48, which a double holds exactly. Results may alias operands; nothing is allocated per operation.
 */
import { KIND, type Unpacked } from './unpacked.ts';

export type Fixed = Float64Array;

const DIGITS = 7;
const BASE = 0x1000000;
const INVERSE_BASE = 1 / BASE;

export function createFixed(): Fixed {
  return new Float64Array(DIGITS);
}

export function setSmall(target: Fixed, integer: number): void {
  target.fill(0);
  target[0] = integer;
}

/** Sets a double of magnitude below 2^24 (cut to 144 fraction bits). */
export function setDouble(target: Fixed, value: number): void {
  let rest = value;
  for (let i = 0; i < DIGITS; i++) {
    const digit = Math.floor(rest);
    target[i] = digit;
    rest = (rest - digit) * BASE;
  }
}

/** An approximation by a double. */
export function toDouble(value: Fixed): number {
  let sum = 0;
  for (let i = DIGITS - 1; i >= 0; i--) sum = sum * INVERSE_BASE + value[i]!;
  return sum;
}

export function addFixed(target: Fixed, a: Fixed, b: Fixed): void {
  let carry = 0;
  for (let i = DIGITS - 1; i > 0; i--) {
    const sum = a[i]! + b[i]! + carry;
    carry = sum >= BASE ? 1 : 0;
    target[i] = sum - carry * BASE;
  }
  target[0] = a[0]! + b[0]! + carry;
}

export function subtractFixed(target: Fixed, a: Fixed, b: Fixed): void {
  let borrow = 0;
  for (let i = DIGITS - 1; i > 0; i--) {
    const difference = a[i]! - b[i]! - borrow;
    borrow = difference < 0 ? 1 : 0;
    target[i] = difference + borrow * BASE;
  }
  target[0] = a[0]! - b[0]! - borrow;
}

/** Product, cut below 2^-144 (the error is under 8 units there). Written out: the column sums are the whole cost of a series. */
export function multiplyFixed(target: Fixed, a: Fixed, b: Fixed): void {
  const a0 = a[0]!;
  const a1 = a[1]!;
  const a2 = a[2]!;
  const a3 = a[3]!;
  const a4 = a[4]!;
  const a5 = a[5]!;
  const a6 = a[6]!;
  const b0 = b[0]!;
  const b1 = b[1]!;
  const b2 = b[2]!;
  const b3 = b[3]!;
  const b4 = b[4]!;
  const b5 = b[5]!;
  const b6 = b[6]!;
  let sum = a1 * b6 + a2 * b5 + a3 * b4 + a4 * b3 + a5 * b2 + a6 * b1;
  let carry = Math.floor(sum * INVERSE_BASE);
  sum = a0 * b6 + a1 * b5 + a2 * b4 + a3 * b3 + a4 * b2 + a5 * b1 + a6 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[6] = sum - carry * BASE;
  sum = a0 * b5 + a1 * b4 + a2 * b3 + a3 * b2 + a4 * b1 + a5 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[5] = sum - carry * BASE;
  sum = a0 * b4 + a1 * b3 + a2 * b2 + a3 * b1 + a4 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[4] = sum - carry * BASE;
  sum = a0 * b3 + a1 * b2 + a2 * b1 + a3 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[3] = sum - carry * BASE;
  sum = a0 * b2 + a1 * b1 + a2 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[2] = sum - carry * BASE;
  sum = a0 * b1 + a1 * b0 + carry;
  carry = Math.floor(sum * INVERSE_BASE);
  target[1] = sum - carry * BASE;
  target[0] = a0 * b0 + carry;
}

/** target = a / n for a positive integer n below 2^24. */
export function divideSmall(target: Fixed, a: Fixed, n: number): void {
  let remainder = 0;
  for (let i = 0; i < DIGITS; i++) {
    const value = remainder * BASE + a[i]!;
    const digit = Math.floor(value / n);
    target[i] = digit;
    remainder = value - digit * n;
  }
}

const reciprocalEstimate = createFixed();
const reciprocalError = createFixed();
const two = createFixed();
two[0] = 2;

/** target = 1 / a for a from 1/4 to 8, by Newton's iteration from a double: 53, 106, 144 bits. */
export function reciprocalFixed(target: Fixed, a: Fixed): void {
  setDouble(reciprocalEstimate, 1 / toDouble(a));
  for (let step = 0; step < 2; step++) {
    multiplyFixed(reciprocalError, a, reciprocalEstimate);
    subtractFixed(reciprocalError, two, reciprocalError);
    multiplyFixed(reciprocalEstimate, reciprocalEstimate, reciprocalError);
  }
  target.set(reciprocalEstimate);
}

/** 24 bits of the 96-bit string high:low:rest from bit `position` (0 the most significant); bits outside are 0. */
function bits24(high: number, low: number, rest: number, position: number): number {
  if (position <= -24 || position >= 96) return 0;
  if (position < 0) return high >>> (8 - position);
  const first = position < 32 ? high : position < 64 ? low : rest;
  const second = position < 32 ? low : position < 64 ? rest : 0;
  const shift = position & 31;
  const window = shift === 0 ? first : (first << shift) | (second >>> (32 - shift));
  return window >>> 8;
}

/**
 * Sets |value| · 2^(−exponent − shift), that is the significand (from 1 to 2) shifted right by shift ≥ 0. Bits under 2^-144 are
 * lost.
 */
export function setSignificand(target: Fixed, value: Unpacked, shift: number): void {
  const { high, low, rest } = value;
  target[0] = shift === 0 ? 1 : 0;
  for (let digit = 1; digit < DIGITS; digit++) target[digit] = bits24(high, low, rest, 24 * digit - 23 - shift);
}

/** Sets the magnitude of a finite value below 2; far below 2^-144 it becomes 0. */
export function setMagnitude(target: Fixed, value: Unpacked): void {
  setSignificand(target, value, -value.exponent);
}

export function isZeroFixed(value: Fixed): boolean {
  for (let i = 0; i < DIGITS; i++) if (value[i] !== 0) return false;
  return true;
}

/** Makes the value positive; returns whether it was negative. */
export function absoluteFixed(value: Fixed): boolean {
  if (value[0]! >= 0) return false;
  for (let i = 0; i < DIGITS; i++) value[i] = -value[i]!;
  for (let i = DIGITS - 1; i > 0; i--) {
    if (value[i]! < 0) {
      value[i] = value[i]! + BASE;
      value[i - 1] = value[i - 1]! - 1;
    }
  }
  // The negation of zero digits is −0: make it +0.
  for (let i = 0; i < DIGITS; i++) value[i] = value[i]! + 0;
  return true;
}

/**
 * result = (−1)^sign · value · 2^exponent for a positive value, normalised to 96 bits. The sticky bit is always set: the values
 * are irrational.
 */
export function toUnpacked(value: Fixed, sign: number, exponent: number, result: Unpacked): void {
  let first = 0;
  while (value[first] === 0) first++;
  const lead = value[first]!;
  const leadBits = 32 - Math.clz32(lead);
  // 96 bits from the leading one: the lead's bits, then whole digits; the position counts down from 96.
  let room = 96 - leadBits;
  let high = lead << (room - 64);
  let low = 0;
  let rest = 0;
  for (let i = first + 1; i < DIGITS && room > 0; i++) {
    const digit = value[i]!;
    room -= 24;
    if (room >= 64) {
      high |= digit << (room - 64);
    } else if (room >= 32) {
      if (room > 40) high |= digit >>> (64 - room);
      low |= digit << (room - 32);
    } else if (room >= 0) {
      if (room > 8) low |= digit >>> (32 - room);
      rest |= digit << room;
    } else {
      rest |= digit >>> -room;
    }
  }
  result.kind = KIND.FINITE;
  result.sign = sign;
  result.exponent = exponent + leadBits - 1 - 24 * first;
  result.high = high | 0;
  result.low = low | 0;
  result.rest = rest | 1;
}
