/** What each mnemonic of general-purpose code becomes: a sequence of micro-operations. */
import { GPR, type Size, STATE } from '../layout.ts';
import {
  ALU,
  ALU_IMM,
  type AluKind,
  DEC,
  IMUL,
  IMUL_IMM,
  INC,
  NEG,
  NOT,
  ROTATE_CL,
  ROTATE_IMM,
  SHIFT_CL,
  SHIFT_IMM,
  type ShiftKind,
} from '../uops/alu.ts';
import { CMOV, SETCC } from '../uops/control.ts';
import {
  BSWAP16,
  BSWAP32,
  BSWAP64,
  extensionKey,
  LEA,
  LOAD,
  LOAD_ZX,
  MOV,
  MOV_IMM,
  MOVSX,
  MOVZX,
  STORE,
  STORE_IMM,
  XCHG,
} from '../uops/data.ts';
import { DIV, IDIV } from '../uops/divide.ts';
import { FENCE, PAUSE } from '../uops/locked.ts';
import {
  BIT,
  BIT_IMM,
  BIT_KINDS,
  type BitKind,
  BSF,
  BSR,
  CLC,
  CMC,
  IMUL_WIDE,
  MUL_WIDE,
  POPCNT,
  SHLD,
  SHRD,
  SIGN_TO_DX,
  STC,
} from '../uops/wide.ts';
import { helper, type Lowering, sizeOf, undefinedInstruction, zRegister } from './lower-common.ts';
import {
  isLocked,
  lockedAlu,
  lockedBit,
  lockedCompareExchange,
  lockedExchange,
  lockedExchangeAdd,
  lockedIncrement,
  lockedNegate,
  lockedNot,
} from './lower-locked.ts';
import { SIMD_LOWERINGS } from './lower-simd.ts';
import { STACK_LOWERINGS } from './lower-stack.ts';
import { SYSTEM_LOWERINGS } from './lower-system.ts';
import type { Encoding } from './table.ts';
import { TEMP_ADDRESS, TEMP0, TEMP1, type Translator } from './translator.ts';

const RAX = STATE.GPR + GPR.RAX;
const MFENCE_DIGIT = 6;
/** NOP, which is XCHG of RAX with itself, is PAUSE with this prefix. */
const PAUSE_PREFIX = 0xf3;

function alu(kind: AluKind): Lowering {
  return (t, row) => {
    const [first = '', second = ''] = row.operands;
    const size = sizeOf(t, first);
    const keeps = kind === 'cmp' || kind === 'test';
    const immediate = second[0] === 'I';
    const value = size === 0 ? (t.d.immediate << 24) >> 24 : size === 1 ? (t.d.immediate << 16) >> 16 : t.d.immediate;
    if (first[0] === 'E' && !keeps && isLocked(t)) {
      lockedAlu(t, kind, size, immediate ? null : t.gRegister(size), value);
      return;
    }
    let a: number;
    let b = 0;
    if (first[0] === 'E') {
      if (!immediate) b = t.gRegister(size);
      a = t.readRm(size, !keeps);
    } else if (first[0] === 'G') {
      a = t.gRegister(size);
      b = t.readRm(size);
    } else a = RAX;
    const op = (immediate ? ALU_IMM : ALU)[kind][size];
    const write = kind === 'adc' || kind === 'sbb' ? t.put : t.setsFlags;
    const record = write.call(t, op, a, b, 0, immediate ? value : 0);
    if (keeps && size !== 1) Object.assign(t.compare, { record, kind, size, a, b: immediate ? value : b, immediate });
    if (first[0] === 'E' && !keeps) t.writeBack(size);
  };
}

const oneOperand =
  (
    ops: readonly number[],
    write: 'setsFlags' | 'mergesFlags' | 'pure',
    locked: (t: Translator, size: Size) => void,
  ): Lowering =>
  (t, row) => {
    const operand = row.operands[0] as string;
    const size = sizeOf(t, operand);
    if (isLocked(t)) {
      locked(t, size);
      return;
    }
    if (operand[0] === 'Z') {
      t[write](ops[size] as number, zRegister(t, size));
      return;
    }
    const a = t.readRm(size, true);
    t[write](ops[size] as number, a);
    t.writeBack(size);
  };

