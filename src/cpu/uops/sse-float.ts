/**
 * SSE floating point with WebAssembly's arithmetic where that is provably the same: rounding to nearest, the inexact flag set already and masked,
 * operands and results that are normal numbers or exact zeros. Everything else is the helper's, which gets the same record: its operands are a
 * and b, its number the immediate.
 */
import type { Local } from '#wasm/function-builder.ts';
import { STATE } from '../layout.ts';
import type { Emit, FloatFormat } from './emit.ts';
import { defineUop } from './registry.ts';

/** Of MXCSR: FTZ, rounding control, the mask and flag of inexactness, DAZ; and what they are where WebAssembly rounds alike (SDM vol. 1 figure 10-3). */
const MXCSR_LOOKED_AT = 0xf060;
const MXCSR_PLAIN = 0x1020;

type Format = FloatFormat;
type Operation = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';
const OPERATIONS: readonly Operation[] = ['add', 'sub', 'mul', 'div', 'sqrt'];

/** The smallest normal number. */
const LEAST = { f32: 2 ** -126, f64: 2 ** -1022 } as const;
const LANES = { f32: 'f32x4', f64: 'f64x2' } as const;
const BITS = { f32: 'i32', f64: 'i64' } as const;
/** Bits of the fraction and of the exponent. */
const FRACTION = { f32: 23n, f64: 52n } as const;
const EXPONENT = { f32: 8n, f64: 11n } as const;
const FLAG = { CF: 0x01, ZF: 0x40 } as const;

const constant = (e: Emit, format: Format, value: number): void =>
  void (format === 'f32' ? e.f.f32(value) : e.f.f64(value));

const bits = (e: Emit, format: Format, value: bigint): void =>
  void (format === 'f32' ? e.f.i32(Number(BigInt.asIntN(32, value))) : e.f.i64(value));

function locals({ s }: Emit, format: Format): readonly [a: Local, b: Local, result: Local] {
  return format === 'f32' ? [s.f0, s.f1, s.f2] : [s.d0, s.d1, s.d2];
}

/** A number's bits are put here, where the conditions below look at them. */
const bitsLocal = ({ s }: Emit, format: Format): Local => (format === 'f32' ? s.y0 : s.x0);

/** Pushes whether rounding is to nearest, and inexact results need no other flag. */
function pushRoundsPlainly(e: Emit): void {
  e.state32(STATE.MXCSR).i32(MXCSR_LOOKED_AT).op('i32.and').i32(MXCSR_PLAIN).op('i32.eq');
}

function requirePlainRounding(e: Emit): void {
  e.requireMxcsr(MXCSR_LOOKED_AT, MXCSR_PLAIN, () => e.immediate());
}

/** Pushes a number's bits without its sign, which are doubled thereby. */
function pushMagnitude({ f }: Emit, format: Format, value: Local): void {
  f.get(value).op(format === 'f32' ? 'i32.reinterpret_f32' : 'i64.reinterpret_f64');
  if (format === 'f32') f.i32(1).op('i32.shl');
  else f.i64(1n).op('i64.shl');
}

/** Pushes whether a number is no denormal one: it may be infinite or not a number, for which the result is looked at. */
function pushIsNoDenormal(e: Emit, format: Format, value: Local): void {
  pushMagnitude(e, format, value);
  bits(e, format, 1n);
  e.f.op(`${BITS[format]}.sub`);
  bits(e, format, (1n << (FRACTION[format] + 1n)) - 1n);
  e.f.op(`${BITS[format]}.ge_u`);
}

/** Pushes whether a result is finite and more than the least normal number, for one that was rounded up to that was tiny; its magnitude is kept. */
function pushIsNormalResult(e: Emit, format: Format, result: Local): void {
  const least = 1n << (FRACTION[format] + 1n);
  pushMagnitude(e, format, result);
  e.f.tee(bitsLocal(e, format));
  bits(e, format, least + 1n);
  e.f.op(`${BITS[format]}.sub`);
  bits(e, format, (((1n << EXPONENT[format]) - 1n) << (FRACTION[format] + 1n)) - least - 1n);
  e.f.op(`${BITS[format]}.lt_u`);
}

function pushIsZero(e: Emit, format: Format, value: Local): void {
  e.f.get(value);
  constant(e, format, 0);
  e.f.op(`${format}.eq`);
}

