/**
 * Packed integer operations: one emitter each over two vectors, from which an XMM and an MMX micro-operation are made. MMX
 * operands are the low halves of vectors whose high halves are zero.
 */
import type { FunctionBuilder } from '#wasm/function-builder.ts';
import type { SimdOp } from '#wasm/opcodes.ts';
import { STATE } from '../layout.ts';
import type { Emit, Slot } from './emit.ts';
import type { Scratch } from './parts.ts';
import { defineUop } from './registry.ts';

/** Pushes the result of an operation on the vectors in v0 (destination) and v1 (source). */
type Packed = (f: FunctionBuilder, s: Scratch) => void;

interface PackedOperation {
  readonly emit: Packed;
  /** What the MMX form does instead, where the general way does not fit. */
  readonly mmx?: Packed;
  /** Whether XMM0 is to be in v2. */
  readonly masked?: true;
}

const bytes = (lane: (i: number) => number): number[] => Array.from({ length: 16 }, (_, i) => lane(i) & 0xff);
const repeat = (pattern: readonly number[]): number[] => bytes((i) => pattern[i % pattern.length] as number);
/** Shuffles take bytes of v0 as 0–15 and of v1 as 16–31. */
const words = (lanes: readonly number[]): number[] => lanes.flatMap((lane) => [2 * lane, 2 * lane + 1]);
const doublewords = (lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => [0, 1, 2, 3].map((i) => 4 * lane + i));
const quadwords = (lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => [0, 1, 2, 3, 4, 5, 6, 7].map((i) => 8 * lane + i));

/** result = v0 op v1 */
const binary = (op: SimdOp): PackedOperation => ({ emit: (f, s) => void f.get(s.v0).get(s.v1).simd(op) });

const shuffled = (lanes: readonly number[], mmx?: Packed): PackedOperation => ({
  emit: (f, s) => void f.get(s.v0).get(s.v1).shuffle(lanes),
  ...(mmx && { mmx }),
});

/** v0 = v1 = the two MMX operands one behind the other. */
const joinHalves: Packed = (f, s) => {
  f.get(s.v0)
    .get(s.v1)
    .shuffle(quadwords([0, 2]))
    .tee(s.v0)
    .set(s.v1);
};

/** An operation whose lower half comes from v0 and whose upper half from v1: joined operands give the MMX result. */
const joining = (emit: Packed): PackedOperation => ({
  emit,
  mmx: (f, s) => {
    joinHalves(f, s);
    emit(f, s);
  },
});

/** The upper lanes of the MMX operands are the upper part of what the lower lanes of XMM operands give. */
const unpackHigh = (high: readonly number[], low: readonly number[]): PackedOperation =>
  shuffled(
    high,
    (f, s) =>
      void f
        .get(s.v0)
        .get(s.v1)
        .shuffle(low)
        .get(s.v0)
        .shuffle(quadwords([1, 2])),
  );

const interleave = (size: number, first: number): number[] =>
  bytes((i) => {
    const lane = Math.floor(i / size);
    return (first + (lane >> 1)) * size + (i % size) + (lane & 1 ? 16 : 0);
  });

/** Upper 16 bits of the 32-bit products of all lanes. */
const multiplyHigh = (sign: 's' | 'u'): PackedOperation => ({
  emit: (f, s) => {
    f.get(s.v0).get(s.v1).simd(`i32x4.extmul_low_i16x8_${sign}`);
    f.get(s.v0).get(s.v1).simd(`i32x4.extmul_high_i16x8_${sign}`);
    f.shuffle(words([1, 3, 5, 7, 9, 11, 13, 15]));
  },
});

/** ((a × b >> 14) + 1) >> 1, the lower 16 bits of it. */
const multiplyRounded: Packed = (f, s) => {
  for (const half of ['low', 'high'] as const) {
    f.get(s.v0).get(s.v1).simd(`i32x4.extmul_${half}_i16x8_s`).i32(14).simd('i32x4.shr_s');
    f.v128(repeat([1, 0, 0, 0]))
      .simd('i32x4.add')
      .i32(1)
      .simd('i32x4.shr_s');
  }
  f.shuffle(words([0, 2, 4, 6, 8, 10, 12, 14]));
};

const LOW_DOUBLEWORDS = repeat([255, 255, 255, 255, 0, 0, 0, 0]);

const multiplyUnsigned: Packed = (f, s) => {
  for (const v of [s.v0, s.v1]) f.get(v).v128(LOW_DOUBLEWORDS).simd('v128.and');
  f.simd('i64x2.mul');
};