const wideOperand =
  (ops: readonly number[]): Lowering =>
  (t, row) => {
    const size = sizeOf(t, row.operands[0] as string);
    t.put(ops[size] as number, t.readRm(size));
  };

const divide =
  (name: 'div' | 'idiv', ops: readonly number[]): Lowering =>
  (t, row) => {
    const size = sizeOf(t, row.operands[0] as string);
    const a = t.readRm(size);
    if (size < 2) helper(t, name, { a, high: size });
    else t.put(ops[size] as number, a, 0, 0, 0, size);
  };

function shift(kind: ShiftKind | 'rol' | 'ror'): Lowering {
  return (t, row) => {
    const size = sizeOf(t, row.operands[0] as string);
    const count = row.operands[1] === '1' ? 1 : t.d.immediate & (size === 3 ? 63 : 31);
    const a = t.readRm(size, true);
    if (row.operands[1] === 'CL') {
      t.mergesFlags(kind === 'rol' || kind === 'ror' ? ROTATE_CL[kind][size] : SHIFT_CL[kind][size], a);
    } else if (count === 0) {
      if (size === 2) t.pure(MOV[2], a, a);
    } else if (kind === 'rol' || kind === 'ror') t.mergesFlags(ROTATE_IMM[kind][size], a, 0, 0, count);
    else t.setsFlags(SHIFT_IMM[kind][size], a, 0, 0, count);
    t.writeBack(size);
  };
}

const rotateThroughCarry =
  (name: 'rcl' | 'rcr'): Lowering =>
  (t, row) => {
    const size = sizeOf(t, row.operands[0] as string);
    const count = row.operands[1] === '1' ? 1 : t.d.immediate & 0xff;
    const a = t.readRm(size, true);
    helper(t, name, { a, b: row.operands[1] === 'CL' ? 1 : 0, c: count, high: size });
    t.writeBack(size);
  };

function mov(t: Translator, row: Encoding): void {
  const [first = '', second = ''] = row.operands;
  const size = sizeOf(t, first[0] === 'O' ? second : first);
  if (first[0] === 'O' || second[0] === 'O') {
    movOffset(t, size, first[0] === 'O');
    return;
  }
  if (second[0] === 'I') {
    if (first[0] === 'E' && !t.isRegister) t.memory(STORE_IMM[size], 0, t.d.immediate);
    else {
      const a = first[0] === 'Z' ? zRegister(t, size) : t.rmRegister(size);
      // A 32-bit immediate clears the upper half; all else is sign extended or cut to the operand.
      t.pure(MOV_IMM[size], a, 0, 0, t.d.immediate, size === 3 ? t.d.immediateHigh : 0);
    }
  } else if (first[0] === 'E') {
    if (t.isRegister) t.pure(MOV[size], t.rmRegister(size), t.gRegister(size));
    else t.memory(STORE[size], t.gRegister(size));
  } else if (t.isRegister) t.pure(MOV[size], t.gRegister(size), t.rmRegister(size));
  else t.memory(LOAD[size], t.gRegister(size));
}

function movOffset(t: Translator, size: Size, store: boolean): void {
  t.pure(MOV_IMM[3], TEMP1, 0, 0, t.d.immediate, t.d.immediateHigh);
  Object.assign(t.d, { base: TEMP1, index: -1, scale: 0, displacement: 0, ripRelative: false });
  const addressSize = t.d.addressSize;
  t.d.addressSize = 3;
  t.memory(store ? STORE[size] : LOAD[size], RAX);
  t.d.addressSize = addressSize;
}

function extend(signed: boolean): Lowering {
  return (t, row) => {
    const from = sizeOf(t, row.operands[1] as string);
    const to = t.d.operandSize;
    if (from >= to) {
      // MOVSXD or MOVSX that does not widen is a plain move.
      if (t.isRegister) t.pure(MOV[to], t.gRegister(to), t.rmRegister(to));
      else t.memory(LOAD[to], t.gRegister(to));
      return;
    }
    let source: number;
    if (t.isRegister) source = t.rmRegister(from);
    else if (!signed && to >= 2 && from < 2) {
      t.memory(LOAD_ZX[from as 0 | 1], t.gRegister(3));
      return;
    } else {
      t.memory(from < 2 ? LOAD_ZX[from as 0 | 1] : LOAD[2], TEMP0);
      source = TEMP0;
    }
    t.pure((signed ? MOVSX : MOVZX).get(extensionKey(from, to)) as number, t.gRegister(to), source);
  };
}

