/**
 * FADD, FSUB[R], FMUL, FDIV[R], FSQRT, FCOM and FUCOM families: SDM vol. 1 §8.3, §8.5, vol. 2.
 */
import { add, divide, multiply, squareRoot } from './arithmetic.ts';
import { compare, ORDER } from './compare.ts';
import { EXTENDED80, EXTENDED80_PC24, EXTENDED80_PC53, type FloatFormat, ROUND_MODE, roundResult } from './round.ts';
import { copyQuiet, EXCEPTION, KIND, setDefaultNan, setInfinity, setZero, Unpacked } from './unpacked.ts';
import {
  CONTROL,
  isEmpty,
  pop,
  raise,
  readRegister,
  roundingControl,
  STATUS,
  setC1,
  setConditions,
  stackUnderflow,
  unmasked,
  WORD,
  writeDefaultNan,
  writeRegister,
  type X87State,
} from './x87-state.ts';

/** ST(0) and the other operand of the instruction under way, and its result. */
export const st0 = new Unpacked();
export const operand = new Unpacked();
export const result = new Unpacked();

/** The bias adjustment of an unmasked overflow or underflow in a register (SDM vol. 1 §8.5.4, §8.5.5). */
const EXPONENT_ADJUSTMENT = 24576;

/** Operations by the reg field of the ModRM byte. */
const OPERATION = {
  ADD: 0,
  MULTIPLY: 1,
  COMPARE: 2,
  COMPARE_POP: 3,
  SUBTRACT: 4,
  SUBTRACT_REVERSED: 5,
  DIVIDE: 6,
} as const;

/** The format of arithmetic results under the precision control field (SDM vol. 1 table 8-2). */
function precisionFormat(state: X87State): FloatFormat {
  const control = (state.words[WORD.CONTROL]! >>> CONTROL.PRECISION_SHIFT) & 3;
  return control === 0 ? EXTENDED80_PC24 : control === 2 ? EXTENDED80_PC53 : EXTENDED80;
}

/** The rounding modes that unmasked overflow and underflow ask for. */
export function roundModeOf(state: X87State): number {
  const masks = state.words[WORD.CONTROL]!;
  return (
    ((masks & EXCEPTION.OVERFLOW) === 0 ? ROUND_MODE.OVERFLOW_UNMASKED : 0) |
    ((masks & EXCEPTION.UNDERFLOW) === 0 ? ROUND_MODE.UNDERFLOW_UNMASKED : 0)
  );
}

/** The larger of two NaNs' significands; with equal ones the positive operand (*measured*). */
function largerNan(a: Unpacked, b: Unpacked): Unpacked {
  if (a.high !== b.high) return a.high >>> 0 > b.high >>> 0 ? a : b;
  if (a.low !== b.low) return a.low >>> 0 > b.low >>> 0 ? a : b;
  return a.sign <= b.sign ? a : b;
}

/** Chooses the result of an operation with a NaN or unsupported operand (SDM vol. 1 table 4-7); returns INVALID or 0. */
export function propagateNan(a: Unpacked, b: Unpacked, target: Unpacked): number {
  if (a.kind === KIND.UNSUPPORTED || b.kind === KIND.UNSUPPORTED) {
    setDefaultNan(target);
    return EXCEPTION.INVALID;
  }
  let source: Unpacked;
  if (a.kind < KIND.QNAN) source = b;
  else if (b.kind < KIND.QNAN) source = a;
  else if (a.kind !== b.kind) source = a.kind === KIND.QNAN ? a : b;
  else source = largerNan(a, b);
  copyQuiet(target, source);
  return a.kind === KIND.SNAN || b.kind === KIND.SNAN ? EXCEPTION.INVALID : 0;
}

/** As `propagateNan` for one operand. */
export function propagateNanUnary(a: Unpacked, target: Unpacked): number {
  if (a.kind === KIND.UNSUPPORTED) {
    setDefaultNan(target);
    return EXCEPTION.INVALID;
  }
  copyQuiet(target, a);
  return a.kind === KIND.SNAN ? EXCEPTION.INVALID : 0;
}

/**
 * Scales the result of an unmasked overflow or underflow. FSCALE's may still lie outside the format then: it becomes an
 * infinity (counting as rounded up) or a zero, whatever the rounding control says (*measured*).
 */
