/** FLD, FST[P], FILD, FIST[P], FISTTP, FBLD, FBSTP, the constants and FCMOVcc: SDM vol. 1 §8.3.2–4, vol. 2 for each. */
import { setInteger, toInteger } from './integer.ts';
import { BINARY32, BINARY64, type FloatFormat, roundResult } from './round.ts';
import {
  EXCEPTION,
  KIND,
  packFloat32,
  packFloat64,
  ROUNDING,
  setInfinity,
  setNormalized,
  setZero,
  unpackFloat32,
  unpackFloat64,
} from './unpacked.ts';
import { operand, propagateNanUnary, result, roundModeOf, st0 } from './x87-arithmetic.ts';
import {
  isEmpty,
  physical,
  pop,
  push,
  raise,
  readRegister,
  roundingControl,
  setC1,
  setTop,
  stackOverflow,
  stackUnderflow,
  unmasked,
  writeDefaultNan,
  writeRaw,
  type X87State,
} from './x87-state.ts';

/** The 16-bit integer operand. */
export function loadInteger16(state: X87State): void {
  const value = (state.memoryWords[0]! << 16) >> 16;
  setInteger(operand, value, value >> 31);
}

export function loadInteger32(state: X87State): void {
  const value = state.memoryWords[0]!;
  setInteger(operand, value, value >> 31);
}

export function loadInteger64(state: X87State): void {
  setInteger(operand, state.memoryWords[0]!, state.memoryWords[1]!);
}

export function loadFloat32(state: X87State): void {
  unpackFloat32(state.memoryWords[0]!, operand, false);
}

export function loadFloat64(state: X87State): void {
  unpackFloat64(state.memoryWords[0]!, state.memoryWords[1]!, operand, false);
}

/** Prepares a push: whether there is room; else raises the overflow and, when masked, pushes the default NaN. */
export function reservePush(state: X87State): boolean {
  if (isEmpty(state, 7)) {
    setC1(state, 0);
    return true;
  }
  if (!stackOverflow(state)) {
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
  }
  return false;
}

/** FLD m32, FLD m64 and FILD: pushes `operand`, which is exact in the double-extended format. */
export function pushOperand(state: X87State): void {
  if (!reservePush(state)) return;
  if (operand.kind >= KIND.QNAN) {
    if (raise(state, propagateNanUnary(operand, result))) return;
    push(state, result);
    return;
  }
  // An unmasked denormal exception does not keep the value from being loaded (*measured*).
  push(state, operand);
  if (operand.denormal !== 0) raise(state, EXCEPTION.DENORMAL);
}

/** Pushes raw bits: FLD m80 and FLD ST(i) raise nothing but stack faults. */
export function pushRaw(state: X87State, low: number, high: number, signExponent: number): void {
  if (!reservePush(state)) return;
  setTop(state, physical(state, 7));
  writeRaw(state, 0, low, high, signExponent);
}

/** FLD ST(i). */
export function pushRegister(state: X87State, i: number): void {
  if (isEmpty(state, i)) {
    if (stackUnderflow(state)) return;
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
    return;
  }
  const index = physical(state, i) * 4;
  const { words } = state;
  pushRaw(state, words[index]!, words[index + 1]!, words[index + 2]!);
}

/** FST ST(i) and FSTP ST(i). */
export function storeRegister(state: X87State, i: number, pops: boolean): void {
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    writeDefaultNan(state, i);
  } else {
    setC1(state, 0);
    const index = physical(state, 0) * 4;
    const { words } = state;
    writeRaw(state, i, words[index]!, words[index + 1]!, words[index + 2]!);
  }
  if (pops) pop(state);
}

/** Ends a store whose bytes are in `memory`: raises the flags; unless unmasked pre-computation, O or U, stores and pops. */
function completeStore(state: X87State, sizeBytes: number, flags: number, pops: boolean): void {
  raise(state, flags);
  if (unmasked(state, flags & ~EXCEPTION.PRECISION)) return;
  state.storeSizeBytes = sizeBytes;
  if (pops) pop(state);
}

