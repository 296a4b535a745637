/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1: SDM vol. 1 §8.3.7–11, vol. 2 for each instruction's table of
 * special operands. Results are rounded to 64 bits by RC, whatever PC says.
 */
import { add, multiply } from './arithmetic.ts';
import { setInteger } from './integer.ts';
import { EXTENDED80 } from './round.ts';
import {
  arcTangentOf,
  cosineOf,
  exponentialOf,
  logarithmOf,
  logarithmPlusOneOf,
  setAngle,
  sineOf,
  tangentOf,
} from './transcendental.ts';
import { copyQuiet, EXCEPTION, KIND, ROUNDING, setDefaultNan, setInfinity, setZero, Unpacked } from './unpacked.ts';
import { finish, finishSpecial, operand, propagateNan, readUnary, result, st0 } from './x87-arithmetic.ts';
import { denormalFlags } from './x87-exact.ts';
import {
  defaultNan,
  isEmpty,
  physical,
  pop,
  push,
  raise,
  readRegister,
  STATUS,
  setC1,
  setTop,
  stackOverflow,
  stackUnderflow,
  unmasked,
  WORD,
  writeDefaultNan,
  writeRegister,
  type X87State,
} from './x87-state.ts';

const one = new Unpacked();
one.kind = KIND.FINITE;
one.high = 0x80000000 | 0;

function setC2(state: X87State, isSet: boolean): void {
  const { words } = state;
  words[WORD.STATUS] = isSet ? words[WORD.STATUS]! | STATUS.C2 : words[WORD.STATUS]! & ~STATUS.C2;
}

/**
 * The checks that the trigonometric functions share, of st0: infinities and arguments out of range. Returns the flags of a
 * denormal operand, or −1 when the instruction has ended.
 */
function checkAngle(state: X87State): number {
  if (st0.kind === KIND.INFINITY) {
    setDefaultNan(result);
    finishSpecial(state, EXCEPTION.INVALID);
    return -1;
  }
  if (st0.kind === KIND.FINITE && st0.exponent >= 63) {
    setC2(state, true);
    return -1;
  }
  return denormalFlags(state, st0.denormal);
}

/** Below this exponent sin x = tan x = x and cos x = 1 in every rounding mode, with the precision flag (*measured*). */
const IDENTITY_EXPONENT = -69;

function isTinyAngle(): boolean {
  return st0.kind === KIND.FINITE && st0.exponent < IDENTITY_EXPONENT;
}

/** Writes st0, of a tiny angle, as the result: flags P, and U when it is denormal. */
function finishIdentity(state: X87State, flags: number): void {
  copyQuiet(result, st0);
  const isDenormal = st0.exponent < EXTENDED80.minExponent;
  finish(state, 0, EXTENDED80, flags | EXCEPTION.PRECISION | (isDenormal ? EXCEPTION.UNDERFLOW : 0));
}

/** FSIN, FCOS (`cosine`). */
export function sine(state: X87State, cosine: boolean): void {
  setC2(state, false);
  if (!readUnary(state)) return;
  const flags = checkAngle(state);
  if (flags < 0) return;
  if (isTinyAngle()) {
    if (cosine) copyQuiet(st0, one);
    finishIdentity(state, flags);
    return;
  }
  if (st0.kind === KIND.ZERO) copyQuiet(result, cosine ? one : st0);
  else if (cosine) cosineOf(st0, result);
  else sineOf(st0, result);
  finish(state, 0, EXTENDED80, flags);
}

/**
 * Begins an instruction with two results, the second pushed: stack faults, NaNs and infinities, which give two NaNs, and
 * arguments out of range. Returns the flags of a denormal operand, or −1 when the instruction has ended.
 */
function beginPair(state: X87State): number {
  setC2(state, false);
  const overflows = !isEmpty(state, 7);
  if (isEmpty(state, 0) || overflows) {
    if (isEmpty(state, 0) ? stackUnderflow(state) : stackOverflow(state)) return -1;
    writeDefaultNan(state, 0);
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
    return -1;
  }
  setC1(state, 0);
  readRegister(state, 0, st0);
  let invalid = 0;
  if (st0.kind >= KIND.QNAN) invalid = propagateNan(st0, st0, result);
  else if (st0.kind === KIND.INFINITY) {
    invalid = EXCEPTION.INVALID;
    copyQuiet(result, defaultNan);
  } else {
    return checkAngle(state);
  }
  if (!raise(state, invalid)) {
    writeRegister(state, 0, result);
    push(state, result);
  }
  return -1;
}

const second = new Unpacked();