function adjustExponent(amount: number): number {
  result.exponent += amount;
  if (result.exponent > EXTENDED80.maxExponent) {
    setInfinity(result, result.sign);
    result.roundedUp = 1;
    return EXCEPTION.PRECISION;
  }
  if (result.exponent < EXTENDED80.minExponent) {
    setZero(result, result.sign);
    result.roundedUp = 0;
    return EXCEPTION.PRECISION;
  }
  return 0;
}

/**
 * Rounds `result` to the format and writes it to ST(i) with its exceptions: `flags` are the pre-computation ones, known to be
 * masked. Sets C1.
 */
export function finish(state: X87State, i: number, format: FloatFormat, flags: number): void {
  let post = roundResult(result, format, roundingControl(state), roundModeOf(state));
  if (unmasked(state, post & EXCEPTION.OVERFLOW)) post |= adjustExponent(-EXPONENT_ADJUSTMENT);
  if (unmasked(state, post & EXCEPTION.UNDERFLOW)) post |= adjustExponent(EXPONENT_ADJUSTMENT);
  setC1(state, result.roundedUp);
  writeRegister(state, i, result);
  raise(state, flags | post);
}

/** Computes st0 op operand into `result`; returns INVALID or ZERO_DIVIDE, if raised. */
function compute(state: X87State, op: number): number {
  switch (op) {
    case OPERATION.ADD:
      return add(st0, operand, operand.sign, roundingControl(state), result);
    case OPERATION.MULTIPLY:
      return multiply(st0, operand, result);
    case OPERATION.SUBTRACT:
      return add(st0, operand, operand.sign ^ 1, roundingControl(state), result);
    case OPERATION.SUBTRACT_REVERSED:
      return add(operand, st0, st0.sign ^ 1, roundingControl(state), result);
    case OPERATION.DIVIDE:
      return divide(st0, operand, result);
    default:
      return divide(operand, st0, result);
  }
}

/**
 * ST(destination) = ST(0) op operand, with the operation of the reg field (not a comparison); `st0` and `operand` hold the
 * operands. Returns whether the instruction completes, so that it may pop.
 */
function arithmetic(state: X87State, op: number, destination: number): boolean {
  setC1(state, 0);
  if (st0.kind >= KIND.QNAN || operand.kind >= KIND.QNAN) {
    if (raise(state, propagateNan(st0, operand, result))) return false;
    writeRegister(state, destination, result);
    return true;
  }
  let flags = compute(state, op);
  if (flags !== 0) result.roundedUp = 0;
  else if ((st0.denormal | operand.denormal) !== 0) flags = EXCEPTION.DENORMAL;
  if (unmasked(state, flags)) {
    raise(state, flags);
    return false;
  }
  finish(state, destination, precisionFormat(state), flags);
  return true;
}

/** Writes C3, C2, C0 of a comparison. */
function setOrder(state: X87State, order: number): void {
  const conditions =
    order === ORDER.GREATER
      ? 0
      : order === ORDER.LESS
        ? STATUS.C0
        : order === ORDER.EQUAL
          ? STATUS.C3
          : STATUS.C0 | STATUS.C2 | STATUS.C3;
  setConditions(state, conditions);
}

/** The exceptions of a comparison of st0 with operand. */
function comparisonFlags(order: number, quiet: boolean): number {
  if (order === ORDER.UNORDERED) {
    const signals = !quiet || st0.kind >= KIND.SNAN || operand.kind >= KIND.SNAN;
    return signals ? EXCEPTION.INVALID : 0;
  }
  return (st0.denormal | operand.denormal) !== 0 ? EXCEPTION.DENORMAL : 0;
}

/**
 * FCOM, FUCOM (`quiet`): compares st0 with operand into C3, C2, C0, which are written even when an exception is unmasked
 * (*measured*; the manual says otherwise). Returns whether the instruction completes.
 */
function compareToConditions(state: X87State, quiet: boolean): boolean {
  const order = compare(st0, operand);
  setOrder(state, order);
  return !raise(state, comparisonFlags(order, quiet));
}

/** A comparison with an empty register; returns whether it completes. */
function compareEmpty(state: X87State): boolean {
  const isUnmasked = stackUnderflow(state);
  setOrder(state, ORDER.UNORDERED);
  return !isUnmasked;
}

