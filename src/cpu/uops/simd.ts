/** Vector loads and stores, and vector operations that take an immediate or leave the vector registers. */
import { helperNumber } from '../isa/helper-names.ts';
import { STATE } from '../layout.ts';
import { byForm } from './data.ts';
import type { AddressForm, Emit } from './emit.ts';
import { defineUop } from './registry.ts';
import { emitShift, loadVectors, pushVector, SHIFTS, storeVector } from './simd-packed.ts';

const repeat = (pattern: readonly number[]): number[] =>
  Array.from({ length: 16 }, (_, i) => (pattern[i % pattern.length] as number) & 0xff);
const IOTA = Array.from({ length: 16 }, (_, i) => i);
const ZERO = repeat([0]);

/**
 * Once in a block that uses XMM registers: whether CR0 and CR4 allow it, as the helper has found out last. Both change at the
 * end of a block only.
 */
export const SSE_CHECK = defineUop('sse.check', 'loop', (e) => {
  e.state32(STATE.SSE_UNCHECKED).if();
  callHelper(e, 'sseCheck');
  e.f.end();
});

function callHelper(e: Emit, name: 'sseCheck' | 'generalProtection'): void {
  e.fallBack(() => e.f.i32(helperNumber(name)));
}

/** #GP unless the address in x0 is a multiple of 16. */
function checkAligned(e: Emit): void {
  const { f, s } = e;
  f.get(s.x0).op('i32.wrap_i64').i32(15).op('i32.and').if();
  callHelper(e, 'generalProtection');
  f.end();
}

const load128 = (aligned: boolean) => (e: Emit, form: AddressForm) => {
  const { f, s } = e;
  e.address(form).set(s.x0);
  if (aligned) checkAligned(e);
  e.hostLoad(16);
  e.writeVector('a', () => f.get(s.y1).simdMem('v128.load'));
};

const store128 = (aligned: boolean) => (e: Emit, form: AddressForm) => {
  const { f, s } = e;
  e.address(form).set(s.x0);
  if (aligned) checkAligned(e);
  e.readVector('a').set(s.v0);
  e.hostStore(16, (place, offset) => {
    place();
    f.get(s.v0).simdMem('v128.store', offset);
  });
};

/** a = 16 bytes of memory, or memory = a; the aligned ones fault as most SSE instructions do. */
export const LOAD128 = byForm((form) => defineUop(`ld128.${form}`, 'loop', (e) => load128(false)(e, form)));
export const LOAD128_ALIGNED = byForm((form) => defineUop(`ld128a.${form}`, 'loop', (e) => load128(true)(e, form)));
export const STORE128 = byForm((form) => defineUop(`st128.${form}`, 'loop', (e) => store128(false)(e, form)));
export const STORE128_ALIGNED = byForm((form) => defineUop(`st128a.${form}`, 'loop', (e) => store128(true)(e, form)));

/** a = b */
export const MOV128 = defineUop('mov128', 'loop', (e) => {
  e.writeVector('a', () => e.readVector('b'));
});

/** a shifted by the immediate count. */
const shiftImmediate = (wide: boolean): Readonly<Record<string, number>> =>
  Object.fromEntries(
    Object.entries(SHIFTS).map(([name, [lane, shift]]) => [
      name,
      defineUop(`${name.toLowerCase()}i.${wide ? 'x' : 'm'}`, 'function', (e) => {
        pushVector(e, 'a', wide).set(e.s.v0);
        e.imm32().set(e.s.x0);
        storeVector(e, wide, () => emitShift(e.f, e.s, lane, shift));
      }),
    ]),
  );
export const SHIFT_BY_IMMEDIATE = shiftImmediate(true);
export const SHIFT_BY_IMMEDIATE_MMX = shiftImmediate(false);

/** a shifted by whole bytes, the immediate, which is at most 16. */
const shiftBytes = (left: boolean): number =>
  defineUop(left ? 'pslldq' : 'psrldq', 'function', (e) => {
    storeVector(e, true, () => {
      e.readVector('a').v128(IOTA);
      e.immediate();
      e.f
        .simd('i8x16.splat')
        .simd(left ? 'i8x16.sub' : 'i8x16.add')
        .simd('i8x16.swizzle');
    });
  });
export const PSLLDQ = shiftBytes(true);
export const PSRLDQ = shiftBytes(false);

