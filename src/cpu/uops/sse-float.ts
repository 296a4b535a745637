/**
 * SSE floating point with WebAssembly's arithmetic where that is provably the same: rounding to nearest, the inexact flag set already and masked,
 * operands and results that are normal numbers or exact zeros. Everything else is the helper's, which gets the same record: its operands are a
 * and b, its number the immediate.
 */
import type { Local } from '#wasm/function-builder.ts';
import { STATE } from '../layout.ts';
import type { Emit } from './emit.ts';
import { defineUop } from './registry.ts';

/** Of MXCSR: FTZ, rounding control, the mask and flag of inexactness, DAZ; and what they are where WebAssembly rounds alike (SDM vol. 1 figure 10-3). */
const MXCSR_LOOKED_AT = 0xf060;
const MXCSR_PLAIN = 0x1020;

type Format = 'f32' | 'f64';
type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
const OPERATIONS: readonly Operation[] = ['add', 'sub', 'mul', 'div', 'sqrt'];

/** The smallest normal number. */
const LEAST = { f32: 2 ** -126, f64: 2 ** -1022 } as const;
const LANES = { f32: 'f32x4', f64: 'f64x2' } as const;
const FLAG = { CF: 0x01, ZF: 0x40 } as const;

const constant = (e: Emit, format: Format, value: number): void =>
  void (format === 'f32' ? e.f.f32(value) : e.f.f64(value));

function locals({ s }: Emit, format: Format): readonly [a: Local, b: Local, result: Local] {
  return format === 'f32' ? [s.f0, s.f1, s.f2] : [s.d0, s.d1, s.d2];
}

/** Pushes whether inexact results need no other flag, and rounding is to nearest. */
function pushRoundsPlainly(e: Emit): void {
  e.state32(STATE.MXCSR).i32(MXCSR_LOOKED_AT).op('i32.and').i32(MXCSR_PLAIN).op('i32.eq');
}

/** Pushes whether a number is normal; of a result more than the least one, for one that was rounded up to that was tiny. */
function pushIsNormal(e: Emit, format: Format, value: Local, isResult = false): void {
  e.f.get(value).op(`${format}.abs`);
  constant(e, format, LEAST[format]);
  e.f.op(isResult ? `${format}.gt` : `${format}.ge`);
  e.f.get(value).op(`${format}.abs`);
  constant(e, format, Number.POSITIVE_INFINITY);
  e.f.op(`${format}.lt`).op('i32.and');
}

function pushIsZero(e: Emit, format: Format, value: Local): void {
  e.f.get(value);
  constant(e, format, 0);
  e.f.op(`${format}.eq`);
}

function pushIsNormalOrZero(e: Emit, format: Format, value: Local): void {
  pushIsNormal(e, format, value);
  pushIsZero(e, format, value);
  e.f.op('i32.or');
}

/** Pushes whether the operands and the result raise nothing but inexactness. */
function pushIsPlain(e: Emit, format: Format, operation: Operation): void {
  const { f } = e;
  const [a, b, result] = locals(e, format);
  const and = (): void => void f.op('i32.and');
  if (operation === 'sqrt') {
    pushIsNormal(e, format, b);
    f.get(b);
    constant(e, format, 0);
    f.op(`${format}.gt`).op('i32.and');
    pushIsZero(e, format, b);
    f.op('i32.or');
    return;
  }
  pushIsNormalOrZero(e, format, a);
  if (operation === 'div') pushIsNormal(e, format, b);
  else pushIsNormalOrZero(e, format, b);
  and();
  pushIsNormal(e, format, result, true);
  // A sum is zero only exactly; a product or quotient of what is not zero is tiny then.
  if (operation === 'mul' || operation === 'div') {
    pushIsZero(e, format, a);
    f.op('i32.or');
    if (operation === 'mul') {
      pushIsZero(e, format, b);
      f.op('i32.or');
    }
  } else {
    pushIsZero(e, format, result);
    f.op('i32.or');
  }
  and();
}

function loadOperands(e: Emit, format: Format): void {
  const [a, b] = locals(e, format);
  e.place('a').mem(`${format}.load`).set(a);
  e.place('b').mem(`${format}.load`).set(b);
}