function storeFloat(state: X87State, format: FloatFormat, sizeBytes: number, pops: boolean): void {
  let flags = 0;
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    st0.kind = KIND.UNSUPPORTED;
    propagateNanUnary(st0, result);
  } else {
    setC1(state, 0);
    readRegister(state, 0, st0);
    flags = propagateNanUnary(st0, result);
    if (st0.kind < KIND.QNAN) {
      flags = roundResult(result, format, roundingControl(state), roundModeOf(state));
      if (unmasked(state, flags & (EXCEPTION.OVERFLOW | EXCEPTION.UNDERFLOW))) {
        // Nothing is stored: whether the result would be inexact or rounded up is not reported (*measured*).
        raise(state, flags & ~EXCEPTION.PRECISION);
        return;
      }
      setC1(state, result.roundedUp);
    }
  }
  if (sizeBytes === 4) state.memoryWords[0] = packFloat32(result);
  else packFloat64(result, state.memoryWords, 0);
  completeStore(state, sizeBytes, flags, pops);
}

/** FST[P] m32. */
export function storeFloat32(state: X87State, pops: boolean): void {
  storeFloat(state, BINARY32, 4, pops);
}

/** FST[P] m64. */
export function storeFloat64(state: X87State, pops: boolean): void {
  storeFloat(state, BINARY64, 8, pops);
}

/** FSTP m80. */
export function storeFloat80(state: X87State): void {
  const { words, memoryWords } = state;
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    memoryWords[0] = 0;
    memoryWords[1] = 0xc0000000 | 0;
    memoryWords[2] = 0xffff;
  } else {
    setC1(state, 0);
    const index = physical(state, 0) * 4;
    memoryWords[0] = words[index]!;
    memoryWords[1] = words[index + 1]!;
    memoryWords[2] = words[index + 2]! & 0xffff;
  }
  state.storeSizeBytes = 10;
  pop(state);
}

/** FIST[P] and FISTTP (`truncates`) of 16, 32 or 64 bits. */
export function storeInteger(state: X87State, bits: number, truncates: boolean, pops: boolean): void {
  let flags = 0;
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    st0.kind = KIND.UNSUPPORTED;
    toInteger(st0, bits, ROUNDING.NEAREST, state.memoryWords, 0);
  } else {
    readRegister(state, 0, st0);
    const rounding = truncates ? ROUNDING.TOWARD_ZERO : roundingControl(state);
    flags = toInteger(st0, bits, rounding, state.memoryWords, 0);
    setC1(state, st0.roundedUp);
  }
  completeStore(state, bits >>> 3, flags, pops);
}

const integerWords = new Int32Array(2);
const TWO_32 = 4294967296;

/** FBLD: pushes the packed decimal operand; digits above 9 count as their value. */
export function pushDecimal(state: X87State): void {
  const { memory } = state;
  // 18 digits as two halves of 9, each within 32 bits.
  let upper = 0;
  let lower = 0;
  for (let digit = 17; digit >= 0; digit--) {
    const value = (memory[digit >>> 1]! >>> ((digit & 1) * 4)) & 0xf;
    if (digit >= 9) upper = upper * 10 + value;
    else lower = lower * 10 + value;
  }
  const scaledLow = (upper % 65536) * 1e9;
  const scaledHigh = Math.floor(upper / 65536) * 1e9;
  // upper · 10^9 + lower in two words, each step below 2^53.
  const low = (scaledHigh % 65536) * 65536 + scaledLow + lower;
  const high = Math.floor(scaledHigh / 65536) + Math.floor(low / TWO_32);
  setNormalized(operand, memory[9]! >>> 7, 63, high | 0, (low % TWO_32) | 0);
  operand.denormal = 0;
  pushOperand(state);
}

/** The largest magnitude of FBSTP: 10^18 − 1. */
const DECIMAL_MAX = { HIGH: 0x0de0b6b3, LOW: 0xa763ffff } as const;

/** Writes the packed decimal indefinite (SDM vol. 1 table 4-4). */
function setDecimalIndefinite(state: X87State): void {
  const { memoryWords } = state;
  memoryWords[0] = 0;
  memoryWords[1] = 0xc0000000 | 0;
  memoryWords[2] = 0xffff;
}

