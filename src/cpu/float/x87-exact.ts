/** FABS, FCHS, FXAM, FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1: SDM vol. 1 §8.3.6–8, vol. 2 for each. */
import { compareMagnitudes } from './arithmetic.ts';
import { setInteger } from './integer.ts';
import { EXTENDED80, roundResult, roundToIntegral } from './round.ts';
import {
  copyQuiet,
  EXCEPTION,
  KIND,
  ROUNDING,
  setDefaultNan,
  setInfinity,
  setNormalized,
  setZero,
  type Unpacked,
} from './unpacked.ts';
import { finish, finishSpecial, operand, propagateNan, readUnary, result, st0 } from './x87-arithmetic.ts';
import {
  isEmpty,
  physical,
  push,
  raise,
  readRegister,
  roundingControl,
  STATUS,
  setC1,
  setConditions,
  setTop,
  stackOverflow,
  stackUnderflow,
  unmasked,
  WORD,
  writeDefaultNan,
  writeRegister,
  type X87State,
} from './x87-state.ts';

/** FCHS and FABS change the sign bit of any contents. */
export function changeSign(state: X87State, absolute: boolean): void {
  if (isEmpty(state, 0)) {
    if (!stackUnderflow(state)) writeDefaultNan(state, 0);
    return;
  }
  setC1(state, 0);
  const index = physical(state, 0) * 4 + 2;
  const { words } = state;
  words[index] = absolute ? words[index]! & 0x7fff : (words[index]! & 0xffff) ^ 0x8000;
}

/** FXAM: the class of ST(0) in C3, C2, C0, its sign in C1. */
export function examine(state: X87State): void {
  readRegister(state, 0, st0);
  const sign = st0.sign !== 0 ? STATUS.C1 : 0;
  if (isEmpty(state, 0)) {
    setConditions(state, sign | STATUS.C3 | STATUS.C0);
    return;
  }
  let conditions: number;
  switch (st0.kind) {
    case KIND.ZERO:
      conditions = STATUS.C3;
      break;
    case KIND.FINITE:
      conditions = st0.denormal !== 0 ? STATUS.C3 | STATUS.C2 : STATUS.C2;
      break;
    case KIND.INFINITY:
      conditions = STATUS.C2 | STATUS.C0;
      break;
    case KIND.UNSUPPORTED:
      conditions = 0;
      break;
    default:
      conditions = STATUS.C0;
      break;
  }
  setConditions(state, sign | conditions);
}

/** The flags of a denormal operand; −1 when unmasked and raised. */
export function denormalFlags(state: X87State, denormal: number): number {
  if (denormal === 0) return 0;
  if (!unmasked(state, EXCEPTION.DENORMAL)) return EXCEPTION.DENORMAL;
  raise(state, EXCEPTION.DENORMAL);
  return -1;
}

/** FRNDINT. */
export function roundTop(state: X87State): void {
  if (!readUnary(state)) return;
  const flags = denormalFlags(state, st0.denormal);
  if (flags < 0) return;
  const inexact = roundToIntegral(st0, roundingControl(state));
  setC1(state, st0.roundedUp);
  writeRegister(state, 0, st0);
  raise(state, flags | (inexact ? EXCEPTION.PRECISION : 0));
}

/**
 * Reads ST(0) into `st0` and ST(1) into `operand`, dealing with empty registers and NaNs (whose result goes to ST(0)).
 * Returns whether there are numbers to work on.
 */
function readBinary(state: X87State): boolean {
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (!stackUnderflow(state)) writeDefaultNan(state, 0);
    return false;
  }
  setC1(state, 0);
  readRegister(state, 0, st0);
  readRegister(state, 1, operand);
  if (st0.kind < KIND.QNAN && operand.kind < KIND.QNAN) return true;
  if (!raise(state, propagateNan(st0, operand, result))) writeRegister(state, 0, result);
  return false;
}

/** Ends an instruction that leaves its value in ST(0): even a denormal raises no underflow then (*measured*). */
function keepTop(state: X87State, flags: number): void {
  roundResult(result, EXTENDED80, ROUNDING.NEAREST, 0);
  writeRegister(state, 0, result);
  raise(state, flags);
}