/** An arithmetic or comparing instruction with a memory operand, already in `operand`; `reg` is the ModRM field. */
export function arithmeticMemory(state: X87State, reg: number): void {
  const compares = reg === OPERATION.COMPARE || reg === OPERATION.COMPARE_POP;
  if (isEmpty(state, 0)) {
    if (!compares) {
      if (!stackUnderflow(state)) writeDefaultNan(state, 0);
      return;
    }
    if (!compareEmpty(state)) return;
  } else {
    readRegister(state, 0, st0);
    if (!compares) {
      arithmetic(state, reg, 0);
      return;
    }
    if (!compareToConditions(state, false)) return;
  }
  if (reg === OPERATION.COMPARE_POP) pop(state);
}

/** FADD … FDIVR between ST(0) and ST(i), to either; `pops` for the P forms. */
export function arithmeticRegister(state: X87State, reg: number, i: number, destination: number, pops: boolean): void {
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    if (stackUnderflow(state)) return;
    writeDefaultNan(state, destination);
  } else {
    readRegister(state, 0, st0);
    readRegister(state, i, operand);
    if (!arithmetic(state, reg, destination)) return;
  }
  if (pops) pop(state);
}

/** FCOM, FCOMP, FCOMPP, FUCOM, FUCOMP, FUCOMPP: compares ST(0) with ST(i), then pops `pops` times. */
export function compareRegister(state: X87State, i: number, quiet: boolean, pops: number): void {
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    if (!compareEmpty(state)) return;
  } else {
    readRegister(state, 0, st0);
    readRegister(state, i, operand);
    if (!compareToConditions(state, quiet)) return;
  }
  for (let n = 0; n < pops; n++) pop(state);
}

/** EFLAGS of F[U]COMI[P]. */
const EFLAGS = { CF: 0x01, PF: 0x04, ZF: 0x40, WRITTEN: 0x8d5 } as const;

function orderToEflags(order: number): number {
  if (order === ORDER.GREATER) return 0;
  if (order === ORDER.LESS) return EFLAGS.CF;
  return order === ORDER.EQUAL ? EFLAGS.ZF : EFLAGS.ZF | EFLAGS.PF | EFLAGS.CF;
}

/** FCOMI, FUCOMI and their P forms: compares ST(0) with ST(i) into flagsOut. */
export function compareToEflags(state: X87State, i: number, quiet: boolean, pops: boolean): void {
  let order: number = ORDER.UNORDERED;
  let completes: boolean;
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    completes = !stackUnderflow(state);
  } else {
    readRegister(state, 0, st0);
    readRegister(state, i, operand);
    order = compare(st0, operand);
    completes = !raise(state, comparisonFlags(order, quiet));
  }
  // Written even when an exception is unmasked, as the conditions of FCOM are; C1 stays.
  state.flagsOut = (state.flagsIn & ~EFLAGS.WRITTEN) | orderToEflags(order);
  if (pops && completes) pop(state);
}

/** FTST: compares ST(0) with +0. */
export function test(state: X87State): void {
  if (isEmpty(state, 0)) {
    compareEmpty(state);
    return;
  }
  readRegister(state, 0, st0);
  operand.kind = KIND.ZERO;
  operand.sign = 0;
  operand.denormal = 0;
  compareToConditions(state, false);
}

/**
 * Reads ST(0) for a one-operand instruction, dealing with an empty register and NaNs. Returns whether there is a number to
 * work on.
 */
export function readUnary(state: X87State): boolean {
  if (isEmpty(state, 0)) {
    if (!stackUnderflow(state)) writeDefaultNan(state, 0);
    return false;
  }
  setC1(state, 0);
  readRegister(state, 0, st0);
  if (st0.kind < KIND.QNAN) return true;
  if (!raise(state, propagateNanUnary(st0, result))) writeRegister(state, 0, result);
  return false;
}

/** Raises a pre-computation exception; when masked, writes `result` (a special value) to ST(0). */
export function finishSpecial(state: X87State, flags: number): void {
  if (raise(state, flags)) return;
  writeRegister(state, 0, result);
}

/** FSQRT. */
export function squareRootTop(state: X87State): void {
  if (!readUnary(state)) return;
  const invalid = squareRoot(st0, result);
  if (invalid !== 0) {
    finishSpecial(state, invalid);
    return;
  }
  const flags = st0.denormal !== 0 ? EXCEPTION.DENORMAL : 0;
  if (unmasked(state, flags)) raise(state, flags);
  else finish(state, 0, precisionFormat(state), flags);
}