/** Pushes whether a result of zero is exact, raising nothing, where no operand is denormal. */
function pushIsExactZero(e: Emit, format: Format, operation: Operation): void {
  const { f } = e;
  const [a, b] = locals(e, format);
  f.get(bitsLocal(e, format)).op(`${BITS[format]}.eqz`);
  // A sum is zero only exactly; a product or quotient of what is not zero is tiny then.
  if (operation === 'mul' || operation === 'div') {
    pushIsZero(e, format, a);
    if (operation === 'mul') {
      pushIsZero(e, format, b);
      f.op('i32.or');
    }
    f.op('i32.and');
  }
}

/** Has the helper do the record, which ends, where the i32 on the stack is zero. */
function require(e: Emit): void {
  e.f.op('i32.eqz').if();
  e.fallBackAndEnd(() => e.immediate());
  e.f.end();
}

const scalar = (format: Format, operation: Operation): number =>
  defineUop(`${operation}s${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const { f } = e;
    const [a, b, result] = locals(e, format);
    requirePlainRounding(e);
    e.readNumber('b', format).set(b);
    if (operation !== 'sqrt') e.readNumber('a', format).tee(a);
    f.get(b).op(`${format}.${operation}`).set(result);
    pushIsNoDenormal(e, format, b);
    if (operation !== 'sqrt') {
      pushIsNoDenormal(e, format, a);
      f.op('i32.and');
    }
    pushIsNormalResult(e, format, result);
    f.op('i32.and').op('i32.eqz').if();
    pushIsExactZero(e, format, operation);
    pushIsNoDenormal(e, format, b);
    f.op('i32.and');
    if (operation !== 'sqrt') {
      pushIsNoDenormal(e, format, a);
      f.op('i32.and');
    }
    require(e);
    f.end();
    e.writeNumber('a', format, () => f.get(result));
  });

const numbers = (format: Format, number: number): number[] =>
  format === 'f32'
    ? [...new Uint8Array(new Float32Array(4).fill(number).buffer)]
    : [...new Uint8Array(new Float64Array(2).fill(number).buffer)];
const ZEROS: readonly number[] = new Array<number>(16).fill(0);

/** Pushes as masks which lanes of a result are as `pushIsNormalResult` has it. */
function pushNormalLanes({ f }: Emit, format: Format, value: Local): void {
  const lanes = LANES[format];
  const compare = (number: number, comparison: 'gt' | 'lt'): void =>
    void f.get(value).simd(`${lanes}.abs`).v128(numbers(format, number)).simd(`${lanes}.${comparison}`);
  compare(LEAST[format], 'gt');
  compare(Number.POSITIVE_INFINITY, 'lt');
  f.simd('v128.and');
}

function pushZeroLanes({ f }: Emit, format: Format, value: Local): void {
  f.get(value).v128(ZEROS).simd(`${LANES[format]}.eq`);
}

function pushDenormalLanes({ f }: Emit, format: Format, value: Local): void {
  const lanes = LANES[format];
  f.get(value).simd(`${lanes}.abs`).v128(numbers(format, LEAST[format])).simd(`${lanes}.lt`);
  f.get(value).v128(ZEROS).simd(`${lanes}.ne`).simd('v128.and');
}

const packed = (format: Format, operation: Exclude<Operation, 'sqrt'>): number =>
  defineUop(`${operation}p${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const { f, s } = e;
    requirePlainRounding(e);
    e.readVector('a').set(s.v0);
    e.readVector('b').set(s.v1);
    f.get(s.v0).get(s.v1).simd(`${LANES[format]}.${operation}`).set(s.v2);
    pushNormalLanes(e, format, s.v2);
    // As in `pushIsExactZero`.
    pushZeroLanes(e, format, s.v2);
    if (operation === 'mul' || operation === 'div') {
      pushZeroLanes(e, format, s.v0);
      if (operation === 'mul') {
        pushZeroLanes(e, format, s.v1);
        f.simd('v128.or');
      }
      f.simd('v128.and');
    }
    f.simd('v128.or');
    pushDenormalLanes(e, format, s.v0);
    pushDenormalLanes(e, format, s.v1);
    f.simd('v128.or').simd('v128.andnot');
    f.simd(format === 'f32' ? 'i32x4.all_true' : 'i64x2.all_true');
    require(e);
    e.writeVector('a', () => f.get(s.v2));
  });

