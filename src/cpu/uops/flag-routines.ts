/** The functions that turn lazy flags into real ones; layout.ts says what each kind keeps. */
import type { FunctionBuilder, Label } from '#wasm/function-builder.ts';
import { CC, CC_SIZE_SHIFT, STATE } from '../layout.ts';

interface FlagLocals {
  kind: number;
  shift: number;
  d: number;
  s: number;
  a: number;
  carry: number;
}

const MIN64 = -0x8000000000000000n;

/** Loads kind, the shift that brings the operand's top bit to bit 63, and the operands shifted so. */
function loadOperands(f: FunctionBuilder): FlagLocals {
  const l = {
    kind: f.local('i32'),
    shift: f.local('i64'),
    d: f.local('i64'),
    s: f.local('i64'),
    a: f.local('i64'),
    carry: f.local('i64'),
  };
  f.i32(0).mem('i32.load', STATE.CC_OP).tee(l.kind);
  f.i32(CC_SIZE_SHIFT).op('i32.shr_u').set(l.kind);
  f.i64(64n).i64(8n).get(l.kind).op('i64.extend_i32_u').op('i64.shl').op('i64.sub').set(l.shift);
  f.i32(0).mem('i32.load', STATE.CC_OP).i32(15).op('i32.and').set(l.kind);
  f.i32(0).mem('i64.load', STATE.CC_DST).get(l.shift).op('i64.shl').set(l.d);
  f.i32(0).mem('i64.load', STATE.CC_SRC).get(l.shift).op('i64.shl').set(l.s);
  f.i32(0).mem('i64.load32_u', STATE.CC_CARRY).get(l.shift).op('i64.shl').set(l.carry);
  return l;
}

/** Opens one block per kind and branches to the one in `kind`; `arm` is called for each kind in order. */
function eachKind(f: FunctionBuilder, kind: number, arm: (kind: number) => void): void {
  const labels: Label[] = [];
  for (let k = CC.MUL; k >= 0; k--) labels[k] = f.block();
  f.get(kind).brTable(labels, labels[0] as Label);
  for (let k = 0; k <= CC.MUL; k++) {
    f.end();
    arm(k);
    f.op('return');
  }
  f.op('unreachable');
}

/** The first operand of an addition or subtraction, from result and second operand. */
function pushFirstOperand(f: FunctionBuilder, l: FlagLocals, kind: number): void {
  const sum = kind === CC.ADD || kind === CC.ADC;
  const back = sum ? 'i64.sub' : 'i64.add';
  f.get(l.d).get(l.s).op(back);
  if (kind === CC.ADC || kind === CC.SBB) f.get(l.carry).op(back);
}

/** Pushes CF as i32; for subtractions `a` holds the first operand. */
function pushCarry(f: FunctionBuilder, l: FlagLocals, kind: number): void {
  const withCarry = (loose: 'i64.le_u', strict: 'i64.lt_u', left: number): void => {
    f.get(left).get(l.s).op(loose).get(left).get(l.s).op(strict).get(l.carry).op('i64.eqz').op('i32.eqz').op('select');
  };
  if (kind === CC.ADD) f.get(l.d).get(l.s).op('i64.lt_u');
  else if (kind === CC.ADC) withCarry('i64.le_u', 'i64.lt_u', l.d);
  else if (kind === CC.SUB) f.get(l.a).get(l.s).op('i64.lt_u');
  else if (kind === CC.SBB) withCarry('i64.le_u', 'i64.lt_u', l.a);
  else if (kind === CC.LOGIC) f.i32(0);
  else if (kind === CC.SHL) f.get(l.s).i64(0n).op('i64.lt_s');
  else if (kind === CC.MUL) f.i32(0).mem('i64.load', STATE.CC_SRC).op('i64.eqz').op('i32.eqz');
  else f.i32(0).mem('i32.load', STATE.CC_SRC).i32(1).op('i32.and');
}

const subtracts = (kind: number): boolean => kind === CC.SUB || kind === CC.SBB;
const adds = (kind: number): boolean => kind === CC.ADD || kind === CC.ADC;

/** () → CF as 0 or 1. */
export function writeCarryRoutine(f: FunctionBuilder): void {
  const l = loadOperands(f);
  eachKind(f, l.kind, (kind) => {
    if (subtracts(kind)) {
      pushFirstOperand(f, l, kind);
      f.set(l.a);
    }
    pushCarry(f, l, kind);
  });
}