/** Writes the digits of the unsigned integer high:low, below 10^18. */
function writeDecimal(state: X87State, low: number, high: number, sign: number): void {
  const { memory } = state;
  let top = high >>> 0;
  let bottom = low >>> 0;
  for (let i = 0; i < 9; i++) {
    // Divide by 100 in 16-bit steps from the top.
    const middle = (top % 100) * 65536 + (bottom >>> 16);
    const last = (middle % 100) * 65536 + (bottom & 0xffff);
    top = Math.floor(top / 100);
    bottom = Math.floor(middle / 100) * 65536 + Math.floor(last / 100);
    const pair = last % 100;
    memory[i] = (Math.floor(pair / 10) << 4) | (pair % 10);
  }
  memory[9] = sign << 7;
}

/** FBSTP. */
export function storeDecimal(state: X87State): void {
  let flags = 0;
  if (isEmpty(state, 0)) {
    if (stackUnderflow(state)) return;
    setDecimalIndefinite(state);
  } else {
    readRegister(state, 0, st0);
    const { sign } = st0;
    if (st0.kind === KIND.FINITE) st0.sign = 0;
    // Rounding applies to the signed value; its magnitude is rounded with the mode mirrored.
    const rounding = roundingControl(state);
    const mirrored = sign === 0 || (rounding & 1) === rounding >>> 1 ? rounding : rounding ^ 3;
    flags = toInteger(st0, 64, mirrored, integerWords, 0);
    setC1(state, st0.roundedUp);
    const high = integerWords[1]!;
    const low = integerWords[0]! >>> 0;
    const tooLarge = high < 0 || high > DECIMAL_MAX.HIGH || (high === DECIMAL_MAX.HIGH && low > DECIMAL_MAX.LOW);
    if (tooLarge || (flags & EXCEPTION.INVALID) !== 0) {
      flags = EXCEPTION.INVALID;
      setC1(state, 0);
      setDecimalIndefinite(state);
    } else {
      writeDecimal(state, low, high, sign);
    }
  }
  completeStore(state, 10, flags, true);
}

/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 (by the opcode's low 3 bits): significand cut to 64 bits, and the next 32. */
const CONSTANTS = [
  { exponent: 0, high: 0x80000000, low: 0, rest: 0 },
  { exponent: 1, high: 0xd49a784b, low: 0xcd1b8afe, rest: 0x492bf6ff },
  { exponent: 0, high: 0xb8aa3b29, low: 0x5c17f0bb, rest: 0xbe87fed0 },
  { exponent: 1, high: 0xc90fdaa2, low: 0x2168c234, rest: 0xc4c6628b },
  { exponent: -2, high: 0x9a209a84, low: 0xfbcff798, rest: 0x8f8959ac },
  { exponent: -1, high: 0xb17217f7, low: 0xd1cf79ab, rest: 0xc9e3b398 },
] as const;

/** FLD1 … FLDLN2, FLDZ (7): rounded by RC to 64 bits whatever PC says; no precision exception. */
export function pushConstant(state: X87State, index: number): void {
  if (!reservePush(state)) return;
  const constant = CONSTANTS[index];
  if (constant === undefined) {
    setZero(result, 0);
    push(state, result);
    return;
  }
  const rounding = roundingControl(state);
  // None has 64 trailing bits that lie at a tie, nor all ones: adding 1 to the last place never carries into `high`.
  const roundsUp =
    constant.rest !== 0 && (rounding === ROUNDING.UP || (rounding === ROUNDING.NEAREST && constant.rest > 0x7fffffff));
  setInfinity(result, 0);
  result.kind = KIND.FINITE;
  result.exponent = constant.exponent;
  result.high = constant.high | 0;
  result.low = (constant.low + (roundsUp ? 1 : 0)) | 0;
  push(state, result);
}

const FLAG = { CF: 0x01, PF: 0x04, ZF: 0x40 } as const;

/** FCMOVcc: the condition by bits 1:0 (B, E, BE, U), negated. */
export function conditionalMove(state: X87State, condition: number, negated: boolean, i: number): void {
  if (isEmpty(state, 0) || isEmpty(state, i)) {
    if (!stackUnderflow(state)) writeDefaultNan(state, 0);
    return;
  }
  const mask = condition === 0 ? FLAG.CF : condition === 1 ? FLAG.ZF : condition === 2 ? FLAG.CF | FLAG.ZF : FLAG.PF;
  if (((state.flagsIn & mask) !== 0) === negated) return;
  const index = physical(state, i) * 4;
  const { words } = state;
  writeRaw(state, 0, words[index]!, words[index + 1]!, words[index + 2]!);
}