const multiplySigned: Packed = (f, s) => {
  for (const v of [s.v0, s.v1])
    f.get(v)
      .get(v)
      .shuffle(doublewords([0, 2, 0, 2]));
  f.simd('i64x2.extmul_low_i32x4_s');
};

/** Sum of the absolute differences of each 8 bytes. */
const sumOfDifferences: Packed = (f, s) => {
  f.get(s.v0).get(s.v1).simd('i8x16.max_u').get(s.v0).get(s.v1).simd('i8x16.min_u').simd('i8x16.sub');
  f.simd('i16x8.extadd_pairwise_i8x16_u').simd('i32x4.extadd_pairwise_i16x8_u').tee(s.v0);
  f.get(s.v0).i32(32).simd('i64x2.shr_u').simd('i32x4.add').v128(LOW_DOUBLEWORDS).simd('v128.and');
};

/** Unsigned bytes of v0 times signed bytes of v1, neighbours added with saturation. */
const multiplyAddBytes: Packed = (f, s) => {
  for (const half of ['low', 'high'] as const) {
    f.get(s.v0).simd(`i16x8.extend_${half}_i8x16_u`).get(s.v1).simd(`i16x8.extend_${half}_i8x16_s`);
    f.simd('i32x4.dot_i16x8_s');
  }
  f.simd('i16x8.narrow_i32x4_s');
};

/** Neighbours of v0, then of v1: even op odd. */
const horizontal = (op: SimdOp, lanes: (lanes: readonly number[]) => number[], count: number): PackedOperation =>
  joining((f, s) => {
    for (const odd of [0, 1]) {
      f.get(s.v0)
        .get(s.v1)
        .shuffle(lanes(Array.from({ length: count }, (_, i) => 2 * i + odd)));
    }
    f.simd(op);
  });

type Lane = 'i8x16' | 'i16x8' | 'i32x4';
const BITS: Readonly<Record<Lane, number>> = { i8x16: 8, i16x8: 16, i32x4: 32 };

/** v0 negated where v1 is negative, zero where it is zero. */
const withSign = (lane: Lane): PackedOperation => ({
  emit: (f, s) => {
    f.get(s.v1)
      .i32(BITS[lane] - 1)
      .simd(`${lane}.shr_s`)
      .set(s.v2);
    f.get(s.v0).get(s.v2).simd('v128.xor').get(s.v2).simd(`${lane}.sub`);
    f.get(s.v1)
      .v128(repeat([0]))
      .simd(`${lane}.eq`)
      .simd('v128.andnot');
  },
});

const absolute = (lane: Lane): PackedOperation => ({ emit: (f, s) => void f.get(s.v1).simd(`${lane}.abs`) });

/** Bytes of v0 by the indices in v1; bit 7 gives zero. */
const shuffleBytes =
  (indexMask: number): Packed =>
  (f, s) =>
    void f
      .get(s.v0)
      .get(s.v1)
      .v128(repeat([0x80 | indexMask]))
      .simd('v128.and')
      .simd('i8x16.swizzle');

/** v1 where the sign of the lane of XMM0, in v2, is set, else v0. */
const blendByXmm0 = (op: 'i8x16.shr_s' | 'i32x4.shr_s' | 'i64x2.shr_s', bits: number): PackedOperation => ({
  emit: (f, s) => {
    f.get(s.v1)
      .get(s.v0)
      .get(s.v2)
      .i32(bits - 1)
      .simd(op)
      .simd('v128.bitselect');
  },
  masked: true,
});

type Shift = 'shl' | 'shr_s' | 'shr_u';
type ShiftLane = 'i16x8' | 'i32x4' | 'i64x2';
const SHIFT_BITS: Readonly<Record<ShiftLane, number>> = { i16x8: 16, i32x4: 32, i64x2: 64 };

/** v0 shifted by the count in x0: counts beyond the width clear the lanes, or fill them with the sign. */
export function emitShift(f: FunctionBuilder, s: Scratch, lane: ShiftLane, shift: Shift): void {
  const bits = SHIFT_BITS[lane];
  if (shift === 'shr_s') {
    f.get(s.v0)
      .get(s.x0)
      .i64(BigInt(bits - 1));
    f.get(s.x0).i64(BigInt(bits)).op('i64.lt_u').op('select').op('i32.wrap_i64').simd(`${lane}.shr_s`);
    return;
  }
  f.get(s.x0).i64(BigInt(bits)).op('i64.lt_u').if('v128');
  f.get(s.v0).get(s.x0).op('i32.wrap_i64').simd(`${lane}.${shift}`);
  f.else().v128(repeat([0]));
  f.end();
}