function xchg(t: Translator, row: Encoding): void {
  const size = sizeOf(t, row.operands[0] as string);
  if (row.operands[0]?.[0] === 'Z') {
    const other = zRegister(t, size);
    if (other !== RAX) t.pure(XCHG[size], other, RAX);
    else if (t.d.repeat === PAUSE_PREFIX) t.put(PAUSE);
    return;
  }
  const g = t.gRegister(size);
  if (t.isRegister) {
    t.pure(XCHG[size], t.rmRegister(size), g);
    return;
  }
  lockedExchange(t, size);
}

function bit(kind: BitKind): Lowering {
  return (t, row) => {
    const size = t.d.operandSize;
    const immediate = row.operands[1] === 'Ib';
    if (!t.isRegister && !immediate) {
      t.effectiveAddressForHelper();
      const segment = t.addedSegment + 1;
      helper(t, 'bitMemory', {
        a: TEMP_ADDRESS,
        b: t.gRegister(size),
        c: BIT_KINDS.indexOf(kind) | (t.d.addressSize << 4) | (segment << 8),
        high: size,
      });
      return;
    }
    if (kind !== 'bt' && isLocked(t)) {
      lockedBit(t, kind, size);
      return;
    }
    const a = t.readRm(size, kind !== 'bt');
    if (immediate) t.put(BIT_IMM[kind][size], a, 0, 0, t.d.immediate & 0xff);
    else t.put(BIT[kind][size], a, t.gRegister(size));
    if (kind !== 'bt') t.writeBack(size);
  };
}

const doubleShift =
  (left: boolean): Lowering =>
  (t, row) => {
    const size = t.d.operandSize;
    const byCl = row.operands[2] === 'CL';
    const a = t.readRm(size, true);
    const g = t.gRegister(size);
    if (size === 1) helper(t, 'doubleShift16', { a, b: g, c: byCl ? 0xffff : t.d.immediate & 31, high: left ? 1 : 0 });
    else t.put((left ? SHLD : SHRD)[size], a, g, 0, byCl ? -1 : t.d.immediate & 0xff);
    t.writeBack(size);
  };

const fromRm =
  (ops: readonly number[]): Lowering =>
  (t) => {
    const size = t.d.operandSize;
    const source = t.readRm(size);
    t.put(ops[size] as number, t.gRegister(size), source);
  };

/** MOVBE turns the bytes in a temporary, so that an access that faults has changed nothing. */
function movbe(t: Translator, row: Encoding): void {
  const size = t.d.operandSize;
  const swap = size === 1 ? BSWAP16 : size === 2 ? BSWAP32 : BSWAP64;
  if (row.operands[0] === 'Mv') {
    t.pure(MOV[size], TEMP0, t.gRegister(size));
    t.pure(swap, TEMP0);
    t.memory(STORE[size], TEMP0);
  } else {
    t.memory(LOAD[size], TEMP0);
    t.pure(swap, TEMP0);
    t.pure(MOV[size], t.gRegister(size), TEMP0);
  }
}

/** CMPXCHG: the destination is always written, with its old value when the comparison fails. */
function cmpxchg(t: Translator, row: Encoding): void {
  const size = sizeOf(t, row.operands[0] as string);
  if (isLocked(t)) {
    lockedCompareExchange(t, size);
    return;
  }
  const a = t.readRm(size, true);
  t.pure(MOV[size], TEMP1, a);
  t.put(ALU.cmp[size], RAX, TEMP1);
  // A 32-bit register that is not written keeps its upper half, unlike with CMOV.
  if (size === 2) helper(t, 'moveKeeping32', { a, b: t.gRegister(2), c: 1 });
  else t.put((CMOV[4] as readonly number[])[size] as number, a, t.gRegister(size));
  t.writeBack(size);
  if (size === 2) helper(t, 'moveKeeping32', { a: RAX, b: TEMP1, c: 0 });
  else t.put((CMOV[5] as readonly number[])[size] as number, RAX, TEMP1);
}

