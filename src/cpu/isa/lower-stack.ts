/** The stack, near branches, calls and returns, in 64-bit and in legacy code. */
import { GPR, SEGMENT, type Size, STATE } from '../layout.ts';
import {
  CALL,
  CALL_INDIRECT,
  CMP_JCC,
  CMP_JCC_IMM,
  fusedKey,
  JCC,
  JMP,
  JMP_INDIRECT,
  RET,
  SETCC,
  TEST_JCC,
  TEST_JCC_IMM,
} from '../uops/control.ts';
import {
  extensionKey,
  LEA,
  LEAVE,
  LOAD,
  LOAD_ZX,
  MOV,
  MOVZX,
  POP,
  PUSH,
  PUSH_IMM,
  STORE,
  STORE_IMM,
} from '../uops/data.ts';
import { endBlock, helper, type Lowering, sizeOf, WRITE_SEGMENT, zRegister } from './lower-common.ts';
import type { Encoding } from './table.ts';
import { TEMP0, TEMP1, type Translator } from './translator.ts';

const RSP = STATE.GPR + GPR.RSP;
const RBP = STATE.GPR + GPR.RBP;
const CS_BASE = STATE.SEGMENT_BASE + SEGMENT.CS * 8;

/** Moves the stack pointer by some bytes, as wide as the stack says. */
function moveStack(t: Translator, bytes: number, from = RSP): void {
  const lea = LEA[t.stackSize];
  t.pure(lea.bd, RSP, from, 0, bytes);
}

/** Pushes what is at a place, as wide as the operand. The stack pointer moves after the store has succeeded. */
export function pushPlace(t: Translator, place: number): void {
  const size = t.d.operandSize;
  if (size === 3) {
    t.put(PUSH, place);
    return;
  }
  const [base, displacement] = t.stackOperand(RSP, -(1 << size));
  t.put(STORE[size].bd, place, base, 0, displacement);
  moveStack(t, -(1 << size));
}

/** a = what is on top of the stack, zero extended; the stack pointer stays. */
export function loadTop(t: Translator, place: number, size: Size, displacement = 0): void {
  const [base, offset] = t.stackOperand(RSP, displacement);
  if (size < 2) t.put(LOAD_ZX[size as 0 | 1].bd, place, base, 0, offset);
  else t.put(LOAD[size].bd, place, base, 0, offset);
}

/** Takes what has been read with `loadTop` off the stack. */
export function dropTop(t: Translator, bytes: number): void {
  moveStack(t, bytes);
}

function push(t: Translator, row: Encoding): void {
  const operand = row.operands[0] as string;
  const size = t.d.operandSize;
  if (operand[0] === 'Z') pushPlace(t, zRegister(t, size));
  else if (operand[0] !== 'I') pushPlace(t, t.readRm(size));
  else if (size === 3) t.put(PUSH_IMM, 0, 0, 0, t.d.immediate);
  else {
    const [base, displacement] = t.stackOperand(RSP, -(1 << size));
    t.put(STORE_IMM[size].bd, 0, base, 0, displacement, t.d.immediate);
    moveStack(t, -(1 << size));
  }
}

function pop(t: Translator, row: Encoding): void {
  const size = t.d.operandSize;
  const register = row.operands[0]?.[0] === 'Z' ? zRegister(t, size) : t.isRegister ? t.rmRegister(size) : -1;
  if (register >= 0 && size === 3) {
    t.put(POP, register);
    return;
  }
  loadTop(t, TEMP0, size);
  if (register < 0) {
    // RSP in the address is the one after the pop; it must be back where it was if the store faults.
    if (t.d.usesStackRegister) t.d.displacement += 1 << size;
    t.memory(STORE[size], TEMP0);
  }
  moveStack(t, 1 << size);
  if (register >= 0) t.pure(MOV[size], register, TEMP0);
}

function leave(t: Translator): void {
  const size = t.d.operandSize;
  if (size === 3) {
    t.put(LEAVE);
    return;
  }
  const [base, displacement] = t.stackOperand(RBP, 0);
  t.put(LOAD[size].bd, TEMP0, base, 0, displacement);
  moveStack(t, 1 << size, RBP);
  t.pure(MOV[size], RBP, TEMP0);
}

/** Page offset of a near branch's target. */
const target = (t: Translator): number => t.nextOffset + t.d.immediate;

function finish(t: Translator): void {
  t.count = 0;
  t.ended = true;
}

/** Whether a branch cuts its target to 16 bits: a helper takes it. */
const cutsTarget = (t: Translator): boolean => t.isLegacy && t.d.operandSize === 1;

function jcc(t: Translator, row: Encoding): void {
  const n = row.attributes.n as number;
  if (cutsTarget(t)) {
    t.put(SETCC[n] as number, TEMP0);
    helper(t, 'branch16', { a: TEMP0, high: target(t) });
    return;
  }
  const { compare } = t;
  const fits = !compare.immediate || (compare.b >= -0x8000 && compare.b < 0x8000);
  if (compare.record !== 0 && compare.record === t.next - 16 && fits) {
    const table =
      compare.kind === 'cmp'
        ? compare.immediate
          ? CMP_JCC_IMM
          : CMP_JCC
        : compare.immediate
          ? TEST_JCC_IMM
          : TEST_JCC;
    const op = table.get(fusedKey(compare.size, n));
    if (op !== undefined) {
      t.retract(compare.record);
      compare.record = 0;
      t.put(op, compare.a, compare.b & 0xffff, t.count, 0, target(t));
      t.count = 0;
      return;
    }
  }
  t.put(JCC[n] as number, 0, 0, t.count, 0, target(t));
  t.count = 0;
}

