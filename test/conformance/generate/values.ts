/** Operand values that find mistakes: edges first, then noise. All come as unsigned bit patterns. */

import type { Random } from '../../../fuzz/random.ts';
import { CODE_BASE, CONST_BASE, CONST_SIZE, DATA_BASE, DATA_SIZE, FX, PAGE_SIZE } from '../case.ts';

const MASK64 = 2n ** 64n - 1n;

/** True in this share of the cases, 0 to 1. */
export const chance = (random: Random, share: number): boolean => random.u32() / 2 ** 32 < share;

/** An integer of 64 bits; narrower operands see its low part. */
export function integer(random: Random): bigint {
  const bits = random.pick([8n, 16n, 32n, 64n]);
  switch (random.below(10)) {
    case 0:
      return random.pick([0n, 1n, 2n, MASK64, MASK64 - 1n]);
    case 1: // greatest and least signed, and their neighbours
      return (2n ** (bits - 1n) + BigInt(random.between(-1, 1))) & MASK64;
    case 2: // greatest unsigned and its neighbours
      return (2n ** bits + BigInt(random.between(-2, 1))) & MASK64;
    case 3:
      return (2n ** BigInt(random.below(64)) + BigInt(random.between(-1, 1))) & MASK64;
    case 4:
      return BigInt(random.below(256));
    case 5:
      return BigInt.asUintN(64, BigInt(-random.below(256)));
    case 6: // sign-extended noise
      return BigInt.asUintN(64, BigInt.asIntN(Number(bits), random.u64()));
    case 7: // zero-extended noise
      return BigInt.asUintN(Number(bits), random.u64());
    default:
      return random.u64();
  }
}

/** An address in the data area, mostly with room for an operand behind it. */
export function dataPointer(random: Random): bigint {
  return BigInt(DATA_BASE + random.below(DATA_SIZE - 64));
}

/** A place in the code area away from the instruction, which lies in the first half of a page. */
export function codePointer(random: Random): bigint {
  return BigInt(CODE_BASE + random.below(2) * PAGE_SIZE + PAGE_SIZE / 2 + random.below(PAGE_SIZE / 4));
}

/** An address for an operand of this size: mostly data, else an edge or a place that faults. */
export function operandAddress(random: Random, sizeBytes: number): bigint {
  const kind = random.below(100);
  if (kind < 70)
    return BigInt(DATA_BASE + random.below((DATA_SIZE - sizeBytes) / 16) * 16 + random.pick([0, 0, 0, 8, 4, 1]));
  if (kind < 80) return BigInt(DATA_BASE + PAGE_SIZE * random.between(1, 3) - random.below(sizeBytes + 1));
  if (kind < 85) return BigInt(CONST_BASE - random.below(sizeBytes + 1)); // reaches into the page that cannot be written
  if (kind < 88) return BigInt(CONST_BASE + random.below(CONST_SIZE - sizeBytes));
  if (kind < 92) return BigInt(CONST_BASE + CONST_SIZE - random.below(sizeBytes + 1));
  if (kind < 95) return BigInt(DATA_BASE - random.below(sizeBytes + 1));
  if (kind < 97) return BigInt(CODE_BASE + random.below(PAGE_SIZE));
  return random.pick([
    BigInt(random.below(4096)),
    0xffff_f000n + BigInt(random.below(4096)),
    2n ** 47n - BigInt(random.below(32)),
    2n ** 63n + random.u64() / 4n, // not canonical
    BigInt.asUintN(64, -(2n ** 47n) - BigInt(random.below(32))),
    BigInt.asUintN(64, -BigInt(random.below(4096))),
  ]);
}

const FLOAT64_EDGES = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  3,
  10,
  1e16,
  2 ** 31,
  -(2 ** 31),
  2 ** 31 - 0.5,
  2 ** 32,
  2 ** 53,
  2 ** 63,
  -(2 ** 63),
  2 ** 64,
  Number.MAX_VALUE,
  -Number.MAX_VALUE,
  2 ** -1022,
  -(2 ** -1022),
  2 ** -1074,
  2 ** -1023,
  Infinity,
  -Infinity,
  0.1,
  Math.PI,
  2 ** 127,
  2 ** 128,
  2 ** -126,
  2 ** -149,
  2 ** -150,
  1 + 2 ** -52,
  1 - 2 ** -53,
  2147483647.5,
  4503599627370495.5,
];
const FLOAT32_EDGES = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  3,
  10,
  2 ** 23,
  2 ** 24,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 63,
  2 ** 127,
  -(2 ** 127),
  2 ** -126,
  -(2 ** -126),
  2 ** -149,
  2 ** -127,
  Infinity,
  -Infinity,
  0.1,
  1 + 2 ** -23,
  1 - 2 ** -24,
  8388607.5,
];
const scratch = new DataView(new ArrayBuffer(8));

/** A double's bits. */
export function float64(random: Random): bigint {
  const kind = random.below(10);
  if (kind < 4) scratch.setFloat64(0, random.pick(FLOAT64_EDGES));
  else if (kind < 7) scratch.setFloat64(0, (random.u32() - 2 ** 31) * 2 ** random.between(-40, 40));
  else if (kind === 7) scratch.setFloat64(0, random.between(-1000, 1000) / random.pick([1, 2, 4, 3]));
  else if (kind === 8)
    return (random.pick([0x7ffn, 0xfffn, 0x000n, 0x800n]) << 52n) | (random.u64() >> 12n); // NaN or denormal
  else return random.u64();
  return scratch.getBigUint64(0);
}