/** FSCALE: ST(0) · 2^trunc(ST(1)). */
export function scale(state: X87State): void {
  if (!readBinary(state)) return;
  if (operand.kind === KIND.INFINITY) {
    const invalid = operand.sign !== 0 ? st0.kind === KIND.INFINITY : st0.kind === KIND.ZERO;
    if (invalid) {
      setDefaultNan(result);
      finishSpecial(state, EXCEPTION.INVALID);
      return;
    }
    const flags = denormalFlags(state, st0.denormal);
    if (flags < 0) return;
    if (operand.sign !== 0) setZero(result, st0.sign);
    else setInfinity(result, st0.sign);
    finishSpecial(state, flags);
    return;
  }
  const flags = denormalFlags(state, st0.denormal | operand.denormal);
  if (flags < 0) return;
  copyQuiet(result, st0);
  if (st0.kind !== KIND.FINITE || operand.kind === KIND.ZERO) {
    keepTop(state, flags);
    return;
  }
  roundToIntegral(operand, ROUNDING.TOWARD_ZERO);
  // Beyond 2^17 any scale overflows or underflows alike; a bound keeps the exponent an integer of 32 bits.
  const size =
    operand.kind === KIND.ZERO ? 0 : operand.exponent > 17 ? 0x40000 : operand.high >>> (31 - operand.exponent);
  result.exponent += operand.sign !== 0 ? -size : size;
  finish(state, 0, EXTENDED80, flags);
}

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
export function extract(state: X87State): void {
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    writeDefaultNan(state, 0);
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
    return;
  }
  if (!isEmpty(state, 7)) {
    if (stackOverflow(state)) return;
    writeDefaultNan(state, 0);
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
    return;
  }
  if (!readUnary(state)) {
    if (st0.kind < KIND.QNAN || unmasked(state, st0.kind === KIND.QNAN ? 0 : EXCEPTION.INVALID)) return;
    push(state, result);
    return;
  }
  if (st0.kind === KIND.ZERO) {
    if (raise(state, EXCEPTION.ZERO_DIVIDE)) return;
    setInfinity(result, 1);
    writeRegister(state, 0, result);
    push(state, st0);
    return;
  }
  if (st0.kind === KIND.INFINITY) {
    setInfinity(result, 0);
    writeRegister(state, 0, result);
    push(state, st0);
    return;
  }
  const flags = denormalFlags(state, st0.denormal);
  if (flags < 0) return;
  setInteger(result, st0.exponent, st0.exponent >> 31);
  writeRegister(state, 0, result);
  copyQuiet(result, st0);
  result.exponent = 0;
  push(state, result);
  raise(state, flags);
}

/** The quotient's low bits and the remainder of the division steps of FPREM. */
const remainder = { quotient: 0, high: 0, low: 0 };

/**
 * Divides significands: `steps` + 1 quotient bits of a / b by restoring division, starting with equal exponents. Keeps the
 * remainder (relative to a's exponent lowered by `steps`) and the low 32 quotient bits.
 */
function divideSteps(a: Unpacked, b: Unpacked, steps: number): void {
  let high = a.high >>> 0;
  let low = a.low >>> 0;
  const bHigh = b.high >>> 0;
  const bLow = b.low >>> 0;
  let carry = 0;
  let quotient = 0;
  for (let step = 0; step <= steps; step++) {
    quotient <<= 1;
    if (carry !== 0 || high > bHigh || (high === bHigh && low >= bLow)) {
      high = (high - bHigh - (low < bLow ? 1 : 0)) >>> 0;
      low = (low - bLow) >>> 0;
      quotient |= 1;
    }
    if (step < steps) {
      carry = high >>> 31;
      high = ((high << 1) | (low >>> 31)) >>> 0;
      low = (low << 1) >>> 0;
    }
  }
  remainder.quotient = quotient;
  remainder.high = high | 0;
  remainder.low = low | 0;
}

/** Rounds the quotient to nearest even (FPREM1): whether the remainder r of divisor b exceeds b/2, or equals it with an odd quotient. */
function exceedsHalf(r: Unpacked, b: Unpacked, quotient: number): boolean {
  if (r.kind === KIND.ZERO) return false;
  r.exponent++;
  const order = compareMagnitudes(r, b);
  r.exponent--;
  return order > 0 || (order === 0 && (quotient & 1) !== 0);
}

