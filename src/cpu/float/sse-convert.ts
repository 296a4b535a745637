/**
 * CVT* (SDM vol. 2). Signatures and results: see sse-view.ts. A general register or an MMX register is two words at the
 * given index; a 32-bit integer result clears the upper one, as a 32-bit write in 64-bit mode does.
 */
import { setInteger, toInteger } from './integer.ts';
import { BINARY32, BINARY64 } from './round.ts';
import type { SseFunction } from './sse-arithmetic.ts';
import { roundSse } from './sse-lane.ts';
import { commit, lanes, MXCSR, type SseView } from './sse-view.ts';
import {
  copyQuiet,
  EXCEPTION,
  KIND,
  packFloat32,
  packFloat64,
  ROUNDING,
  Unpacked,
  unpackFloat32,
  unpackFloat64,
} from './unpacked.ts';

const operand = new Unpacked();
const result = new Unpacked();
const TWO_32 = 4294967296;
/** Adding and subtracting this rounds a double of less than 2^51 to an integer, ties to even. */
const INTEGER_MAGIC = 6755399441055744;

/** Rounding control as an argument: MXCSR.RC or the truncation of CVTT*. */
function roundingOf(mxcsr: number, truncates: boolean): number {
  return truncates ? ROUNDING.TOWARD_ZERO : (mxcsr >>> MXCSR.ROUNDING_SHIFT) & 3;
}

/**
 * Writes the integer of a number by the host's arithmetic to lanes.words[index], [index + 1]; −1 where it does not apply:
 * out of range, NaN, denormal (for DAZ), a rounding other than to nearest or zero.
 */
function fastToInteger(x: number, limit: number, minNormal: number, rounding: number, index: number): number {
  const size = Math.abs(x);
  if (!(size < limit) || (size < minNormal && size !== 0)) return -1;
  let integer: number;
  if (rounding === ROUNDING.TOWARD_ZERO || size >= 2 ** 51) integer = Math.trunc(x);
  else if (rounding === ROUNDING.NEAREST) integer = x + INTEGER_MAGIC - INTEGER_MAGIC;
  else return -1;
  // A double from 2^51 may still have a fraction of one or two bits: only truncation is right there.
  if (integer !== x && size >= 2 ** 51 && rounding !== ROUNDING.TOWARD_ZERO) return -1;
  if (Math.abs(integer) >= limit) return -1;
  const high = Math.floor(integer / TWO_32);
  lanes.words[index] = (integer - high * TWO_32) | 0;
  lanes.words[index + 1] = high | 0;
  return integer === x ? 0 : EXCEPTION.PRECISION;
}

/** The bound of the fast path: below 2^(bits − 1). */
function integerLimit(bits: number): number {
  return bits === 64 ? 2 ** 63 : 2 ** 31;
}

function integerFrom32(
  view: SseView,
  src: number,
  bits: number,
  mxcsr: number,
  truncates: boolean,
  index: number,
): number {
  const rounding = roundingOf(mxcsr, truncates);
  const flags = fastToInteger(view.singles[src]!, integerLimit(bits), 2 ** -126, rounding, index);
  if (flags >= 0) return flags;
  unpackFloat32(view.words[src]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  return toInteger(operand, bits, rounding, lanes.words, index);
}

function integerFrom64(
  view: SseView,
  src: number,
  bits: number,
  mxcsr: number,
  truncates: boolean,
  index: number,
): number {
  const rounding = roundingOf(mxcsr, truncates);
  const flags = fastToInteger(view.doubles[src >>> 1]!, integerLimit(bits), 2 ** -1022, rounding, index);
  if (flags >= 0) return flags;
  unpackFloat64(view.words[src]!, view.words[src + 1]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  return toInteger(operand, bits, rounding, lanes.words, index);
}

type IntegerSource = typeof integerFrom32;

/** CVT[T]Sx2SI to a general register of two words. */
function scalarToInteger(convert: IntegerSource, bits: number, truncates: boolean): SseFunction {
  return (view, dst, src, mxcsr) => {
    const flags = convert(view, src, bits, mxcsr, truncates, 0);
    if (bits === 32) lanes.words[1] = 0;
    return commit(view, dst, 2, flags, mxcsr);
  };
}

/** Packed conversions of `count` lanes to 32-bit integers; writes `written` words, those without a lane being 0. */
function packedToInteger(
  convert: IntegerSource,
  truncates: boolean,
  laneWords: number,
  count: number,
  written: number,
): SseFunction {
  return (view, dst, src, mxcsr) => {
    let flags = 0;
    // Ascending order: the upper word that a lane leaves is overwritten by the next lane.
    for (let i = 0; i < count; i++) flags |= convert(view, src + i * laneWords, 32, mxcsr, truncates, i);
    for (let i = count; i < written; i++) lanes.words[i] = 0;
    return commit(view, dst, written, flags, mxcsr);
  };
}

/** A signed 64-bit integer to lanes.doubles[lane]. */
function doubleFromInteger(low: number, high: number, mxcsr: number, lane: number): number {
  if (high === low >> 31) {
    lanes.doubles[lane] = low;
    return 0;
  }
  setInteger(operand, low, high);
  const flags = roundSse(operand, BINARY64, mxcsr);
  packFloat64(operand, lanes.words, lane * 2);
  return flags;
}

function singleFromInteger(low: number, high: number, mxcsr: number, lane: number): number {
  if (high === low >> 31 && (mxcsr & MXCSR.ROUNDING) === 0) {
    const single = Math.fround(low);
    lanes.singles[lane] = single;
    return single === low ? 0 : EXCEPTION.PRECISION;
  }
  setInteger(operand, low, high);
  const flags = roundSse(operand, BINARY32, mxcsr);
  lanes.words[lane] = packFloat32(operand);
  return flags;
}

function integerToDouble(bits: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    const low = view.words[src]!;
    const high = bits === 64 ? view.words[src + 1]! : low >> 31;
    return commit(view, dst, 2, doubleFromInteger(low, high, mxcsr, 0), mxcsr);
  };
}

function integerToSingle(bits: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    const low = view.words[src]!;
    const high = bits === 64 ? view.words[src + 1]! : low >> 31;
    return commit(view, dst, 1, singleFromInteger(low, high, mxcsr, 0), mxcsr);
  };
}