/** A single's bits. */
export function float32(random: Random): number {
  const kind = random.below(10);
  if (kind < 4) scratch.setFloat32(0, random.pick(FLOAT32_EDGES));
  else if (kind < 7) scratch.setFloat32(0, (random.u32() - 2 ** 31) * 2 ** random.between(-50, 20));
  else if (kind === 7) scratch.setFloat32(0, random.between(-1000, 1000) / random.pick([1, 2, 4, 3]));
  else if (kind === 8) return ((random.pick([0x0ff, 0x1ff, 0x000, 0x100]) << 23) | (random.u32() >>> 9)) >>> 0;
  else return random.u32();
  return scratch.getUint32(0);
}

/** An x87 register: significand in 64 bits, sign and exponent in 16. Unnormal and pseudo-denormal numbers are rare. */
export function float80(random: Random): { significand: bigint; signExponent: number } {
  const sign = random.below(2) << 15;
  const integerBit = 2n ** 63n;
  switch (random.below(10)) {
    case 0:
      return { significand: 0n, signExponent: sign };
    case 1:
      return { significand: integerBit, signExponent: sign | 0x7fff };
    case 2: // NaN, quiet or not
      return { significand: integerBit | (random.u64() >> 1n), signExponent: sign | 0x7fff };
    case 3: // denormal, pseudo-denormal
      return { significand: random.u64() >> BigInt(random.below(64)), signExponent: sign };
    case 4:
      return { significand: random.u64(), signExponent: sign | random.below(0x8000) };
    case 5: // a small integer
      return smallInteger(random.between(1, 1000), sign);
    case 6: // the edges of the exponent
      return { significand: integerBit | random.u64(), signExponent: sign | random.pick([1, 2, 0x7ffe, 0x7ffd]) };
    default: {
      const exponent = 0x3fff + random.between(-70, 70);
      const significand = chance(random, 0.5) ? random.u64() : integer(random);
      return { significand: integerBit | significand, signExponent: sign | exponent };
    }
  }
}

function smallInteger(value: number, sign: number): { significand: bigint; signExponent: number } {
  const exponent = Math.floor(Math.log2(value));
  return { significand: BigInt(value) << BigInt(63 - exponent), signExponent: sign | (0x3fff + exponent) };
}

export type Flavor = 'integer' | 'float32' | 'float64' | 'float80';

/** 16 bytes of operand: one kind of number throughout. */
export function vector(random: Random, flavor: Flavor): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(16));
  if (flavor === 'float32') for (let i = 0; i < 16; i += 4) view.setUint32(i, float32(random), true);
  else if (flavor === 'float64') for (let i = 0; i < 16; i += 8) view.setBigUint64(i, float64(random), true);
  else if (flavor === 'float80') {
    const { significand, signExponent } = float80(random);
    view.setBigUint64(0, significand, true);
    view.setUint16(8, signExponent, true);
  } else if (chance(random, 0.5)) for (let i = 0; i < 16; i += 8) view.setBigUint64(i, integer(random), true);
  else for (let i = 0; i < 16; i += 2) view.setUint16(i, Number(integer(random) & 0xffffn), true);
  return new Uint8Array(view.buffer);
}

/** Fills XMM registers and MXCSR. Exceptions are masked mostly. */
export function fillVectors(random: Random, fx: DataView<ArrayBuffer>, flavor: Flavor): void {
  for (let i = 0; i < 16; i++) {
    const bytes = vector(random, chance(random, 0.9) ? flavor : 'integer');
    new Uint8Array(fx.buffer, fx.byteOffset).set(bytes, FX.XMM + 16 * i);
  }
  const rounding = random.below(4) << 13;
  const flushAndDenormals = (chance(random, 0.15) ? 0x8000 : 0) | (chance(random, 0.15) ? 0x40 : 0);
  const sticky = chance(random, 0.5) ? 0 : random.below(64);
  const masks = chance(random, 0.85) ? 0x1f80 : random.below(64) << 7;
  fx.setUint32(FX.MXCSR, rounding | flushAndDenormals | masks | sticky, true);
}

/** Fills the x87 registers, or the MMX registers that they are. An exception is pending rarely. */
export function fillX87(random: Random, fx: DataView<ArrayBuffer>, flavor: Flavor): void {
  for (let i = 0; i < 8; i++) {
    const at = FX.ST + 16 * i;
    const { significand, signExponent } = float80(random);
    fx.setBigUint64(at, flavor === 'integer' ? integer(random) : significand, true);
    fx.setUint16(at + 8, flavor === 'integer' ? 0xffff : signExponent, true);
  }
  fx.setUint8(FX.FTW, random.pick([0xff, 0xff, 0xff, 0, random.below(256)]));
  const masks = chance(random, 0.85) ? 0x3f : random.below(64);
  const precision = random.pick([3, 3, 3, 2, 0]);
  fx.setUint16(FX.FCW, 0x40 | masks | (precision << 8) | (random.below(4) << 10), true);
  const sticky = chance(random, 0.5) ? 0 : random.below(64) & (chance(random, 0.95) ? masks : 0x3f);
  const pending = sticky & ~masks ? 0x8080 : 0;
  const conditions = (random.below(8) << 8) | (random.below(2) << 14);
  const stackFault = sticky & 1 && chance(random, 0.5) ? 0x40 : 0;
  fx.setUint16(FX.FSW, sticky | pending | conditions | stackFault | (random.below(8) << 11), true);
}
