/** Arithmetic, logic, shifts and rotates; `a` is destination and first operand, the second is `b` or the immediate. */
import type { FunctionBuilder } from '#wasm/function-builder.ts';
import { CC, GPR, SIZES, type Size, STATE } from '../layout.ts';
import type { Emit } from './emit.ts';
import { declareFlagless, defineUop, type Placement } from './registry.ts';

export const ALU_KINDS = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test'] as const;
export type AluKind = (typeof ALU_KINDS)[number];

const CC_KIND: Record<AluKind, number> = {
  add: CC.ADD,
  or: CC.LOGIC,
  adc: CC.ADC,
  sbb: CC.SBB,
  and: CC.LOGIC,
  sub: CC.SUB,
  xor: CC.LOGIC,
  cmp: CC.SUB,
  test: CC.LOGIC,
};
const PLAIN_OP = {
  add: 'i64.add',
  or: 'i64.or',
  adc: 'i64.add',
  sbb: 'i64.sub',
  and: 'i64.and',
  sub: 'i64.sub',
  xor: 'i64.xor',
  cmp: 'i64.sub',
  test: 'i64.and',
} as const;

/** Leaves operands in x0 and x1, the sign-extended result in x2. */
function compute(e: Emit, kind: AluKind, size: Size, immediate: boolean): void {
  const { f, s } = e;
  const withCarry = kind === 'adc' || kind === 'sbb';
  if (withCarry) {
    e.carry().set(s.y0);
    e.setState32(STATE.CC_CARRY, () => f.get(s.y0));
  }
  e.readSigned('a', size).set(s.x0);
  (immediate ? e.imm32() : e.readSigned('b', size)).set(s.x1);
  f.get(s.x0).get(s.x1).op(PLAIN_OP[kind]);
  if (withCarry) f.get(s.y0).op('i64.extend_i32_u').op(PLAIN_OP[kind]);
  if (kind === 'add' || kind === 'sub' || kind === 'cmp' || withCarry) e.extend(size);
  f.set(s.x2);
}

function defineAlu(kind: AluKind, size: Size, immediate: boolean): number {
  const keeps = kind === 'cmp' || kind === 'test';
  const placement: Placement = size >= 2 || kind === 'cmp' || kind === 'test' ? 'loop' : 'function';
  const name = `${kind}${8 << size}${immediate ? 'i' : ''}`;
  const operation = defineUop(name, placement, (e) => {
    compute(e, kind, size, immediate);
    if (!keeps) e.write('a', size, () => e.f.get(e.s.x2));
    e.lazyFlags(CC_KIND[kind], size, e.s.x2, CC_KIND[kind] === CC.LOGIC ? null : e.s.x1);
  });
  if (!keeps && kind !== 'adc' && kind !== 'sbb') {
    const flagless = defineUop(`${name}.f`, placement, (e) => {
      e.write('a', size, () => {
        e.read('a', size);
        (immediate ? e.imm32() : e.read('b', size)).op(PLAIN_OP[kind]);
      });
    });
    declareFlagless(operation, flagless);
  }
  return operation;
}

type BySize = readonly [number, number, number, number];
const bySize = (define: (size: Size) => number): BySize => SIZES.map(define) as unknown as BySize;
const table = (immediate: boolean): Record<AluKind, BySize> =>
  Object.fromEntries(ALU_KINDS.map((kind) => [kind, bySize((size) => defineAlu(kind, size, immediate))])) as Record<
    AluKind,
    BySize
  >;

/** By kind and size: both operands in registers or temporaries. */
export const ALU = table(false);
/** By kind and size: second operand is the sign-extended 32-bit immediate. */
export const ALU_IMM = table(true);

const incDec = (kind: 'inc' | 'dec'): BySize =>
  bySize((size) => {
    const step = kind === 'inc' ? 1n : -1n;
    const operation = defineUop(`${kind}${8 << size}`, size >= 2 ? 'loop' : 'function', (e) => {
      const { f, s } = e;
      e.carry().op('i64.extend_i32_u').set(s.x1);
      e.readSigned('a', size).i64(step).op('i64.add');
      e.extend(size).set(s.x2);
      e.write('a', size, () => f.get(s.x2));
      e.lazyFlags(kind === 'inc' ? CC.INC : CC.DEC, size, s.x2, s.x1);
    });
    const flagless = defineUop(`${kind}${8 << size}.f`, size >= 2 ? 'loop' : 'function', (e) => {
      e.write('a', size, () => e.read('a', size).i64(step).op('i64.add'));
    });
    declareFlagless(operation, flagless);
    return operation;
  });
export const INC = incDec('inc');
export const DEC = incDec('dec');