/** Stores the result where the condition on the stack holds; else it is the helper's. */
function storeIfPlain(e: Emit, format: Format): void {
  const [, , result] = locals(e, format);
  e.f.if();
  e.place('a').get(result).mem(`${format}.store`);
  e.f.else();
  e.fallBack(() => e.immediate());
  e.f.end();
}

const scalar = (format: Format, operation: Operation): number =>
  defineUop(`${operation}s${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const [a, b, result] = locals(e, format);
    loadOperands(e, format);
    if (operation !== 'sqrt') e.f.get(a);
    e.f.get(b).op(`${format}.${operation}`).set(result);
    pushRoundsPlainly(e);
    pushIsPlain(e, format, operation);
    e.f.op('i32.and');
    storeIfPlain(e, format);
  });

/** Pushes the lanes of a vector that are normal numbers, as masks. */
function pushNormalLanes(e: Emit, format: Format, value: Local, isResult = false): void {
  const { f } = e;
  const lanes = LANES[format];
  const bits = (number: number): number[] =>
    format === 'f32'
      ? [...new Uint8Array(new Float32Array(4).fill(number).buffer)]
      : [...new Uint8Array(new Float64Array(2).fill(number).buffer)];
  f.get(value)
    .simd(`${lanes}.abs`)
    .v128(bits(LEAST[format]))
    .simd(isResult ? `${lanes}.gt` : `${lanes}.ge`);
  f.get(value).simd(`${lanes}.abs`).v128(bits(Number.POSITIVE_INFINITY)).simd(`${lanes}.lt`).simd('v128.and');
}

const ZEROS: readonly number[] = new Array<number>(16).fill(0);

function pushZeroLanes(e: Emit, format: Format, value: Local): void {
  e.f.get(value).v128(ZEROS).simd(`${LANES[format]}.eq`);
}

const packed = (format: Format, operation: Exclude<Operation, 'sqrt'>): number =>
  defineUop(`${operation}p${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const { f, s } = e;
    e.place('a').simdMem('v128.load').set(s.v0);
    e.place('b').simdMem('v128.load').set(s.v1);
    f.get(s.v0).get(s.v1).simd(`${LANES[format]}.${operation}`).set(s.v2);
    for (const operand of [s.v0, s.v1]) {
      pushNormalLanes(e, format, operand);
      if (operation !== 'div' || operand === s.v0) {
        pushZeroLanes(e, format, operand);
        f.simd('v128.or');
      }
    }
    f.simd('v128.and');
    pushNormalLanes(e, format, s.v2, true);
    // As in `pushIsPlain`.
    for (const zero of operation === 'mul' ? [s.v0, s.v1] : operation === 'div' ? [s.v0] : [s.v2]) {
      pushZeroLanes(e, format, zero);
      f.simd('v128.or');
    }
    f.simd('v128.and').simd(format === 'f32' ? 'i32x4.all_true' : 'i64x2.all_true');
    pushRoundsPlainly(e);
    f.op('i32.and').if();
    e.place('a').get(s.v2).simdMem('v128.store');
    f.else();
    e.fallBack(() => e.immediate());
    f.end();
  });

/** The second operand unless the first is less (MINSx) or greater (MAXSx). */
const extreme = (format: Format, comparison: 'lt' | 'gt'): number =>
  defineUop(`${comparison === 'lt' ? 'min' : 'max'}s${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const [a, b, result] = locals(e, format);
    loadOperands(e, format);
    e.f.get(a).get(b).get(a).get(b).op(`${format}.${comparison}`).op('select').set(result);
    pushIsNormalOrZero(e, format, a);
    pushIsNormalOrZero(e, format, b);
    e.f.op('i32.and');
    storeIfPlain(e, format);
  });

/** COMISx and UCOMISx, which differ in what a NaN raises: OF, SF and AF are cleared, and PF unless a NaN is there. */
const compare = (format: Format): number =>
  defineUop(`comis${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const { f, s } = e;
    const [a, b] = locals(e, format);
    loadOperands(e, format);
    pushIsNormalOrZero(e, format, a);
    pushIsNormalOrZero(e, format, b);
    f.op('i32.and').op('i32.eqz').if();
    e.fallBackAndEnd(() => e.immediate());
    f.end();
    f.get(a).get(b).op(`${format}.lt`);
    f.get(a).get(b).op(`${format}.eq`).i32(Math.log2(FLAG.ZF)).op('i32.shl').op('i32.or').set(s.y0);
    e.explicitFlags(s.y0);
  });