const shiftByRegister = (lane: ShiftLane, shift: Shift): PackedOperation => ({
  emit: (f, s) => {
    f.get(s.v1).simdLane('i64x2.extract_lane', 0).set(s.x0);
    emitShift(f, s, lane, shift);
  },
});

export const SHIFTS: Readonly<Record<string, readonly [ShiftLane, Shift]>> = {
  PSLLW: ['i16x8', 'shl'],
  PSLLD: ['i32x4', 'shl'],
  PSLLQ: ['i64x2', 'shl'],
  PSRLW: ['i16x8', 'shr_u'],
  PSRLD: ['i32x4', 'shr_u'],
  PSRLQ: ['i64x2', 'shr_u'],
  PSRAW: ['i16x8', 'shr_s'],
  PSRAD: ['i32x4', 'shr_s'],
};

const AND_NOT: PackedOperation = { emit: (f, s) => void f.get(s.v1).get(s.v0).simd('v128.andnot') };

/** By mnemonic. */
const OPERATIONS: Readonly<Record<string, PackedOperation>> = {
  PADDB: binary('i8x16.add'),
  PADDW: binary('i16x8.add'),
  PADDD: binary('i32x4.add'),
  PADDQ: binary('i64x2.add'),
  PADDSB: binary('i8x16.add_sat_s'),
  PADDSW: binary('i16x8.add_sat_s'),
  PADDUSB: binary('i8x16.add_sat_u'),
  PADDUSW: binary('i16x8.add_sat_u'),
  PSUBB: binary('i8x16.sub'),
  PSUBW: binary('i16x8.sub'),
  PSUBD: binary('i32x4.sub'),
  PSUBQ: binary('i64x2.sub'),
  PSUBSB: binary('i8x16.sub_sat_s'),
  PSUBSW: binary('i16x8.sub_sat_s'),
  PSUBUSB: binary('i8x16.sub_sat_u'),
  PSUBUSW: binary('i16x8.sub_sat_u'),
  PAVGB: binary('i8x16.avgr_u'),
  PAVGW: binary('i16x8.avgr_u'),
  PMINSB: binary('i8x16.min_s'),
  PMINSW: binary('i16x8.min_s'),
  PMINSD: binary('i32x4.min_s'),
  PMINUB: binary('i8x16.min_u'),
  PMINUW: binary('i16x8.min_u'),
  PMINUD: binary('i32x4.min_u'),
  PMAXSB: binary('i8x16.max_s'),
  PMAXSW: binary('i16x8.max_s'),
  PMAXSD: binary('i32x4.max_s'),
  PMAXUB: binary('i8x16.max_u'),
  PMAXUW: binary('i16x8.max_u'),
  PMAXUD: binary('i32x4.max_u'),
  PCMPEQB: binary('i8x16.eq'),
  PCMPEQW: binary('i16x8.eq'),
  PCMPEQD: binary('i32x4.eq'),
  PCMPEQQ: binary('i64x2.eq'),
  PCMPGTB: binary('i8x16.gt_s'),
  PCMPGTW: binary('i16x8.gt_s'),
  PCMPGTD: binary('i32x4.gt_s'),
  PCMPGTQ: binary('i64x2.gt_s'),
  PAND: binary('v128.and'),
  PANDN: AND_NOT,
  POR: binary('v128.or'),
  PXOR: binary('v128.xor'),
  ANDPS: binary('v128.and'),
  ANDPD: binary('v128.and'),
  ANDNPS: AND_NOT,
  ANDNPD: AND_NOT,
  ORPS: binary('v128.or'),
  ORPD: binary('v128.or'),
  XORPS: binary('v128.xor'),
  XORPD: binary('v128.xor'),
  PMULLW: binary('i16x8.mul'),
  PMULLD: binary('i32x4.mul'),
  PMULHW: multiplyHigh('s'),
  PMULHUW: multiplyHigh('u'),
  PMULHRSW: { emit: multiplyRounded },
  PMULUDQ: { emit: multiplyUnsigned },
  PMULDQ: { emit: multiplySigned },
  PMADDWD: binary('i32x4.dot_i16x8_s'),
  PMADDUBSW: { emit: multiplyAddBytes },
  PSADBW: { emit: sumOfDifferences },
  PACKSSWB: joining((f, s) => void f.get(s.v0).get(s.v1).simd('i8x16.narrow_i16x8_s')),
  PACKUSWB: joining((f, s) => void f.get(s.v0).get(s.v1).simd('i8x16.narrow_i16x8_u')),
  PACKSSDW: joining((f, s) => void f.get(s.v0).get(s.v1).simd('i16x8.narrow_i32x4_s')),
  PACKUSDW: binary('i16x8.narrow_i32x4_u'),
  PUNPCKLBW: shuffled(interleave(1, 0)),
  PUNPCKLWD: shuffled(interleave(2, 0)),
  PUNPCKLDQ: shuffled(interleave(4, 0)),
  PUNPCKLQDQ: shuffled(interleave(8, 0)),
  PUNPCKHBW: unpackHigh(interleave(1, 8), interleave(1, 0)),
  PUNPCKHWD: unpackHigh(interleave(2, 4), interleave(2, 0)),
  PUNPCKHDQ: unpackHigh(interleave(4, 2), interleave(4, 0)),
  PUNPCKHQDQ: shuffled(interleave(8, 1)),
  UNPCKLPS: shuffled(interleave(4, 0)),
  UNPCKLPD: shuffled(interleave(8, 0)),
  UNPCKHPS: shuffled(interleave(4, 2)),
  UNPCKHPD: shuffled(interleave(8, 1)),
  PSHUFB: { emit: shuffleBytes(0x0f), mmx: shuffleBytes(0x07) },
  PHADDW: horizontal('i16x8.add', words, 8),
  PHADDD: horizontal('i32x4.add', doublewords, 4),
  PHADDSW: horizontal('i16x8.add_sat_s', words, 8),
  PHSUBW: horizontal('i16x8.sub', words, 8),
  PHSUBD: horizontal('i32x4.sub', doublewords, 4),
  PHSUBSW: horizontal('i16x8.sub_sat_s', words, 8),
  PSIGNB: withSign('i8x16'),
  PSIGNW: withSign('i16x8'),
  PSIGND: withSign('i32x4'),
  PABSB: absolute('i8x16'),
  PABSW: absolute('i16x8'),
  PABSD: absolute('i32x4'),
  PBLENDVB: blendByXmm0('i8x16.shr_s', 8),
  BLENDVPS: blendByXmm0('i32x4.shr_s', 32),
  BLENDVPD: blendByXmm0('i64x2.shr_s', 64),
  ...Object.fromEntries(Object.entries(SHIFTS).map(([name, [lane, shift]]) => [name, shiftByRegister(lane, shift)])),
};