/** FSINCOS: the sine replaces ST(0), the cosine is pushed. */
export function sineCosine(state: X87State): void {
  const flags = beginPair(state);
  if (flags < 0) return;
  if (st0.kind === KIND.ZERO || isTinyAngle()) {
    copyQuiet(result, st0);
    copyQuiet(second, one);
  } else {
    cosineOf(st0, second);
    sineOf(st0, result);
  }
  if (isTinyAngle()) finishIdentity(state, flags);
  else finish(state, 0, EXTENDED80, flags);
  copyQuiet(result, second);
  setTop(state, physical(state, 7));
  finish(state, 0, EXTENDED80, 0);
}

/** FPTAN: the tangent replaces ST(0), 1.0 is pushed. */
export function tangent(state: X87State): void {
  const flags = beginPair(state);
  if (flags < 0) return;
  if (isTinyAngle()) {
    finishIdentity(state, flags);
  } else {
    if (st0.kind === KIND.ZERO) copyQuiet(result, st0);
    else tangentOf(st0, result);
    finish(state, 0, EXTENDED80, flags);
  }
  push(state, one);
}

/** F2XM1: 2^ST(0) − 1 for −1 ≤ ST(0) ≤ 1; outside that (undefined in the manual) ST(0) stays (*measured*). */
export function exponential(state: X87State): void {
  if (!readUnary(state)) return;
  let flags = denormalFlags(state, st0.denormal);
  if (flags < 0) return;
  copyQuiet(result, st0);
  if (st0.kind === KIND.INFINITY) {
    if (st0.sign !== 0) {
      copyQuiet(result, one);
      result.sign = 1;
    }
  } else if (st0.kind === KIND.FINITE) {
    if (st0.exponent < 0) {
      exponentialOf(st0, result);
    } else {
      // 2^±1 − 1 is exact, yet reported as inexact (*measured*).
      const isMinusOne = st0.exponent === 0 && st0.sign !== 0 && st0.high === (0x80000000 | 0) && st0.low === 0;
      if (isMinusOne) result.exponent = -1;
      flags |= EXCEPTION.PRECISION;
    }
  }
  finish(state, 0, EXTENDED80, flags);
}

/**
 * Reads ST(0) and ST(1) for an instruction that replaces ST(1) and pops. Deals with empty registers and NaNs; returns whether
 * there are numbers to work on.
 */
function readPair(state: X87State): boolean {
  if (isEmpty(state, 0) || isEmpty(state, 1)) {
    if (stackUnderflow(state)) return false;
    writeDefaultNan(state, 1);
    pop(state);
    return false;
  }
  setC1(state, 0);
  readRegister(state, 0, st0);
  readRegister(state, 1, operand);
  if (st0.kind < KIND.QNAN && operand.kind < KIND.QNAN) return true;
  if (raise(state, propagateNan(st0, operand, result))) return false;
  writeRegister(state, 1, result);
  pop(state);
  return false;
}

/**
 * Ends an instruction of `readPair`: rounds `result` into ST(1) and pops, unless a pre-computation exception is unmasked.
 * PRECISION among the flags is that of a result already rounded.
 */
function finishPair(state: X87State, flags: number): void {
  if (unmasked(state, flags & ~EXCEPTION.PRECISION)) {
    raise(state, flags & ~EXCEPTION.PRECISION);
    return;
  }
  finish(state, 1, EXTENDED80, flags);
  pop(state);
}

function eighthsOfDiagonal(): number {
  return st0.sign !== 0 ? 3 : 1;
}

/** FPATAN: the angle of the point (ST(0), ST(1)). */
export function arcTangent(state: X87State): void {
  if (!readPair(state)) return;
  const flags = (st0.denormal | operand.denormal) !== 0 ? EXCEPTION.DENORMAL : 0;
  const { sign } = operand;
  if (operand.kind === KIND.INFINITY) {
    setAngle(st0.kind === KIND.INFINITY ? eighthsOfDiagonal() : 2, sign, result);
  } else if (operand.kind === KIND.ZERO || st0.kind === KIND.INFINITY) {
    if (st0.sign !== 0) setAngle(4, sign, result);
    else setZero(result, sign);
  } else if (st0.kind === KIND.ZERO) {
    setAngle(2, sign, result);
  } else {
    arcTangentOf(operand, st0, result);
  }
  finishPair(state, flags);
}