/** Goes to the target of a direct branch. */
function branch(t: Translator): void {
  if (cutsTarget(t)) {
    helper(t, 'branch16', { high: target(t) });
    endBlock(t);
    return;
  }
  t.put(JMP, 0, 0, t.count, 0, target(t));
  finish(t);
}

/** Goes to the instruction pointer at a place, zero extended. */
function branchTo(t: Translator, place: number): void {
  if (t.addsBases) t.pure(LEA[2].bx, TEMP0, place, CS_BASE);
  t.put(JMP_INDIRECT, t.addsBases ? TEMP0 : place, 0, t.count);
  finish(t);
}

/** The place of an indirect branch's operand, zero extended. */
function indirectTarget(t: Translator): number {
  const size = t.d.operandSize;
  if (size === 3) return t.readRm(3);
  if (t.isRegister) t.pure(MOVZX.get(extensionKey(size, 3)) as number, TEMP0, t.rmRegister(size));
  else if (size === 2) t.memory(LOAD[2], TEMP0);
  else t.memory(LOAD_ZX[1], TEMP0);
  return TEMP0;
}

function jmp(t: Translator, row: Encoding): void {
  if (row.operands[0]?.[0] === 'J') branch(t);
  else branchTo(t, indirectTarget(t));
}

/** Puts the instruction pointer of the next instruction at a place. */
function returnAddress(t: Translator, place: number): void {
  if (t.addsBases || t.d.operandSize === 1) helper(t, 'returnAddress', { a: place });
  else t.pure(LEA[2].bd, place, STATE.CODE_PAGE, 0, t.nextOffset);
}

function call(t: Translator, row: Encoding): void {
  const direct = row.operands[0]?.[0] === 'J';
  if (!t.isLegacy) {
    if (direct) t.put(CALL, 0, t.nextOffset, t.count, 0, target(t));
    else t.put(CALL_INDIRECT, t.readRm(3), t.nextOffset, t.count);
    finish(t);
    return;
  }
  const place = direct ? TEMP0 : indirectTarget(t);
  returnAddress(t, TEMP1);
  pushPlace(t, TEMP1);
  if (direct) branch(t);
  else branchTo(t, place);
}

function ret(t: Translator): void {
  const drop = t.d.immediate & 0xffff;
  if (t.d.operandSize === 3) {
    t.put(RET, 0, 0, t.count, drop);
    finish(t);
    return;
  }
  loadTop(t, TEMP0, t.d.operandSize);
  moveStack(t, (1 << t.d.operandSize) + drop);
  branchTo(t, TEMP0);
}

/** LOOP, LOOPE, LOOPNE and JRCXZ keep the flags: the counter is looked at by a helper. */
const loop =
  (kind: number): Lowering =>
  (t) => {
    helper(t, 'loop', { a: kind, b: t.d.addressSize, c: cutsTarget(t) ? 1 : 0, high: target(t) });
    endBlock(t);
  };

/** Ends a block after a segment register has been written: legacy code that comes next may be decoded otherwise. */
function endSegment(t: Translator): void {
  if (t.isLegacy) helper(t, 'resyncAfter');
  endBlock(t);
}

export const STACK_LOWERINGS: Readonly<Record<string, Lowering>> = {
  PUSH: push,
  POP: pop,
  LEAVE: leave,
  Jcc: jcc,
  JMP: jmp,
  CALL: call,
  RET: ret,
  LOOPNE: loop(2),
  LOOPE: loop(1),
  LOOP: loop(0),
  JCXZ: loop(3),
  ENTER: (t) => helper(t, 'enter', { a: t.d.immediate & 0xffff, b: t.d.immediateHigh & 31, high: t.d.operandSize }),
  PUSHA: (t) => helper(t, 'pusha', { high: t.d.operandSize }),
  POPA: (t) => helper(t, 'popa', { high: t.d.operandSize }),
  PUSHF: (t) => helper(t, 'pushf', { high: t.d.operandSize }),
  POPF: (t) => helper(t, 'popf', { high: t.d.operandSize, ends: true }),
  PUSH_SREG: (t, row) => {
    helper(t, 'readSegment', { a: TEMP0, b: row.attributes.n as number });
    if (t.d.operandSize !== 2) {
      pushPlace(t, TEMP0);
      return;
    }
    // *Measured*: of a 32-bit push of a segment register only the lower half is written.
    const [base, displacement] = t.stackOperand(RSP, -4);
    t.put(STORE[1].bd, TEMP0, base, 0, displacement);
    moveStack(t, -4);
  },
  POP_SREG: (t, row) => {
    const size = t.d.operandSize;
    loadTop(t, TEMP0, size);
    // The stack pointer moves once the descriptor has been found good.
    helper(t, 'writeSegment', { a: TEMP0, b: row.attributes.n as number, c: WRITE_SEGMENT.GOES_ON });
    moveStack(t, 1 << size);
    endSegment(t);
  },
  /** LDS, LES, LFS, LGS and LSS: the selector lies behind the offset. */
  LOAD_FAR: (t, row) => {
    const size = sizeOf(t, row.operands[0] as string);
    t.memory(size < 2 ? LOAD_ZX[1] : LOAD[size], TEMP1);
    t.d.displacement += 1 << size;
    t.memory(LOAD_ZX[1], TEMP0);
    const c = WRITE_SEGMENT.GOES_ON | WRITE_SEGMENT.NO_SHADOW;
    helper(t, 'writeSegment', { a: TEMP0, b: row.attributes.n as number, c });
    t.pure(MOV[size], t.gRegister(size), TEMP1);
    endSegment(t);
  },
};
