/** Multiplication and division of full width, double shifts, bit tests and scans. */
import { CC, GPR, SIZES, type Size, STATE } from '../layout.ts';
import { emitMulHigh } from './alu.ts';
import type { Emit } from './emit.ts';
import { defineUop } from './registry.ts';

type BySize = readonly [number, number, number, number];
const bySize = (define: (size: Size) => number): BySize => SIZES.map(define) as unknown as BySize;

/** rDX:rAX (AX for bytes) = rAX × a. */
const widening = (signed: boolean): BySize =>
  bySize((size) =>
    defineUop(`${signed ? 'imul' : 'mul'}${8 << size}w`, 'function', (e) => {
      const { f, s } = e;
      const bits = BigInt(8 << size);
      e.readAt(STATE.GPR + GPR.RAX, size, signed).set(s.x0);
      (signed ? e.readSigned('a', size) : e.read('a', size)).set(s.x1);
      f.get(s.x0).get(s.x1).op('i64.mul').set(s.x2);
      if (size === 3) {
        emitMulHigh(e, signed);
        f.set(s.x3);
        e.setState64(STATE.GPR + GPR.RDX, () => f.get(s.x3));
        e.setState64(STATE.GPR + GPR.RAX, () => f.get(s.x2));
      } else {
        f.get(s.x2)
          .i64(bits)
          .op(signed ? 'i64.shr_s' : 'i64.shr_u')
          .set(s.x3);
        if (size > 0) e.writeAt(STATE.GPR + GPR.RDX, size, () => f.get(s.x3));
        e.writeAt(STATE.GPR + GPR.RAX, size === 0 ? 1 : size, () => f.get(s.x2));
      }
      f.get(s.x2);
      e.extend(size).set(s.x2);
      // The upper half says nothing new when it is zero (MUL) or all copies of the sign (IMUL).
      if (signed) f.get(s.x3).get(s.x2).i64(63n).op('i64.shr_s').op('i64.xor').set(s.x3);
      e.lazyFlags(CC.MUL, size, s.x2, s.x3);
    }),
  );
export const MUL_WIDE = widening(false);
export const IMUL_WIDE = widening(true);

/** SHLD and SHRD: a shifted, filled from b; the count is the immediate, or CL when that is −1. Size 1 goes to a helper. */
const doubleShift = (left: boolean): BySize =>
  bySize((size) =>
    size < 2
      ? -1
      : defineUop(`sh${left ? 'l' : 'r'}d${8 << size}`, 'function', (e) => {
          const { f, s } = e;
          const bits = BigInt(8 << size);
          e.imm32().set(s.x1);
          f.get(s.x1).i64(-1n).op('i64.eq').if();
          e.readAt(STATE.GPR + GPR.RCX, 0).set(s.x1);
          f.end();
          f.get(s.x1)
            .i64(bits - 1n)
            .op('i64.and')
            .tee(s.x1)
            .op('i64.eqz')
            .if();
          e.write('a', size, () => e.read('a', size));
          f.else();
          const [toward, back] = left ? (['i64.shl', 'i64.shr_u'] as const) : (['i64.shr_u', 'i64.shl'] as const);
          e.read('a', size).set(s.x0);
          f.get(s.x0).get(s.x1).op(toward);
          e.read('b', size).i64(bits).get(s.x1).op('i64.sub').op(back).op('i64.or');
          e.extend(size).set(s.x2);
          f.get(s.x0).get(s.x1).i64(1n).op('i64.sub').op(toward).set(s.x3);
          e.write('a', size, () => f.get(s.x2));
          e.lazyFlags(left ? CC.SHL : CC.SHR, size, s.x2, s.x3);
          f.end();
        }),
  );
export const SHLD = doubleShift(true);
export const SHRD = doubleShift(false);

export const BIT_KINDS = ['bt', 'bts', 'btr', 'btc'] as const;
export type BitKind = (typeof BIT_KINDS)[number];