/** FYL2X's special operands: sets `result`; returns the flags, or −1 when the operands are ordinary. */
function logarithmSpecial(): number {
  const { sign } = operand;
  const isNegative = st0.sign !== 0 && st0.kind !== KIND.ZERO;
  const isOne = st0.kind === KIND.FINITE && st0.exponent === 0 && st0.high === (0x80000000 | 0) && st0.low === 0;
  const invalid =
    isNegative ||
    (operand.kind === KIND.ZERO && (st0.kind === KIND.ZERO || st0.kind === KIND.INFINITY)) ||
    (operand.kind === KIND.INFINITY && isOne);
  if (invalid) {
    setDefaultNan(result);
    return EXCEPTION.INVALID;
  }
  if (st0.kind === KIND.ZERO) {
    setInfinity(result, sign ^ 1);
    return operand.kind === KIND.INFINITY ? 0 : EXCEPTION.ZERO_DIVIDE;
  }
  const belowOne = st0.kind === KIND.FINITE && st0.exponent < 0 ? 1 : 0;
  if (st0.kind === KIND.INFINITY || operand.kind === KIND.INFINITY) setInfinity(result, sign ^ belowOne);
  else if (operand.kind === KIND.ZERO || isOne) setZero(result, sign ^ belowOne);
  else return -1;
  return 0;
}

const wholeLogarithm = new Unpacked();

/**
 * The logarithm of a power of two 2^k times y: exact, but processors report it inexact, as a value just above k times y
 * (*measured*): a sticky bit, or one unit of the 96 bits less in magnitude when k is negative.
 */
function scaleByPower(k: number): void {
  setInteger(wholeLogarithm, k, k >> 31);
  multiply(wholeLogarithm, operand, result);
  if (k > 0 || (result.rest & 1) !== 0) {
    result.rest |= 1;
    return;
  }
  if (result.rest === 0) {
    if (result.low === 0) result.high = (result.high - 1) | 0;
    result.low = (result.low - 1) | 0;
  }
  result.rest = (result.rest - 1) | 0;
  if (result.high >= 0) {
    result.high = -1;
    result.exponent--;
  }
}

/** operand · log2(x), for ordinary numbers. */
function logarithmOrdinary(x: Unpacked): void {
  if (x.high === (0x80000000 | 0) && (x.low | x.rest) === 0) scaleByPower(x.exponent);
  else logarithmOf(x, operand, result);
}

const sum = new Unpacked();
/** The significand of 1 − √2/2. */
const DOMAIN_HIGH = 0x95f61998;

/**
 * operand · log2(1 + st0) for ordinary numbers. The manual leaves results undefined for |st0| > 1 − √2/2; processors give the
 * logarithm still, and st0 itself where there is none (*measured*). Returns
 * PRECISION for the latter, whose result is final.
 */
function logarithmPlusOneOrdinary(): number {
  if (st0.exponent < -2 || (st0.exponent === -2 && st0.high >>> 0 <= DOMAIN_HIGH)) {
    logarithmPlusOneOf(st0, operand, result);
    return 0;
  }
  if (st0.sign !== 0 && st0.exponent >= 0) {
    copyQuiet(result, st0);
    return EXCEPTION.PRECISION;
  }
  add(one, st0, st0.sign, ROUNDING.NEAREST, sum);
  logarithmOrdinary(sum);
  return 0;
}

/** The result of FYL2XP1 for special operands; −1 for ordinary ones. */
function logarithmPlusOneSpecial(): number {
  const sign = st0.sign ^ operand.sign;
  if (st0.kind === KIND.ZERO || operand.kind === KIND.ZERO) {
    if (st0.kind === KIND.INFINITY || operand.kind === KIND.INFINITY) {
      setDefaultNan(result);
      return EXCEPTION.INVALID;
    }
    setZero(result, sign);
    return 0;
  }
  if (st0.kind === KIND.INFINITY && st0.sign !== 0) {
    setDefaultNan(result);
    return EXCEPTION.INVALID;
  }
  if (st0.kind === KIND.INFINITY || operand.kind === KIND.INFINITY) {
    setInfinity(result, sign);
    return 0;
  }
  return -1;
}

/** FYL2X: ST(1)·log2(ST(0)); FYL2XP1 (`plusOne`): ST(1)·log2(ST(0) + 1) for |ST(0)| ≤ 1 − √2/2. */
export function logarithm(state: X87State, plusOne: boolean): void {
  if (!readPair(state)) return;
  let flags = plusOne ? logarithmPlusOneSpecial() : logarithmSpecial();
  const isOrdinary = flags < 0;
  if (isOrdinary) flags = 0;
  if (flags === 0 && (st0.denormal | operand.denormal) !== 0) flags = EXCEPTION.DENORMAL;
  if (isOrdinary) {
    if (plusOne) flags |= logarithmPlusOneOrdinary();
    else logarithmOrdinary(st0);
  }
  finishPair(state, flags);
}