/** CVTDQ2PS (4 lanes) and CVTPI2PS (2). */
function integersToSingles(count: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    let flags = 0;
    for (let i = 0; i < count; i++) {
      const low = view.words[src + i]!;
      flags |= singleFromInteger(low, low >> 31, mxcsr, i);
    }
    return commit(view, dst, count, flags, mxcsr);
  };
}

/** CVTDQ2PD and CVTPI2PD. */
const integersToDoubles: SseFunction = (view, dst, src, mxcsr) => {
  lanes.doubles[0] = view.words[src]!;
  lanes.doubles[1] = view.words[src + 1]!;
  return commit(view, dst, 4, 0, mxcsr);
};

/** binary32 at word src to lanes.doubles[lane]: exact. */
function widen(view: SseView, src: number, mxcsr: number, lane: number): number {
  const x = view.singles[src]!;
  if (Math.abs(x) >= 2 ** -126 || x === 0) {
    lanes.doubles[lane] = x;
    return 0;
  }
  unpackFloat32(view.words[src]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  copyQuiet(result, operand);
  packFloat64(result, lanes.words, lane * 2);
  if (operand.kind === KIND.SNAN) return EXCEPTION.INVALID;
  return operand.denormal !== 0 ? EXCEPTION.DENORMAL : 0;
}

/** binary64 at words src, src + 1 to lanes.words[lane] as binary32. */
function narrow(view: SseView, src: number, mxcsr: number, lane: number): number {
  const x = view.doubles[src >>> 1]!;
  const single = Math.fround(x);
  const size = Math.abs(single);
  if ((size > 2 ** -126 && size < Number.POSITIVE_INFINITY && (mxcsr & MXCSR.ROUNDING) === 0) || x === 0) {
    lanes.singles[lane] = single;
    return single === x ? 0 : EXCEPTION.PRECISION;
  }
  unpackFloat64(view.words[src]!, view.words[src + 1]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  let flags = operand.kind === KIND.SNAN ? EXCEPTION.INVALID : 0;
  if (operand.denormal !== 0) flags = EXCEPTION.DENORMAL;
  copyQuiet(result, operand);
  flags |= roundSse(result, BINARY32, mxcsr);
  lanes.words[lane] = packFloat32(result);
  return flags;
}

const cvtss2sd: SseFunction = (view, dst, src, mxcsr) => commit(view, dst, 2, widen(view, src, mxcsr, 0), mxcsr);

const cvtsd2ss: SseFunction = (view, dst, src, mxcsr) => commit(view, dst, 1, narrow(view, src, mxcsr, 0), mxcsr);

const cvtps2pd: SseFunction = (view, dst, src, mxcsr) =>
  commit(view, dst, 4, widen(view, src, mxcsr, 0) | widen(view, src + 1, mxcsr, 1), mxcsr);

const cvtpd2ps: SseFunction = (view, dst, src, mxcsr) => {
  const flags = narrow(view, src, mxcsr, 0) | narrow(view, src + 2, mxcsr, 1);
  lanes.words[2] = 0;
  lanes.words[3] = 0;
  return commit(view, dst, 4, flags, mxcsr);
};

/** By mnemonic; conversions from and to a general register carry its width in bits. */
export const sseConvert = {
  cvtsi2ss32: integerToSingle(32),
  cvtsi2ss64: integerToSingle(64),
  cvtsi2sd32: integerToDouble(32),
  cvtsi2sd64: integerToDouble(64),
  cvtss2si32: scalarToInteger(integerFrom32, 32, false),
  cvtss2si64: scalarToInteger(integerFrom32, 64, false),
  cvttss2si32: scalarToInteger(integerFrom32, 32, true),
  cvttss2si64: scalarToInteger(integerFrom32, 64, true),
  cvtsd2si32: scalarToInteger(integerFrom64, 32, false),
  cvtsd2si64: scalarToInteger(integerFrom64, 64, false),
  cvttsd2si32: scalarToInteger(integerFrom64, 32, true),
  cvttsd2si64: scalarToInteger(integerFrom64, 64, true),
  cvtss2sd,
  cvtsd2ss,
  cvtps2pd,
  cvtpd2ps,
  cvtdq2ps: integersToSingles(4),
  cvtdq2pd: integersToDoubles,
  cvtps2dq: packedToInteger(integerFrom32, false, 1, 4, 4),
  cvttps2dq: packedToInteger(integerFrom32, true, 1, 4, 4),
  cvtpd2dq: packedToInteger(integerFrom64, false, 2, 2, 4),
  cvttpd2dq: packedToInteger(integerFrom64, true, 2, 2, 4),
  cvtpi2ps: integersToSingles(2),
  cvtpi2pd: integersToDoubles,
  cvtps2pi: packedToInteger(integerFrom32, false, 1, 2, 2),
  cvttps2pi: packedToInteger(integerFrom32, true, 1, 2, 2),
  cvtpd2pi: packedToInteger(integerFrom64, false, 2, 2, 2),
  cvttpd2pi: packedToInteger(integerFrom64, true, 2, 2, 2),
} as const satisfies Record<string, SseFunction>;
