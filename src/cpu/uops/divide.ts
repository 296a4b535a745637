/** DIV and IDIV of 32 and 64 bits: what WebAssembly divides is done here, all else (and every fault) by the general helper. */
import { helperNumber } from '../isa/helper-names.ts';
import { GPR, STATE } from '../layout.ts';
import type { Emit } from './emit.ts';
import { defineUop } from './registry.ts';

const RAX = STATE.GPR + GPR.RAX;
const RDX = STATE.GPR + GPR.RDX;
const LOW_32 = 0xffffffffn;

/** Runs the helper, which reads the same record: a is the divisor, the upper immediate its size. */
function general(e: Emit, signed: boolean): void {
  e.fallBack(() => e.f.i32(helperNumber(signed ? 'idiv' : 'div')));
}

/** With the dividend in x0 and the divisor in x1: pushes whether WebAssembly's division neither traps nor wraps. */
function divides(e: Emit, signed: boolean): void {
  const { f, s } = e;
  f.get(s.x1).i64(0n).op('i64.ne');
  // The one quotient that does not fit: the smallest number divided by −1.
  if (signed) f.get(s.x1).i64(-1n).op('i64.ne').op('i32.and');
}

function divideInto(e: Emit, signed: boolean): void {
  const { f, s } = e;
  f.get(s.x0)
    .get(s.x1)
    .op(signed ? 'i64.div_s' : 'i64.div_u')
    .set(s.x2);
  f.get(s.x0)
    .get(s.x1)
    .op(signed ? 'i64.rem_s' : 'i64.rem_u')
    .set(s.x3);
}

const divide32 = (signed: boolean): number =>
  defineUop(`${signed ? 'idiv' : 'div'}32`, 'function', (e) => {
    const { f, s } = e;
    e.state64(RDX).i64(32n).op('i64.shl');
    e.readAt(RAX, 2).op('i64.or').set(s.x0);
    (signed ? e.readSigned('a', 2) : e.read('a', 2)).set(s.x1);
    divides(e, signed);
    f.if('i32');
    divideInto(e, signed);
    // Whether the quotient fits; else #DE.
    f.get(s.x2);
    if (signed) f.op('i64.extend32_s').get(s.x2).op('i64.eq');
    else f.i64(32n).op('i64.shr_u').op('i64.eqz');
    f.else();
    f.i32(0);
    f.end();
    f.if();
    e.setState64(RAX, () => f.get(s.x2).i64(LOW_32).op('i64.and'));
    e.setState64(RDX, () => f.get(s.x3).i64(LOW_32).op('i64.and'));
    f.else();
    general(e, signed);
    f.end();
  });

const divide64 = (signed: boolean): number =>
  defineUop(`${signed ? 'idiv' : 'div'}64`, 'function', (e) => {
    const { f, s } = e;
    e.state64(RAX).set(s.x0);
    e.read('a', 3).set(s.x1);
    divides(e, signed);
    // The upper half says nothing new.
    e.state64(RDX);
    if (signed) f.get(s.x0).i64(63n).op('i64.shr_s').op('i64.eq');
    else f.op('i64.eqz');
    f.op('i32.and').if();
    divideInto(e, signed);
    e.setState64(RAX, () => f.get(s.x2));
    e.setState64(RDX, () => f.get(s.x3));
    f.else();
    general(e, signed);
    f.end();
  });

/** By operand size; bytes and words go to the helper. */
export const DIV = [-1, -1, divide32(false), divide64(false)] as const;
export const IDIV = [-1, -1, divide32(true), divide64(true)] as const;