/** a = the signed integer at b, where it has no more bits than the significand. */
const fromInteger = (format: Format, size: 2 | 3): number =>
  defineUop(`cvtsi2s${format === 'f32' ? 's' : 'd'}${8 << size}`, 'function', (e) => {
    const { f, s } = e;
    const bits = format === 'f32' ? 24n : 53n;
    const [, , result] = locals(e, format);
    e.readSigned('b', size).set(s.x0);
    f.get(s.x0).op(`${format}.convert_i64_s`).set(result);
    f.get(s.x0)
      .i64(1n << bits)
      .op('i64.add')
      .i64(1n << (bits + 1n))
      .op('i64.lt_u');
    storeIfPlain(e, format);
  });

/** General register a = b without its fraction. */
const truncate = (format: Format, size: 2 | 3): number =>
  defineUop(`cvtts${format === 'f32' ? 's' : 'd'}2si${8 << size}`, 'function', (e) => {
    const { f } = e;
    const [, b] = locals(e, format);
    e.place('b').mem(`${format}.load`).set(b);
    // Not the least integer: it is exact, and the helper's all the same.
    f.get(b).op(`${format}.abs`);
    constant(e, format, size === 2 ? 2 ** 31 : 2 ** 63);
    f.op(`${format}.lt`);
    f.get(b).get(b).op(`${format}.trunc`).op(`${format}.eq`);
    pushRoundsPlainly(e);
    f.op('i32.or').op('i32.and').if();
    e.write('a', size, () => f.get(b).op(`i64.trunc_${format}_s`));
    f.else();
    e.fallBack(() => e.immediate());
    f.end();
  });

/** a = b in the other format. */
const WIDEN = defineUop('cvtss2sd', 'function', (e) => {
  const { f, s } = e;
  e.place('b').mem('f32.load').tee(s.f1).op('f64.promote_f32').set(s.d2);
  pushIsNormalOrZero(e, 'f32', s.f1);
  f.if();
  e.place('a').get(s.d2).mem('f64.store');
  f.else();
  e.fallBack(() => e.immediate());
  f.end();
});
const NARROW = defineUop('cvtsd2ss', 'function', (e) => {
  const { f, s } = e;
  e.place('b').mem('f64.load').tee(s.d1).op('f32.demote_f64').set(s.f2);
  pushIsNormal(e, 'f32', s.f2, true);
  pushIsZero(e, 'f64', s.d1);
  f.op('i32.or');
  pushRoundsPlainly(e);
  f.op('i32.and');
  storeIfPlain(e, 'f32');
});

const FORMATS = [
  ['f32', 's'],
  ['f64', 'd'],
] as const;

/** By the name of the helpers' function that does the same. */
export const SSE_FLOAT: Readonly<Record<string, number>> = Object.fromEntries([
  ...FORMATS.flatMap(([format, letter]) => {
    const comparison = compare(format);
    return [
      ...OPERATIONS.map((operation) => [`${operation}s${letter}`, scalar(format, operation)]),
      ...OPERATIONS.flatMap((operation) =>
        operation === 'sqrt' ? [] : [[`${operation}p${letter}`, packed(format, operation)]],
      ),
      [`mins${letter}`, extreme(format, 'lt')],
      [`maxs${letter}`, extreme(format, 'gt')],
      [`comis${letter}`, comparison],
      [`ucomis${letter}`, comparison],
      ...([2, 3] as const).flatMap((size) => [
        [`cvtsi2s${letter}${8 << size}`, fromInteger(format, size)],
        [`cvtts${letter}2si${8 << size}`, truncate(format, size)],
      ]),
    ];
  }),
  ['cvtss2sd', WIDEN],
  ['cvtsd2ss', NARROW],
]);
