/** Instructions that lock their memory operand: by a prefix, and XCHG without one (SDM vol. 3 §8.1.2.2). */
import { type Size, STATE } from '../layout.ts';
import { ALU, ALU_IMM, type AluKind, DEC, INC, NEG } from '../uops/alu.ts';
import { CMOV, SETCC } from '../uops/control.ts';
import { LOAD_FOR_WRITE, MOV, MOV_IMM } from '../uops/data.ts';
import { lockedOperands, RMW, type RmwKind } from '../uops/locked.ts';
import { BIT_IMM, type BitKind } from '../uops/wide.ts';
import { helper } from './lower-common.ts';
import { TEMP0, TEMP1, TEMP2, TEMP3, type Translator } from './translator.ts';

/** The condition of SETC. */
const CARRY = 2;

/** Whether the instruction's read-modify-write of memory is locked by its prefix. */
export const isLocked = (t: Translator): boolean => t.d.lock && !t.isRegister;

/** Does it on memory; TEMP0 is what was there. */
function rmw(t: Translator, kind: RmwKind, size: Size, operand: number): void {
  t.memory(RMW[kind][size], TEMP0, lockedOperands(operand));
}

/** Puts a sign-extended immediate where a locked operation can have it. */
function constant(t: Translator, value: number): number {
  t.pure(MOV_IMM[3], TEMP1, 0, 0, value, value >> 31);
  return TEMP1;
}

/**
 * What no atomic operation does: computed in TEMP0 from what was loaded, and stored where that still stands in memory. Else the
 * instruction begins again. `usesCarry`: it reads the flag that it has set by then.
 */
function byExchange(t: Translator, size: Size, usesCarry: boolean, compute: () => void): void {
  if (usesCarry) t.put(SETCC[CARRY] as number, TEMP2);
  t.memory(LOAD_FOR_WRITE[size], TEMP0);
  t.pure(MOV[3], TEMP1, TEMP0);
  compute();
  t.memory(RMW.cmpxchg[size], TEMP3, lockedOperands(TEMP0, TEMP1));
  helper(t, 'retryUnlessSame', { a: TEMP3, b: TEMP1, c: usesCarry ? TEMP2 : 0, high: size });
}

/** `register` is the second operand's place; null: it is the immediate. */
export function lockedAlu(t: Translator, kind: AluKind, size: Size, register: number | null, immediate: number): void {
  const compute = (write: Translator['put']): void => {
    if (register === null) write.call(t, ALU_IMM[kind][size], TEMP0, 0, 0, immediate);
    else write.call(t, ALU[kind][size], TEMP0, register);
  };
  if (kind === 'adc' || kind === 'sbb') {
    byExchange(t, size, true, () => compute(t.put));
    return;
  }
  rmw(t, kind as RmwKind, size, register ?? constant(t, immediate));
  // For the flags.
  compute(t.setsFlags);
}

export function lockedIncrement(t: Translator, size: Size, step: 1 | -1): void {
  rmw(t, 'add', size, constant(t, step));
  t.put((step === 1 ? INC : DEC)[size], TEMP0);
}

export function lockedNot(t: Translator, size: Size): void {
  rmw(t, 'xor', size, constant(t, -1));
}

export function lockedNegate(t: Translator, size: Size): void {
  byExchange(t, size, false, () => t.put(NEG[size], TEMP0));
}

export function lockedExchange(t: Translator, size: Size): void {
  const g = t.gRegister(size);
  rmw(t, 'xchg', size, g);
  t.pure(MOV[size], g, TEMP0);
}

export function lockedExchangeAdd(t: Translator, size: Size): void {
  const g = t.gRegister(size);
  rmw(t, 'add', size, g);
  t.pure(MOV[size], TEMP1, TEMP0);
  t.setsFlags(ALU.add[size], TEMP0, g);
  t.pure(MOV[size], g, TEMP1);
}

/** The accumulator gets the old value where the two differ. */
export function lockedCompareExchange(t: Translator, size: Size): void {
  const accumulator = STATE.GPR;
  t.memory(RMW.cmpxchg[size], TEMP0, lockedOperands(t.gRegister(size), accumulator));
  t.put(ALU.cmp[size], accumulator, TEMP0);
  // A 32-bit register that is not written keeps its upper half, unlike with CMOV.
  if (size === 2) helper(t, 'moveKeeping32', { a: accumulator, b: TEMP0, c: 0 });
  else t.put((CMOV[5] as readonly number[])[size] as number, accumulator, TEMP0);
}

/** Of the bit whose number is the immediate. */
export function lockedBit(t: Translator, kind: Exclude<BitKind, 'bt'>, size: Size): void {
  const number = t.d.immediate & ((8 << size) - 1);
  const mask = BigInt.asIntN(64, kind === 'btr' ? ~(1n << BigInt(number)) : 1n << BigInt(number));
  t.pure(MOV_IMM[3], TEMP1, 0, 0, Number(BigInt.asIntN(32, mask)), Number(mask >> 32n));
  rmw(t, kind === 'btr' ? 'and' : kind === 'bts' ? 'or' : 'xor', size, TEMP1);
  t.put(BIT_IMM.bt[size], TEMP0, 0, 0, number);
}
