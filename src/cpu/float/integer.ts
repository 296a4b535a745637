/** Conversion between unpacked values and two's complement integers of 16, 32 and 64 bits. */
import { roundToIntegral } from './round.ts';
import { EXCEPTION, KIND, setNormalized, type Unpacked } from './unpacked.ts';

/** Sets value to the signed 64-bit integer high:low. */
export function setInteger(value: Unpacked, low: number, high: number): void {
  value.denormal = 0;
  if (high < 0) {
    const negatedLow = -low | 0;
    setNormalized(value, 1, 63, low === 0 ? -high | 0 : ~high, negatedLow);
  } else {
    setNormalized(value, 0, 63, high, low);
  }
}

/** Writes the "integer indefinite", the most negative value, as two words. */
function setIndefinite(bits: number, words: Int32Array, index: number): number {
  words[index] = bits === 64 ? 0 : bits === 32 ? 0x80000000 | 0 : 0x8000;
  words[index + 1] = bits === 64 ? 0x80000000 | 0 : 0;
  return EXCEPTION.INVALID;
}

/**
 * Rounds a value to an integer of 16, 32 or 64 bits; writes it to words[index] (low) and words[index + 1] (the high word of
 * 64 bits, else 0; 16 bits are zero-extended). Returns PRECISION when inexact; INVALID, with the integer indefinite, when it
 * does not fit or is no number. Destroys the value; its `roundedUp` tells the rounding's direction.
 */
export function toInteger(value: Unpacked, bits: number, rounding: number, words: Int32Array, index: number): number {
  if (value.kind >= KIND.INFINITY) {
    value.roundedUp = 0;
    return setIndefinite(bits, words, index);
  }
  const inexact = roundToIntegral(value, rounding);
  let high = 0;
  let low = 0;
  if (value.kind === KIND.FINITE) {
    const { exponent } = value;
    const isMinimum = value.sign !== 0 && value.high === (0x80000000 | 0) && value.low === 0;
    if (exponent > bits - 1 || (exponent === bits - 1 && !isMinimum)) {
      value.roundedUp = 0;
      return setIndefinite(bits, words, index);
    }
    const shift = 63 - exponent;
    high = shift < 32 ? value.high >>> shift : 0;
    low =
      shift === 0
        ? value.low
        : shift < 32
          ? (value.low >>> shift) | (value.high << (32 - shift))
          : value.high >>> (shift - 32);
    if (value.sign !== 0) {
      high = low === 0 ? -high : ~high;
      low = -low;
    }
  }
  words[index] = bits === 16 ? low & 0xffff : low;
  words[index + 1] = bits === 64 ? high : 0;
  return inexact ? EXCEPTION.PRECISION : 0;
}