/** a = bytes of a:b from the immediate on, which is at most 32 (MMX: 16). */
export const PALIGNR = defineUop('palignr.x', 'function', (e) => {
  const { f, s } = e;
  loadVectors(e, true);
  storeVector(e, true, () => {
    f.v128(IOTA);
    e.immediate();
    f.simd('i8x16.splat').simd('i8x16.add').set(s.v2);
    f.get(s.v1).get(s.v2).simd('i8x16.swizzle');
    f.get(s.v0)
      .get(s.v2)
      .v128(repeat([16]))
      .simd('i8x16.sub')
      .simd('i8x16.swizzle')
      .simd('v128.or');
  });
});
export const PALIGNR_MMX = defineUop('palignr.m', 'function', (e) => {
  const { f, s } = e;
  loadVectors(e, false);
  storeVector(e, false, () => {
    f.get(s.v1).get(s.v0).shuffle([0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
    f.v128(IOTA);
    e.immediate();
    f.simd('i8x16.splat').simd('i8x16.add').simd('i8x16.swizzle');
  });
});

/** a's four doublewords from a and b: byte i of the immediate is four times the lane that lane i gets; b's lanes are 4 to 7. */
export const SHUFFLE32 = defineUop('shuffle32', 'function', (e) => {
  const { f, s } = e;
  loadVectors(e, true);
  storeVector(e, true, () => {
    e.immediate();
    f.simd('i32x4.splat').v128([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]).simd('i8x16.swizzle');
    f.v128(repeat([0, 1, 2, 3]))
      .simd('i8x16.add')
      .set(s.v2);
    f.get(s.v0).get(s.v2).simd('i8x16.swizzle');
    f.get(s.v1)
      .get(s.v2)
      .v128(repeat([16]))
      .simd('i8x16.sub')
      .simd('i8x16.swizzle')
      .simd('v128.or');
  });
});

/** a's eight words from b: byte i of the 64-bit immediate is twice the lane that lane i gets. */
const shuffle16 = (wide: boolean): number =>
  defineUop(`shuffle16.${wide ? 'x' : 'm'}`, 'function', (e) => {
    const { f } = e;
    storeVector(e, wide, () => {
      pushVector(e, 'b', wide);
      e.imm64();
      f.simd('i64x2.splat').v128([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]).simd('i8x16.swizzle');
      f.v128(repeat([0, 1]))
        .simd('i8x16.add')
        .simd('i8x16.swizzle');
    });
  });
export const SHUFFLE16 = shuffle16(true);
export const SHUFFLE16_MMX = shuffle16(false);

/** a's lanes replaced by b's where the immediate has a bit. */
const blend = (name: string, splat: 'i16x8' | 'i32x4', bits: readonly number[], eq: 'i16x8.eq' | 'i32x4.eq'): number =>
  defineUop(name, 'function', (e) => {
    const { f, s } = e;
    loadVectors(e, true);
    storeVector(e, true, () => {
      f.get(s.v1).get(s.v0);
      e.immediate();
      f.simd(`${splat}.splat`).v128(bits).simd('v128.and').v128(bits).simd(eq).simd('v128.bitselect');
    });
  });
export const PBLENDW = blend('pblendw', 'i16x8', Array.from({ length: 8 }, (_, i) => [1 << i, 0]).flat(), 'i16x8.eq');
export const BLENDPS = blend(
  'blendps',
  'i32x4',
  Array.from({ length: 4 }, (_, i) => [1 << i, 0, 0, 0]).flat(),
  'i32x4.eq',
);
export const BLENDPD = blend(
  'blendpd',
  'i32x4',
  [1, 1, 2, 2].flatMap((bit) => [bit, 0, 0, 0]),
  'i32x4.eq',
);

/** General register a = the top bits of b's lanes. */
const mask = (lane: 'i8x16' | 'i32x4' | 'i64x2', wide: boolean): number =>
  defineUop(`movmsk.${lane}.${wide ? 'x' : 'm'}`, wide && lane === 'i8x16' ? 'loop' : 'function', (e) => {
    e.write('a', 3, () => {
      pushVector(e, 'b', wide);
      e.f.simd(`${lane}.bitmask`).op('i64.extend_i32_u');
    });
  });
export const PMOVMSKB = mask('i8x16', true);
export const PMOVMSKB_MMX = mask('i8x16', false);
export const MOVMSKPS = mask('i32x4', true);
export const MOVMSKPD = mask('i64x2', true);

/** Flags: ZF when a and b have no bit in common, CF when b has none that a lacks; the others are cleared. */
export const PTEST = defineUop('ptest', 'function', (e) => {
  const { f, s } = e;
  loadVectors(e, true);
  f.get(s.v0).get(s.v1).simd('v128.and').simd('v128.any_true').op('i32.eqz').i32(6).op('i32.shl');
  f.get(s.v1).get(s.v0).simd('v128.andnot').simd('v128.any_true').op('i32.eqz').op('i32.or').set(s.y0);
  e.explicitFlags(s.y0);
});

const EXTEND = {
  bw: ['i16x8.extend_low_i8x16'],
  bd: ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8'],
  bq: ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4'],
  wd: ['i32x4.extend_low_i16x8'],
  wq: ['i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4'],
  dq: ['i64x2.extend_low_i32x4'],
} as const;

/** a = the low lanes of b, widened. */
const extend = (sign: 's' | 'u'): Readonly<Record<keyof typeof EXTEND, number>> =>
  Object.fromEntries(
    Object.entries(EXTEND).map(([kind, steps]) => [
      kind,
      defineUop(`pmov${sign}x.${kind}`, 'function', (e) => {
        e.writeVector('a', () => {
          e.readVector('b');
          for (const step of steps) e.f.simd(`${step}_${sign}`);
        });
      }),
    ]),
  ) as Record<keyof typeof EXTEND, number>;
export const PMOVSX = extend('s');
export const PMOVZX = extend('u');

/** a = b with its words or doublewords in this order. */
const permuted = (name: string, lanes: readonly number[]): number =>
  defineUop(name, 'function', (e) => {
    e.writeVector('a', () => e.readVector('b').v128(ZERO).shuffle(lanes));
  });
const doublewords = (lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => [0, 1, 2, 3].map((i) => 4 * lane + i));
export const MOVDDUP = permuted('movddup', doublewords([0, 1, 0, 1]));
export const MOVSLDUP = permuted('movsldup', doublewords([0, 0, 2, 2]));
export const MOVSHDUP = permuted('movshdup', doublewords([1, 1, 3, 3]));
