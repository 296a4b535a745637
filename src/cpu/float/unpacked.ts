/**
 * Floating-point values taken apart: class, sign, exponent, 64-bit significand. One form for binary32, binary64 and the
 * x87 double-extended format (Intel SDM vol. 1 §4.2.2, §4.8, §8.2.2), so that each arithmetic operation stands once.
 *
 * All fields are 32-bit integers, so that objects made once are reused without any allocation.
 */

/** Classes of values; from QNAN on the value has no number. UNSUPPORTED are the invalid x87 encodings (SDM table 8-3). */
export const KIND = { ZERO: 0, FINITE: 1, INFINITY: 2, QNAN: 3, SNAN: 4, UNSUPPORTED: 5 } as const;

/** Exception flags, at the same place in MXCSR (SDM vol. 1 §10.2.3) and in the x87 status word (§8.1.3). */
export const EXCEPTION = {
  INVALID: 1,
  DENORMAL: 2,
  ZERO_DIVIDE: 4,
  OVERFLOW: 8,
  UNDERFLOW: 16,
  PRECISION: 32,
} as const;

/** Rounding control, as encoded in MXCSR.RC and in the x87 control word (SDM vol. 1 table 4-8). */
export const ROUNDING = { NEAREST: 0, DOWN: 1, UP: 2, TOWARD_ZERO: 3 } as const;

/**
 * A value, or a result not yet rounded. A FINITE value is (high:low:rest) · 2^(exponent − 63 − 32) read as a 96-bit integer:
 * before rounding bit 31 of `high` is set; `rest` holds the bits below the significand, its bit 0 being sticky. A NaN has its
 * payload left-aligned: bit 31 of `high` the integer bit, bit 30 the quiet bit.
 */
export class Unpacked {
  kind: number = KIND.ZERO;
  sign = 0;
  exponent = 0;
  high = 0;
  low = 0;
  rest = 0;
  /** 1 when the source encoding was denormal (or pseudo-denormal). */
  denormal = 0;
  /** 1 when the last rounding increased the magnitude (x87 condition code C1). */
  roundedUp = 0;
}

export function setZero(value: Unpacked, sign: number): void {
  value.kind = KIND.ZERO;
  value.sign = sign;
  value.exponent = 0;
  value.high = 0;
  value.low = 0;
  value.rest = 0;
}

export function setInfinity(value: Unpacked, sign: number): void {
  value.kind = KIND.INFINITY;
  value.sign = sign;
  value.exponent = 0;
  value.high = 0x80000000 | 0;
  value.low = 0;
  value.rest = 0;
}

/** The default NaN ("QNaN floating-point indefinite", SDM vol. 1 table 4-3). */
export function setDefaultNan(value: Unpacked): void {
  value.kind = KIND.QNAN;
  value.sign = 1;
  value.exponent = 0;
  value.high = 0xc0000000 | 0;
  value.low = 0;
  value.rest = 0;
}

/** Copies a value; a signalling NaN becomes quiet. */
export function copyQuiet(target: Unpacked, source: Unpacked): void {
  target.kind = source.kind === KIND.SNAN ? KIND.QNAN : source.kind;
  target.sign = source.sign;
  target.exponent = source.exponent;
  target.high = source.kind === KIND.SNAN ? source.high | 0x40000000 : source.high;
  target.low = source.low;
  target.rest = source.rest;
}

/** Sets value = (−1)^sign · (high:low) · 2^(exponent − 63) and normalises; an integer of 0 gives a zero of that sign. */
export function setNormalized(value: Unpacked, sign: number, exponent: number, high: number, low: number): void {
  if ((high | low) === 0) {
    setZero(value, sign);
    return;
  }
  let shift = 0;
  if (high === 0) {
    high = low;
    low = 0;
    shift = 32;
  }
  const zeros = Math.clz32(high);
  if (zeros !== 0) {
    high = (high << zeros) | (low >>> (32 - zeros));
    low <<= zeros;
  }
  value.kind = KIND.FINITE;
  value.sign = sign;
  value.exponent = exponent - shift - zeros;
  value.high = high | 0;
  value.low = low | 0;
  value.rest = 0;
}

function setNan(value: Unpacked, quietBit: number, high: number, low: number): void {
  value.kind = quietBit !== 0 ? KIND.QNAN : KIND.SNAN;
  value.exponent = 0;
  value.high = high | 0x80000000;
  value.low = low | 0;
  value.rest = 0;
}