/** Pushes OF as i32 0 or 1. */
function pushOverflow(f: FunctionBuilder, l: FlagLocals, kind: number): void {
  if (adds(kind))
    f.get(l.d).get(l.a).op('i64.xor').get(l.d).get(l.s).op('i64.xor').op('i64.and').i64(0n).op('i64.lt_s');
  else if (subtracts(kind))
    f.get(l.a).get(l.s).op('i64.xor').get(l.a).get(l.d).op('i64.xor').op('i64.and').i64(0n).op('i64.lt_s');
  else if (kind === CC.INC) f.get(l.d).i64(MIN64).op('i64.eq');
  else if (kind === CC.DEC) f.get(l.d).i64(1n).get(l.shift).op('i64.shl').op('i64.add').i64(MIN64).op('i64.eq');
  else if (kind === CC.SHL || kind === CC.SHR) f.get(l.s).get(l.d).op('i64.xor').i64(0n).op('i64.lt_s');
  else if (kind === CC.MUL) pushCarry(f, l, kind);
  else f.i32(0);
}

/** Pushes AF in its place as i32. */
function pushAdjust(f: FunctionBuilder, l: FlagLocals, kind: number): void {
  const low = (value: number): void => void f.get(value).get(l.shift).op('i64.shr_u').op('i32.wrap_i64');
  if (adds(kind) || subtracts(kind)) {
    low(l.d);
    low(l.s);
    low(l.a);
    f.ops('i32.xor', 'i32.xor').i32(0x10).op('i32.and');
  } else if (kind === CC.INC || kind === CC.DEC) {
    low(l.d);
    f.i32(15)
      .op('i32.and')
      .i32(kind === CC.INC ? 0 : 15)
      .op('i32.eq')
      .i32(4)
      .op('i32.shl');
  } else f.i32(0);
}

/** () → the six arithmetic flags in their places. */
export function writeFlagsRoutine(f: FunctionBuilder): void {
  const l = loadOperands(f);
  eachKind(f, l.kind, (kind) => {
    if (kind === CC.EXPLICIT) {
      f.i32(0).mem('i32.load', STATE.CC_SRC);
      return;
    }
    if (adds(kind) || subtracts(kind)) {
      pushFirstOperand(f, l, kind);
      f.set(l.a);
    }
    pushCarry(f, l, kind);
    pushOverflow(f, l, kind);
    f.i32(11).op('i32.shl').op('i32.or');
    pushAdjust(f, l, kind);
    f.op('i32.or');
    f.get(l.d).op('i64.eqz').i32(6).op('i32.shl').op('i32.or');
    f.get(l.d).i64(0n).op('i64.lt_s').i32(7).op('i32.shl').op('i32.or');
    f.i32(0).mem('i32.load8_u', STATE.CC_DST).op('i32.popcnt').i32(1).op('i32.and').i32(1).op('i32.xor');
    f.i32(2).op('i32.shl').op('i32.or');
  });
}

/** (condition) → boolean, by SDM vol. 1 appendix B. `flags` is the index of the flags routine. */
export function writeConditionRoutine(f: FunctionBuilder, flags: number): void {
  const condition = 0;
  const bits = f.local('i32');
  const result = f.local('i32');
  f.call(flags).set(bits);
  const bit = (position: number): void => void f.get(bits).i32(position).op('i32.shr_u').i32(1).op('i32.and');
  const done = f.block();
  const labels: Label[] = [];
  for (let n = 7; n >= 0; n--) labels[n] = f.block();
  f.get(condition)
    .i32(1)
    .op('i32.shr_u')
    .brTable(labels, labels[0] as Label);
  const arms = [
    () => bit(11),
    () => bit(0),
    () => bit(6),
    () => void f.get(bits).i32(0x41).op('i32.and').i32(0).op('i32.ne'),
    () => bit(7),
    () => bit(2),
    () => {
      bit(7);
      bit(11);
      f.op('i32.xor');
    },
    () => {
      bit(7);
      bit(11);
      f.op('i32.xor');
      bit(6);
      f.op('i32.or');
    },
  ];
  for (const arm of arms) {
    f.end();
    arm();
    f.set(result).br(done);
  }
  f.end();
  f.get(result).get(condition).i32(1).op('i32.and').op('i32.xor');
}