/** NEG a: 0 − a. */
export const NEG = bySize((size) =>
  defineUop(`neg${8 << size}`, size >= 2 ? 'loop' : 'function', (e) => {
    const { f, s } = e;
    e.readSigned('a', size).set(s.x1);
    f.i64(0n).get(s.x1).op('i64.sub');
    e.extend(size).set(s.x2);
    e.write('a', size, () => f.get(s.x2));
    e.lazyFlags(CC.SUB, size, s.x2, s.x1);
  }),
);

export const NOT = bySize((size) =>
  defineUop(`not${8 << size}`, 'function', (e) => {
    e.write('a', size, () => e.read('a', size).i64(-1n).op('i64.xor'));
  }),
);

export const SHIFT_KINDS = ['shl', 'shr', 'sar'] as const;
export type ShiftKind = (typeof SHIFT_KINDS)[number];
const SHIFT_OP = { shl: 'i64.shl', shr: 'i64.shr_u', sar: 'i64.shr_s' } as const;

/** The count is in x1 and not zero. */
function emitShift(e: Emit, kind: ShiftKind, size: Size): void {
  const { f, s } = e;
  (kind === 'sar' ? e.readSigned('a', size) : e.read('a', size)).set(s.x0);
  f.get(s.x0).get(s.x1).i64(1n).op('i64.sub').op(SHIFT_OP[kind]).set(s.x3);
  f.get(s.x3).i64(1n).op(SHIFT_OP[kind]);
  e.extend(size).set(s.x2);
  e.write('a', size, () => f.get(s.x2));
  e.lazyFlags(kind === 'shl' ? CC.SHL : CC.SHR, size, s.x2, s.x3);
}

const shiftImm = (kind: ShiftKind): BySize =>
  bySize((size) => {
    const placement: Placement = size >= 2 ? 'loop' : 'function';
    const operation = defineUop(`${kind}${8 << size}i`, placement, (e) => {
      e.imm32().set(e.s.x1);
      emitShift(e, kind, size);
    });
    const flagless = defineUop(`${kind}${8 << size}i.f`, placement, (e) => {
      e.write('a', size, () => {
        if (kind === 'sar') e.readSigned('a', size);
        else e.read('a', size);
        e.imm32().op(SHIFT_OP[kind]);
      });
    });
    declareFlagless(operation, flagless);
    return operation;
  });

/** Pushes CL as a count for operands of this size. */
const countInCl = (e: Emit, size: Size): FunctionBuilder =>
  e
    .readAt(STATE.GPR + GPR.RCX, 0)
    .i64(size === 3 ? 63n : 31n)
    .op('i64.and');

/** An operation whose count, in x1, is CL: a count of zero changes nothing, but clears the upper half of a 32-bit register. */
function defineByCl(name: string, size: Size, emit: (e: Emit) => void): number {
  return defineUop(name, size >= 2 ? 'loop' : 'function', (e) => {
    const { f, s } = e;
    countInCl(e, size).tee(s.x1).op('i64.eqz').if();
    if (size === 2) e.write('a', 2, () => e.read('a', 2));
    f.else();
    emit(e);
    f.end();
  });
}

const shiftCl = (kind: ShiftKind): BySize =>
  bySize((size) => {
    const name = `${kind}${8 << size}cl`;
    const operation = defineByCl(name, size, (e) => emitShift(e, kind, size));
    const flagless = defineUop(`${name}.f`, 'function', (e) => {
      e.write('a', size, () => {
        if (kind === 'sar') e.readSigned('a', size);
        else e.read('a', size);
        countInCl(e, size).op(SHIFT_OP[kind]);
      });
    });
    declareFlagless(operation, flagless);
    return operation;
  });

/** By kind and size; the count, masked and not zero, is the immediate. */
export const SHIFT_IMM: Record<ShiftKind, BySize> = {
  shl: shiftImm('shl'),
  shr: shiftImm('shr'),
  sar: shiftImm('sar'),
};
/** By kind and size; the count is CL. */
export const SHIFT_CL: Record<ShiftKind, BySize> = { shl: shiftCl('shl'), shr: shiftCl('shr'), sar: shiftCl('sar') };