/** Carry = bit of a whose number is b (or the immediate) modulo the width; the bit is then set, cleared or turned. */
function defineBit(kind: BitKind, size: Size, immediate: boolean): number {
  return defineUop(`${kind}${8 << size}${immediate ? 'i' : ''}`, 'function', (e) => {
    const { f, s } = e;
    (immediate ? e.imm32() : e.read('b', size))
      .i64(BigInt((8 << size) - 1))
      .op('i64.and')
      .set(s.x1);
    e.read('a', size).set(s.x0);
    e.flags().i32(~1).op('i32.and');
    f.get(s.x0).get(s.x1).op('i64.shr_u').op('i32.wrap_i64').i32(1).op('i32.and').op('i32.or').set(s.y0);
    if (kind !== 'bt') {
      e.write('a', size, () => {
        f.get(s.x0).i64(1n).get(s.x1).op('i64.shl');
        if (kind === 'btr') f.i64(-1n).op('i64.xor');
        f.op(kind === 'bts' ? 'i64.or' : kind === 'btr' ? 'i64.and' : 'i64.xor');
      });
    }
    e.explicitFlags(s.y0);
  });
}
const bitTable = (immediate: boolean): Record<BitKind, BySize> =>
  Object.fromEntries(
    BIT_KINDS.map((kind) => [kind, bySize((size) => (size === 0 ? -1 : defineBit(kind, size, immediate)))]),
  ) as Record<BitKind, BySize>;
export const BIT = bitTable(false);
export const BIT_IMM = bitTable(true);

/** BSF and BSR: ZF says that b was zero; a is then unchanged, as on every processor. */
const scan = (forward: boolean): BySize =>
  bySize((size) =>
    size === 0
      ? -1
      : defineUop(`${forward ? 'bsf' : 'bsr'}${8 << size}`, 'function', (e) => {
          const { f, s } = e;
          // Measured: with a zero source Intel's processors leave the whole destination alone, 32-bit ones too.
          e.read('b', size).tee(s.x0).op('i64.eqz').op('i32.eqz').if();
          e.write('a', size, () => {
            if (forward) f.get(s.x0).op('i64.ctz');
            else f.i64(63n).get(s.x0).op('i64.clz').op('i64.sub');
          });
          f.end();
          f.get(s.x0);
          e.extend(size).set(s.x0);
          e.lazyFlags(CC.LOGIC, size, s.x0, null);
        }),
  );
export const BSF = scan(true);
export const BSR = scan(false);

export const POPCNT = bySize((size) =>
  size === 0
    ? -1
    : defineUop(`popcnt${8 << size}`, 'function', (e) => {
        const { f, s } = e;
        e.read('b', size).op('i64.popcnt').set(s.x0);
        e.write('a', size, () => f.get(s.x0));
        // Only ZF is ever set.
        f.get(s.x0).op('i64.eqz').i32(6).op('i32.shl').set(s.y0);
        e.explicitFlags(s.y0);
      }),
);

/** Pushes a copy of what the emitter needs to leave CF alone and set it from a local; used by CLC, STC and CMC. */
const carryChange = (name: string, change: (e: Emit) => void): number =>
  defineUop(name, 'function', (e) => {
    e.flags();
    change(e);
    e.f.set(e.s.y0);
    e.explicitFlags(e.s.y0);
  });
export const CLC = carryChange('clc', (e) => void e.f.i32(~1).op('i32.and'));
export const STC = carryChange('stc', (e) => void e.f.i32(1).op('i32.or'));
export const CMC = carryChange('cmc', (e) => void e.f.i32(1).op('i32.xor'));

/** CBW, CWDE, CDQE and CWD, CDQ, CQO. */
export const SIGN_TO_DX = bySize((size) =>
  size === 0
    ? -1
    : defineUop(`cwd${8 << size}`, 'function', (e) => {
        const { f, s } = e;
        e.readAt(STATE.GPR + GPR.RAX, size, true)
          .i64(63n)
          .op('i64.shr_s')
          .set(s.x0);
        e.writeAt(STATE.GPR + GPR.RDX, size, () => f.get(s.x0));
      }),
);