function xadd(t: Translator, row: Encoding): void {
  const size = sizeOf(t, row.operands[0] as string);
  if (isLocked(t)) {
    lockedExchangeAdd(t, size);
    return;
  }
  const a = t.readRm(size, true);
  const g = t.gRegister(size);
  t.pure(MOV[size], TEMP1, a);
  if (t.isRegister) t.pure(MOV[size], TEMP0, a);
  t.setsFlags(ALU.add[size], TEMP0, g);
  t.writeBack(size);
  t.pure(MOV[size], g, TEMP1);
  if (t.isRegister) t.pure(MOV[size], a, TEMP0);
}

export const LOWERINGS: Readonly<Record<string, Lowering>> = {
  ADD: alu('add'),
  OR: alu('or'),
  ADC: alu('adc'),
  SBB: alu('sbb'),
  AND: alu('and'),
  SUB: alu('sub'),
  XOR: alu('xor'),
  CMP: alu('cmp'),
  TEST: alu('test'),
  INC: oneOperand(INC, 'mergesFlags', (t, size) => lockedIncrement(t, size, 1)),
  DEC: oneOperand(DEC, 'mergesFlags', (t, size) => lockedIncrement(t, size, -1)),
  NEG: oneOperand(NEG, 'setsFlags', lockedNegate),
  NOT: oneOperand(NOT, 'pure', lockedNot),
  MUL: wideOperand(MUL_WIDE),
  IMUL1: wideOperand(IMUL_WIDE),
  DIV: divide('div', DIV),
  IDIV: divide('idiv', IDIV),
  SHL: shift('shl'),
  SHR: shift('shr'),
  SAR: shift('sar'),
  ROL: shift('rol'),
  ROR: shift('ror'),
  RCL: rotateThroughCarry('rcl'),
  RCR: rotateThroughCarry('rcr'),
  MOV: mov,
  MOVSXD: extend(true),
  MOVSX: extend(true),
  MOVZX: extend(false),
  XCHG: xchg,
  LEA: (t) => void t.memory(LEA[t.d.operandSize], t.gRegister(t.d.operandSize), 0, true),
  SETcc: (t, row) => {
    const op = SETCC[row.attributes.n as number] as number;
    if (t.isRegister) t.put(op, t.rmRegister(0));
    else {
      t.put(op, TEMP0);
      t.memory(STORE[0], TEMP0);
    }
  },
  CMOVcc: (t, row) => {
    const size = t.d.operandSize;
    const source = t.readRm(size);
    t.put((CMOV[row.attributes.n as number] as readonly number[])[size] as number, t.gRegister(size), source);
  },
  IMUL: (t, row) => {
    const size = t.d.operandSize;
    const source = t.readRm(size);
    const g = t.gRegister(size);
    if (row.operands.length === 3) t.put(IMUL_IMM[size], g, source, 0, t.d.immediate);
    else t.put(IMUL[size], g, g, source);
  },
  BT: bit('bt'),
  BTS: bit('bts'),
  BTR: bit('btr'),
  BTC: bit('btc'),
  SHLD: doubleShift(true),
  SHRD: doubleShift(false),
  BSF: fromRm(BSF),
  BSR: fromRm(BSR),
  POPCNT: fromRm(POPCNT),
  BSWAP: (t) => void t.pure(t.d.operandSize === 3 ? BSWAP64 : BSWAP32, zRegister(t, 3)),
  MOVBE: movbe,
  CMPXCHG: cmpxchg,
  XADD: xadd,
  CBW: (t) => {
    const size = t.d.operandSize;
    t.pure(MOVSX.get(extensionKey((size - 1) as Size, size)) as number, RAX, RAX);
  },
  CWD: (t) => void t.pure(SIGN_TO_DX[t.d.operandSize] as number),
  CLC: (t) => void t.put(CLC),
  STC: (t) => void t.put(STC),
  CMC: (t) => void t.put(CMC),
  CLD: (t) => helper(t, 'setDirection', { a: 0 }),
  STD: (t) => helper(t, 'setDirection', { a: 1 }),
  NOP: () => undefined,
  // Loads and stores come in the order that x86 gives them; only MFENCE keeps loads behind stores.
  FENCE: (t, row) => {
    if (row.digit === MFENCE_DIGIT) t.put(FENCE);
  },
  UD: undefinedInstruction,
  ...STACK_LOWERINGS,
  ...SYSTEM_LOWERINGS,
  ...SIMD_LOWERINGS,
};