/** Pushes an XMM register, or the half of a vector that is an MMX register. */
export function pushVector(e: Emit, slot: Slot, wide: boolean): FunctionBuilder {
  return wide ? e.readVector(slot) : e.place(slot).simdMem('v128.load64_zero');
}

/** Loads v0 from a and v1 from b. */
export function loadVectors(e: Emit, wide: boolean): void {
  const { f, s } = e;
  pushVector(e, 'a', wide);
  f.set(s.v0);
  pushVector(e, 'b', wide);
  f.set(s.v1);
}

/** Stores the vector that `value` pushes to a; of an MMX register, only its half. */
export function storeVector(e: Emit, wide: boolean, value: () => void): void {
  if (wide) {
    e.writeVector('a', value);
    return;
  }
  e.place('a');
  value();
  e.f.simdLane('i64x2.extract_lane', 0).mem('i64.store');
}

/** Those of which a loop over bytes or words is made. */
const HOT = new Set([
  'PXOR',
  'PCMPEQB',
  'POR',
  'PAND',
  'PMINUB',
  'PSUBB',
  'PADDD',
  'PADDQ',
  'XORPS',
  'XORPD',
  'ANDPD',
  'ANDPS',
]);

function define(wide: boolean): Readonly<Record<string, number>> {
  const made = Object.entries(OPERATIONS).map(([name, { emit, mmx, masked }]) => {
    const placement = wide && HOT.has(name) ? 'loop' : 'function';
    const number = defineUop(`${name.toLowerCase()}.${wide ? 'x' : 'm'}`, placement, (e) => {
      loadVectors(e, wide);
      if (masked) e.readVectorAt(STATE.XMM).set(e.s.v2);
      storeVector(e, wide, () => (wide ? emit : (mmx ?? emit))(e.f, e.s));
    });
    return [name, number] as const;
  });
  return Object.fromEntries(made);
}

/** a = a op b by mnemonic: XMM registers, or the halves that are MMX registers. */
export const PACKED = define(true);
export const PACKED_MMX = define(false);