/** Pushes whether a number is a normal one or zero. */
function pushIsNormalOrZero(e: Emit, format: Format, value: Local): void {
  const { f } = e;
  pushIsNoDenormal(e, format, value);
  f.get(value).op(`${format}.abs`);
  constant(e, format, Number.POSITIVE_INFINITY);
  f.op(`${format}.lt`).op('i32.and');
}

function readNumbers(e: Emit, format: Format): void {
  const [a, b] = locals(e, format);
  e.readNumber('a', format).set(a);
  e.readNumber('b', format).set(b);
  pushIsNormalOrZero(e, format, a);
  pushIsNormalOrZero(e, format, b);
  e.f.op('i32.and');
  require(e);
}

/** The second operand unless the first is less (MINSx) or greater (MAXSx). */
const extreme = (format: Format, comparison: 'lt' | 'gt'): number =>
  defineUop(`${comparison === 'lt' ? 'min' : 'max'}s${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const [a, b] = locals(e, format);
    readNumbers(e, format);
    e.writeNumber('a', format, () => e.f.get(a).get(b).get(a).get(b).op(`${format}.${comparison}`).op('select'));
  });

/** COMISx and UCOMISx, which differ in what a NaN raises: OF, SF and AF are cleared, and PF unless a NaN is there. */
const compare = (format: Format): number =>
  defineUop(`comis${format === 'f32' ? 's' : 'd'}`, 'function', (e) => {
    const { f, s } = e;
    const [a, b] = locals(e, format);
    readNumbers(e, format);
    f.get(a).get(b).op(`${format}.lt`);
    f.get(a).get(b).op(`${format}.eq`).i32(Math.log2(FLAG.ZF)).op('i32.shl').op('i32.or').set(s.y0);
    e.explicitFlags(s.y0);
  });

/** a = the signed integer at b, where it has no more bits than the significand. */
const fromInteger = (format: Format, size: 2 | 3): number =>
  defineUop(`cvtsi2s${format === 'f32' ? 's' : 'd'}${8 << size}`, 'function', (e) => {
    const { f, s } = e;
    const significand = FRACTION[format] + 1n;
    e.readSigned('b', size).set(s.x0);
    f.get(s.x0)
      .i64(1n << significand)
      .op('i64.add')
      .i64(1n << (significand + 1n))
      .op('i64.lt_u');
    require(e);
    e.writeNumber('a', format, () => f.get(s.x0).op(`${format}.convert_i64_s`));
  });

/** General register a = b without its fraction. */
const truncate = (format: Format, size: 2 | 3): number =>
  defineUop(`cvtts${format === 'f32' ? 's' : 'd'}2si${8 << size}`, 'function', (e) => {
    const { f } = e;
    const [, b] = locals(e, format);
    e.readNumber('b', format).set(b);
    // Not the least integer: it is exact, and the helper's all the same.
    f.get(b).op(`${format}.abs`);
    constant(e, format, size === 2 ? 2 ** 31 : 2 ** 63);
    f.op(`${format}.lt`);
    f.get(b).get(b).op(`${format}.trunc`).op(`${format}.eq`);
    pushRoundsPlainly(e);
    f.op('i32.or').op('i32.and');
    require(e);
    e.write('a', size, () => f.get(b).op(`i64.trunc_${format}_s`));
  });

/** a = b in the other format. */
const WIDEN = defineUop('cvtss2sd', 'function', (e) => {
  const { s } = e;
  e.readNumber('b', 'f32').set(s.f1);
  pushIsNormalOrZero(e, 'f32', s.f1);
  require(e);
  e.writeNumber('a', 'f64', () => e.f.get(s.f1).op('f64.promote_f32'));
});
const NARROW = defineUop('cvtsd2ss', 'function', (e) => {
  const { f, s } = e;
  requirePlainRounding(e);
  e.readNumber('b', 'f64').tee(s.d1).op('f32.demote_f64').set(s.f2);
  pushIsNormalResult(e, 'f32', s.f2);
  pushIsZero(e, 'f64', s.d1);
  f.op('i32.or');
  require(e);
  e.writeNumber('a', 'f32', () => f.get(s.f2));
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