/** Rotates a by x1, and leaves the result in x2, too. */
function emitRotated(e: Emit, left: boolean, size: Size): void {
  const { f, s } = e;
  const bits = 8 << size;
  if (size < 2)
    f.get(s.x1)
      .i64(BigInt(bits - 1))
      .op('i64.and')
      .set(s.x1);
  e.read('a', size).set(s.x0);
  if (size === 3)
    f.get(s.x0)
      .get(s.x1)
      .op(left ? 'i64.rotl' : 'i64.rotr')
      .set(s.x2);
  else if (size === 2) {
    f.get(s.x0)
      .op('i32.wrap_i64')
      .get(s.x1)
      .op('i32.wrap_i64')
      .op(left ? 'i32.rotl' : 'i32.rotr');
    f.op('i64.extend_i32_u').set(s.x2);
  } else {
    const [toward, back] = left ? (['i64.shl', 'i64.shr_u'] as const) : (['i64.shr_u', 'i64.shl'] as const);
    f.get(s.x0).get(s.x1).op(toward);
    f.get(s.x0).i64(BigInt(bits)).get(s.x1).op('i64.sub').op(back).op('i64.or').set(s.x2);
  }
  e.write('a', size, () => f.get(s.x2));
}

/** Rotates a by x1 (not zero before masking to the operand's width); CF and OF as defined for a count of one, others kept. */
function emitRotate(e: Emit, left: boolean, size: Size): void {
  const { f, s } = e;
  emitRotated(e, left, size);
  e.flags().i32(~0x801).op('i32.and').set(s.y0);
  const topBit = (down: number): void => {
    f.get(s.x2)
      .i64(BigInt((8 << size) - 1 - down))
      .op('i64.shr_u')
      .op('i32.wrap_i64')
      .i32(1)
      .op('i32.and');
  };
  if (left) {
    f.get(s.x2).op('i32.wrap_i64').i32(1).op('i32.and').set(s.y1);
    topBit(0);
    f.get(s.y1).op('i32.xor');
  } else {
    topBit(0);
    f.tee(s.y1);
    topBit(1);
    f.op('i32.xor');
  }
  f.i32(11).op('i32.shl').get(s.y1).op('i32.or').get(s.y0).op('i32.or').set(s.y0);
  e.explicitFlags(s.y0);
}

const rotate = (left: boolean, byCl: boolean): BySize =>
  bySize((size) => {
    const name = `${left ? 'rol' : 'ror'}${8 << size}${byCl ? 'cl' : 'i'}`;
    const operation = byCl
      ? defineByCl(name, size, (e) => emitRotate(e, left, size))
      : defineUop(name, 'function', (e) => {
          e.imm32().set(e.s.x1);
          emitRotate(e, left, size);
        });
    const flagless = defineUop(`${name}.f`, size >= 2 && !byCl ? 'loop' : 'function', (e) => {
      (byCl ? countInCl(e, size) : e.imm32()).set(e.s.x1);
      emitRotated(e, left, size);
    });
    declareFlagless(operation, flagless);
    return operation;
  });
export const ROTATE_IMM = { rol: rotate(true, false), ror: rotate(false, false) };
export const ROTATE_CL = { rol: rotate(true, true), ror: rotate(false, true) };

/** IMUL with two or three operands: a = b × (c or immediate). */
const imul = (immediate: boolean): BySize =>
  bySize((size) =>
    defineUop(`imul${8 << size}${immediate ? 'i' : ''}`, size >= 2 ? 'loop' : 'function', (e) => {
      const { f, s } = e;
      e.readSigned('b', size).set(s.x0);
      (immediate ? e.imm32() : e.readSigned('c', size)).set(s.x1);
      f.get(s.x0).get(s.x1).op('i64.mul').set(s.x3);
      f.get(s.x3);
      e.extend(size).set(s.x2);
      if (size < 3) f.get(s.x2).get(s.x3).op('i64.xor').set(s.x3);
      else {
        emitMulHigh(e, true);
        f.get(s.x2).i64(63n).op('i64.shr_s').op('i64.xor').set(s.x3);
      }
      e.write('a', size, () => f.get(s.x2));
      e.lazyFlags(CC.MUL, size, s.x2, s.x3);
    }),
  );

/** Pushes the upper half of x0 × x1; uses x3. Four partial products (Hacker's Delight §8-2). */
export function emitMulHigh(e: Emit, signed: boolean): void {
  const { f, s } = e;
  const shift = signed ? 'i64.shr_s' : 'i64.shr_u';
  const low = (x: number): void => void f.get(x).i64(0xffffffffn).op('i64.and');
  const high = (x: number): void => void f.get(x).i64(32n).op(shift);
  low(s.x0);
  low(s.x1);
  f.op('i64.mul').i64(32n).op('i64.shr_u');
  high(s.x0);
  low(s.x1);
  f.op('i64.mul').op('i64.add').set(s.x3); // cannot overflow
  low(s.x0);
  high(s.x1);
  f.op('i64.mul');
  low(s.x3);
  f.op('i64.add').i64(32n).op(shift);
  f.get(s.x3).i64(32n).op(shift).op('i64.add');
  high(s.x0);
  high(s.x1);
  f.op('i64.mul').op('i64.add');
}

export const IMUL = imul(false);
export const IMUL_IMM = imul(true);