/** Takes a binary32 apart; with `denormalsAreZero` a denormal counts as a zero of its sign (MXCSR.DAZ). */
export function unpackFloat32(bits: number, value: Unpacked, denormalsAreZero: boolean): void {
  const sign = bits >>> 31;
  const biased = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  value.sign = sign;
  value.denormal = 0;
  if (biased === 0xff) {
    if (fraction === 0) setInfinity(value, sign);
    else setNan(value, fraction & 0x400000, fraction << 8, 0);
  } else if (biased !== 0) {
    value.kind = KIND.FINITE;
    value.exponent = biased - 127;
    value.high = (fraction << 8) | 0x80000000;
    value.low = 0;
    value.rest = 0;
  } else if (fraction === 0 || denormalsAreZero) {
    setZero(value, sign);
  } else {
    value.denormal = 1;
    setNormalized(value, sign, -126, fraction << 8, 0);
  }
}

/** Takes a binary64, given as its two words, apart. */
export function unpackFloat64(lowBits: number, highBits: number, value: Unpacked, denormalsAreZero: boolean): void {
  const sign = highBits >>> 31;
  const biased = (highBits >>> 20) & 0x7ff;
  const fraction = highBits & 0xfffff;
  const high = (fraction << 11) | (lowBits >>> 21);
  const low = lowBits << 11;
  value.sign = sign;
  value.denormal = 0;
  if (biased === 0x7ff) {
    if ((fraction | lowBits) === 0) setInfinity(value, sign);
    else setNan(value, fraction & 0x80000, high, low);
  } else if (biased !== 0) {
    value.kind = KIND.FINITE;
    value.exponent = biased - 1023;
    value.high = high | 0x80000000;
    value.low = low;
    value.rest = 0;
  } else if ((fraction | lowBits) === 0 || denormalsAreZero) {
    setZero(value, sign);
  } else {
    value.denormal = 1;
    setNormalized(value, sign, -1022, high, low);
  }
}

/** Takes an x87 register or an 80-bit memory operand apart: the significand's two words, and sign with exponent. */
export function unpackFloat80(low: number, high: number, signExponent: number, value: Unpacked): void {
  const sign = (signExponent >>> 15) & 1;
  const biased = signExponent & 0x7fff;
  value.sign = sign;
  value.denormal = 0;
  if (biased === 0) {
    if ((high | low) === 0) {
      setZero(value, sign);
    } else {
      value.denormal = 1;
      setNormalized(value, sign, -16382, high, low);
    }
  } else if (high >= 0) {
    // The integer bit is clear: an unnormal, a pseudo-infinity or a pseudo-NaN.
    value.kind = KIND.UNSUPPORTED;
    value.high = high;
    value.low = low;
    value.rest = 0;
  } else if (biased !== 0x7fff) {
    value.kind = KIND.FINITE;
    value.exponent = biased - 16383;
    value.high = high | 0;
    value.low = low | 0;
    value.rest = 0;
  } else if (((high << 1) | low) === 0) {
    setInfinity(value, sign);
  } else {
    setNan(value, high & 0x40000000, high, low);
  }
}

/** The bits of a value that has been rounded to binary32. */
export function packFloat32(value: Unpacked): number {
  const sign = value.sign << 31;
  if (value.kind === KIND.FINITE) {
    const fraction = (value.high >>> 8) & 0x7fffff;
    return sign | (value.high < 0 ? ((value.exponent + 127) << 23) | fraction : fraction);
  }
  if (value.kind === KIND.ZERO) return sign;
  return sign | 0x7f800000 | ((value.high >>> 8) & 0x7fffff);
}

/** Writes a value that has been rounded to binary64 as two words. */
export function packFloat64(value: Unpacked, words: Int32Array, index: number): void {
  let high = value.sign << 31;
  let low = 0;
  if (value.kind !== KIND.ZERO) {
    low = (value.high << 21) | (value.low >>> 11);
    high |= (value.high >>> 11) & 0xfffff;
    if (value.kind !== KIND.FINITE) high |= 0x7ff00000;
    else if (value.high < 0) high |= (value.exponent + 1023) << 20;
  }
  words[index] = low;
  words[index + 1] = high;
}

/** The sign and exponent word of a value that has been rounded to the double-extended format. */
export function packSignExponent(value: Unpacked): number {
  const sign = value.sign << 15;
  if (value.kind === KIND.ZERO) return sign;
  if (value.kind !== KIND.FINITE) return sign | 0x7fff;
  return value.high < 0 ? sign | (value.exponent + 16383) : sign;
}