/** r = b − r in magnitude, with the opposite sign; r is below b and above b/2 or equal to it. */
function reflect(r: Unpacked, b: Unpacked): void {
  // The exponents differ by at most one, so the aligned significand keeps all its bits within 65.
  const shift = b.exponent - r.exponent;
  const lost = shift === 1 ? r.low & 1 : 0;
  const rHigh = shift === 1 ? r.high >>> 1 : r.high;
  const rLow = shift === 1 ? (r.low >>> 1) | (r.high << 31) : r.low;
  const sign = r.sign ^ 1;
  let low = (b.low >>> 0) - (rLow >>> 0) - lost;
  const borrow = low < 0 ? 1 : 0;
  let high = (b.high - rHigh - borrow) | 0;
  let exponent = b.exponent;
  low |= 0;
  if (lost !== 0) {
    // The difference is below half of 2^64: there is room for the bit shifted out.
    high = (high << 1) | (low >>> 31);
    low = (low << 1) | 1;
    exponent--;
  }
  setNormalized(r, sign, exponent, high, low);
}

const CONDITION_OF_QUOTIENT = { 1: STATUS.C1, 2: STATUS.C3, 4: STATUS.C0 } as const;

function quotientConditions(quotient: number): number {
  return (
    ((quotient & 1) !== 0 ? CONDITION_OF_QUOTIENT[1] : 0) |
    ((quotient & 2) !== 0 ? CONDITION_OF_QUOTIENT[2] : 0) |
    ((quotient & 4) !== 0 ? CONDITION_OF_QUOTIENT[4] : 0)
  );
}

/** One reduction of st0 by operand, both finite; the remainder goes to `result`. Returns the condition codes. */
function reduce(nearest: boolean): number {
  const distance = st0.exponent - operand.exponent;
  copyQuiet(result, st0);
  if (distance < (nearest ? -1 : 0)) return 0;
  if (distance >= 64) {
    // A partial reduction: *measured*, Intel's choice among the 32 to 63 the manual allows.
    const steps = (distance & 31) | 32;
    divideSteps(st0, operand, steps);
    setNormalized(result, st0.sign, st0.exponent - steps, remainder.high, remainder.low);
    return STATUS.C2;
  }
  let quotient = 0;
  if (distance >= 0) {
    divideSteps(st0, operand, distance);
    quotient = remainder.quotient;
    setNormalized(result, st0.sign, operand.exponent, remainder.high, remainder.low);
  }
  if (nearest && exceedsHalf(result, operand, quotient)) {
    reflect(result, operand);
    quotient++;
  }
  return quotientConditions(quotient);
}

/** FPREM (truncating) and FPREM1 (`nearest`, the IEEE remainder). */
export function partialRemainder(state: X87State, nearest: boolean): void {
  state.words[WORD.STATUS] = state.words[WORD.STATUS]! & ~STATUS.C2;
  if (!readBinary(state)) return;
  if (st0.kind === KIND.INFINITY || operand.kind === KIND.ZERO) {
    setDefaultNan(result);
    finishSpecial(state, EXCEPTION.INVALID);
    return;
  }
  const flags = denormalFlags(state, st0.denormal | operand.denormal);
  if (flags < 0) return;
  if (st0.kind === KIND.ZERO || operand.kind === KIND.INFINITY) {
    copyQuiet(result, st0);
    keepTop(state, flags);
    setConditions(state, 0);
    return;
  }
  const conditions = reduce(nearest);
  finish(state, 0, EXTENDED80, flags);
  setConditions(state, conditions);
}

/** FXCH. */
export function exchange(state: X87State, i: number): void {
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    if (stackUnderflow(state)) return;
    if (isEmpty(state, 0)) writeDefaultNan(state, 0);
    if (isEmpty(state, i)) writeDefaultNan(state, i);
  } else {
    setC1(state, 0);
  }
  const { words } = state;
  const a = physical(state, 0) * 4;
  const b = physical(state, i) * 4;
  for (let n = 0; n < 3; n++) {
    const word = words[a + n]!;
    words[a + n] = words[b + n]!;
    words[b + n] = word;
  }
}
