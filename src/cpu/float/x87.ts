/** The x87 unit: decoding of D8–DF by opcode and ModRM. SDM vol. 1 §8; vol. 2 appendix A.5.2 (escape opcode tables). */
import {
  arithmeticMemory,
  arithmeticRegister,
  compareRegister,
  compareToEflags,
  squareRootTop,
  test,
} from './x87-arithmetic.ts';
import {
  clearExceptions,
  isExceptionPending,
  loadEnvironment,
  restore,
  save,
  setControl,
  storeEnvironment,
} from './x87-environment.ts';
import { changeSign, examine, exchange, extract, partialRemainder, roundTop, scale } from './x87-exact.ts';
import { initialize, isEmpty, physical, pop, setC1, setTop, WORD, type X87State } from './x87-state.ts';
import { arcTangent, exponential, logarithm, sine, sineCosine, tangent } from './x87-transcendental.ts';
import {
  conditionalMove,
  loadFloat32,
  loadFloat64,
  loadInteger16,
  loadInteger32,
  loadInteger64,
  pushConstant,
  pushDecimal,
  pushOperand,
  pushRaw,
  pushRegister,
  storeDecimal,
  storeFloat32,
  storeFloat64,
  storeFloat80,
  storeInteger,
  storeRegister,
} from './x87-transfer.ts';

export {
  clearExceptions,
  emms,
  enterMmx,
  fullTagWord,
  isExceptionPending,
  markMmxWritten,
  readFxsave,
  setControl,
  writeFxsave,
} from './x87-environment.ts';
export { CONTROL, initialize, STATUS, WORD, X87_LAYOUT, X87State } from './x87-state.ts';

/** Results of `execute`: none, or the vector to raise. */
export const X87_VECTOR = { NONE: 0, INVALID_OPCODE: 6, FLOATING_POINT_ERROR: 16 } as const;

export interface X87MemoryOperand {
  readonly sizeBytes: number;
  readonly access: 'load' | 'store' | 'none';
}

const NO_OPERAND: X87MemoryOperand = { sizeBytes: 0, access: 'none' };

function loads(sizeBytes: number): X87MemoryOperand {
  return { sizeBytes, access: 'load' };
}

function stores(sizeBytes: number): X87MemoryOperand {
  return { sizeBytes, access: 'store' };
}

function repeat(operand: X87MemoryOperand): X87MemoryOperand[] {
  return new Array<X87MemoryOperand>(8).fill(operand);
}

/** Memory operands by opcode − D8 and the reg field; undefined encodings have none. */
const OPERANDS: readonly X87MemoryOperand[] = [
  ...repeat(loads(4)),
  ...[loads(4), NO_OPERAND, stores(4), stores(4), loads(28), loads(2), stores(28), stores(2)],
  ...repeat(loads(4)),
  ...[loads(4), stores(4), stores(4), stores(4), NO_OPERAND, loads(10), NO_OPERAND, stores(10)],
  ...repeat(loads(8)),
  ...[loads(8), stores(8), stores(8), stores(8), loads(108), NO_OPERAND, stores(108), stores(2)],
  ...repeat(loads(2)),
  ...[loads(2), stores(2), stores(2), stores(2), loads(10), loads(8), stores(10), stores(8)],
];

/** The same with a 16-bit operand size, which shortens FLDENV, FNSTENV, FRSTOR and FNSAVE. */
const OPERANDS_16: readonly X87MemoryOperand[] = OPERANDS.map((operand) =>
  operand.sizeBytes === 28 || operand.sizeBytes === 108
    ? { sizeBytes: operand.sizeBytes - 14, access: operand.access }
    : operand,
);

/** Encodings that run whatever exception is pending: FNINIT, FNCLEX (DB E0–E4), FNSTSW AX, and memory forms by reg. */
function isNonWaiting(opcode: number, modrm: number): boolean {
  if (modrm >= 0xc0) {
    return (opcode === 0xdb && modrm >= 0xe0 && modrm <= 0xe4) || (opcode === 0xdf && modrm === 0xe0);
  }
  const reg = (modrm >>> 3) & 7;
  return (opcode === 0xd9 || opcode === 0xdd) && reg >= 6;
}

/**
 * The unit. The caller checks CR0.EM, CR0.TS (#NM) first; it places the bytes of a load operand in `state.memory` before,
 * and copies `state.storeSizeBytes` bytes out of it after an instruction with a store operand (whose writability it probes
 * before: the instruction changes the stack).
 */
export class X87 {
  readonly state: X87State;
  /** Where the running instruction and its memory operand are: recorded by instructions other than control ones. */
  instructionPointerLow = 0;
  instructionPointerHigh = 0;
  dataPointerLow = 0;
  dataPointerHigh = 0;
  /** Operand size 16: the short formats of the environment. */
  is16 = false;

  constructor(state: X87State) {
    this.state = state;
  }

  /** The memory operand of a form with mod ≠ 3; no allocation. */
  static memoryOperand(opcode: number, modrm: number, is16 = false): X87MemoryOperand {
    if (modrm >= 0xc0) return NO_OPERAND;
    return (is16 ? OPERANDS_16 : OPERANDS)[(opcode & 7) * 8 + ((modrm >>> 3) & 7)]!;
  }

  /** Runs the instruction opcode (D8–DF), ModRM; returns 0 or the vector to raise. */
  execute(opcode: number, modrm: number): number {
    const { state } = this;
    state.storeSizeBytes = 0;
    if (isExceptionPending(state) && !isNonWaiting(opcode, modrm)) {
      return isDefined(opcode, modrm) ? X87_VECTOR.FLOATING_POINT_ERROR : X87_VECTOR.INVALID_OPCODE;
    }
    const reg = (modrm >>> 3) & 7;
    if (modrm < 0xc0) {
      if (isControlMemory(opcode, reg)) {
        executeControl(state, opcode, reg, this.is16);
        return X87_VECTOR.NONE;
      }
      const defined = executeMemory(state, opcode, reg);
      if (!defined) return X87_VECTOR.INVALID_OPCODE;
      this.#record(opcode, modrm);
      state.words[WORD.DATA_POINTER] = this.dataPointerLow;
      state.words[WORD.DATA_POINTER + 1] = this.dataPointerHigh;
      return X87_VECTOR.NONE;
    }
    if ((opcode === 0xdb && (modrm & 0xf8) === 0xe0) || (opcode === 0xdf && modrm === 0xe0)) {
      return executeControlRegister(state, opcode, modrm);
    }
    if (!isDefined(opcode, modrm)) return X87_VECTOR.INVALID_OPCODE;
    executeRegister(state, opcode, modrm);
    this.#record(opcode, modrm);
    return X87_VECTOR.NONE;
  }

  #record(opcode: number, modrm: number): void {
    const { words } = this.state;
    words[WORD.INSTRUCTION_POINTER] = this.instructionPointerLow;
    words[WORD.INSTRUCTION_POINTER + 1] = this.instructionPointerHigh;
    // The opcode is recorded for unmasked exceptions only (SDM vol. 1 §8.1.9.1, IA32_MISC_ENABLE bit 2 clear).
    if (isExceptionPending(this.state)) words[WORD.OPCODE] = ((opcode & 7) << 8) | modrm;
  }
}

/** Whether an encoding is defined (documented or known alias), from the register form's tables below. */
export function isDefined(opcode: number, modrm: number): boolean {
  if (modrm < 0xc0) return X87.memoryOperand(opcode, modrm) !== NO_OPERAND;
  const group = (modrm >>> 3) & 7;
  switch (opcode) {
    case 0xd9:
      if (group === 2) return modrm === 0xd0;
      if (group === 4) return modrm === 0xe0 || modrm === 0xe1 || modrm === 0xe4 || modrm === 0xe5;
      return modrm !== 0xef;
    case 0xda:
      return group < 4 || modrm === 0xe9;
    case 0xdb:
      return group === 4 ? modrm <= 0xe4 : group !== 7;
    case 0xdd:
      return group < 6;
    case 0xde:
      return group !== 3 || modrm === 0xd9;
    case 0xdf:
      return group === 4 ? modrm === 0xe0 : group !== 7;
    default:
      return true;
  }
}

function isControlMemory(opcode: number, reg: number): boolean {
  return reg >= 4 && (opcode === 0xd9 || (opcode === 0xdd && reg !== 5));
}

function executeControl(state: X87State, opcode: number, reg: number, is16: boolean): void {
  const { memoryWords, words } = state;
  if (opcode === 0xd9) {
    if (reg === 4) loadEnvironment(state, is16);
    else if (reg === 5) setControl(state, memoryWords[0]! & 0xffff);
    else if (reg === 6) storeEnvironment(state, is16);
    else storeWord(state, words[WORD.CONTROL]!);
  } else if (reg === 4) {
    restore(state, is16);
  } else if (reg === 6) {
    save(state, is16);
  } else {
    storeWord(state, words[WORD.STATUS]!);
  }
}

function storeWord(state: X87State, value: number): void {
  state.memoryWords[0] = value & 0xffff;
  state.storeSizeBytes = 2;
}

/** FNCLEX, FNINIT, FNSTSW AX; DB E0, E1, E4 (FENI, FDISI, FSETPM of earlier coprocessors) do nothing. */
function executeControlRegister(state: X87State, opcode: number, modrm: number): number {
  if (opcode === 0xdf) state.ax = state.words[WORD.STATUS]! & 0xffff;
  else if (modrm === 0xe2) clearExceptions(state);
  else if (modrm === 0xe3) initialize(state);
  else if (modrm > 0xe4) return X87_VECTOR.INVALID_OPCODE;
  return X87_VECTOR.NONE;
}

/** Memory forms other than control ones; returns whether the encoding is defined. */
function executeMemory(state: X87State, opcode: number, reg: number): boolean {
  switch (opcode) {
    case 0xd8:
      loadFloat32(state);
      arithmeticMemory(state, reg);
      return true;
    case 0xda:
      loadInteger32(state);
      arithmeticMemory(state, reg);
      return true;
    case 0xdc:
      loadFloat64(state);
      arithmeticMemory(state, reg);
      return true;
    case 0xde:
      loadInteger16(state);
      arithmeticMemory(state, reg);
      return true;
    case 0xd9:
      return transferFloat32(state, reg);
    case 0xdb:
      return transferInteger32(state, reg);
    case 0xdd:
      return transferFloat64(state, reg);
    default:
      transferInteger16(state, reg);
      return true;
  }
}

function transferFloat32(state: X87State, reg: number): boolean {
  if (reg === 0) {
    loadFloat32(state);
    pushOperand(state);
  } else if (reg === 2 || reg === 3) {
    storeFloat32(state, reg === 3);
  } else {
    return false;
  }
  return true;
}

function transferInteger32(state: X87State, reg: number): boolean {
  switch (reg) {
    case 0:
      loadInteger32(state);
      pushOperand(state);
      return true;
    case 1:
    case 2:
    case 3:
      storeInteger(state, 32, reg === 1, reg !== 2);
      return true;
    case 5:
      pushRaw(state, state.memoryWords[0]!, state.memoryWords[1]!, state.memoryWords[2]! & 0xffff);
      return true;
    case 7:
      storeFloat80(state);
      return true;
    default:
      return false;
  }
}

function transferFloat64(state: X87State, reg: number): boolean {
  if (reg === 0) {
    loadFloat64(state);
    pushOperand(state);
  } else if (reg === 1) {
    storeInteger(state, 64, true, true);
  } else if (reg === 2 || reg === 3) {
    storeFloat64(state, reg === 3);
  } else {
    return false;
  }
  return true;
}

function transferInteger16(state: X87State, reg: number): void {
  switch (reg) {
    case 0:
      loadInteger16(state);
      pushOperand(state);
      break;
    case 1:
    case 2:
    case 3:
      storeInteger(state, 16, reg === 1, reg !== 2);
      break;
    case 4:
      pushDecimal(state);
      break;
    case 5:
      loadInteger64(state);
      pushOperand(state);
      break;
    case 6:
      storeDecimal(state);
      break;
    default:
      storeInteger(state, 64, false, true);
      break;
  }
}

/** The reg fields 4–7 of DC and DE swap the reversed forms: FSUBR is /4 there; the operation is the same by reg. */
function executeRegister(state: X87State, opcode: number, modrm: number): void {
  const reg = (modrm >>> 3) & 7;
  const i = modrm & 7;
  switch (opcode) {
    case 0xd8:
      if (reg === 2 || reg === 3) compareRegister(state, i, false, reg - 2);
      else arithmeticRegister(state, reg, i, 0, false);
      break;
    case 0xd9:
      executeD9(state, modrm);
      break;
    case 0xda:
      if (reg < 4) conditionalMove(state, reg, false, i);
      else compareRegister(state, 1, true, 2);
      break;
    case 0xdb:
      if (reg < 4) conditionalMove(state, reg, true, i);
      else compareToEflags(state, i, reg === 5, false);
      break;
    case 0xdc:
      if (reg === 2 || reg === 3) compareRegister(state, i, false, reg - 2);
      else arithmeticRegister(state, reg, i, i, false);
      break;
    case 0xdd:
      executeDD(state, reg, i);
      break;
    case 0xde:
      if (reg === 2) compareRegister(state, i, false, 1);
      else if (reg === 3) compareRegister(state, 1, false, 2);
      else arithmeticRegister(state, reg, i, i, true);
      break;
    default:
      executeDF(state, reg, i);
      break;
  }
}

function free(state: X87State, i: number): void {
  setC1(state, 0);
  state.words[WORD.TAGS] = state.words[WORD.TAGS]! & ~(1 << physical(state, i));
}

function executeDD(state: X87State, reg: number, i: number): void {
  if (reg === 0) free(state, i);
  else if (reg === 1) exchange(state, i);
  else if (reg < 4) storeRegister(state, i, reg === 3);
  else compareRegister(state, i, true, reg - 4);
}

/** DF C0–DF are aliases: FFREEP, FXCH7, FSTP8, FSTP9. */
function executeDF(state: X87State, reg: number, i: number): void {
  if (reg === 0) {
    free(state, i);
    pop(state);
  } else if (reg === 1) {
    exchange(state, i);
  } else if (reg < 4) {
    storeRegister(state, i, true);
  } else {
    compareToEflags(state, i, reg === 5, true);
  }
}

/** D9 D8–DF: FSTP1, an alias of FSTP ST(i) without the stack check. */
function storeUnchecked(state: X87State, i: number): void {
  if (isEmpty(state, 0)) {
    setC1(state, 0);
    pop(state);
  } else {
    storeRegister(state, i, true);
  }
}

function executeD9(state: X87State, modrm: number): void {
  const i = modrm & 7;
  switch (modrm >>> 3) {
    case 0xc0 >>> 3:
      pushRegister(state, i);
      break;
    case 0xc8 >>> 3:
      exchange(state, i);
      break;
    case 0xd0 >>> 3:
      break;
    case 0xd8 >>> 3:
      storeUnchecked(state, i);
      break;
    case 0xe0 >>> 3:
      if (i < 2) changeSign(state, i === 1);
      else if (i === 4) test(state);
      else examine(state);
      break;
    case 0xe8 >>> 3:
      pushConstant(state, i);
      break;
    default:
      executeFunction(state, modrm & 0xf);
      break;
  }
}

/** D9 F0–FF. */
function executeFunction(state: X87State, index: number): void {
  switch (index) {
    case 0x0:
      exponential(state);
      break;
    case 0x1:
    case 0x9:
      logarithm(state, index === 9);
      break;
    case 0x2:
      tangent(state);
      break;
    case 0x3:
      arcTangent(state);
      break;
    case 0x4:
      extract(state);
      break;
    case 0x5:
    case 0x8:
      partialRemainder(state, index === 5);
      break;
    case 0x6:
    case 0x7:
      setC1(state, 0);
      setTop(state, physical(state, index === 6 ? 7 : 1));
      break;
    case 0xa:
      squareRootTop(state);
      break;
    case 0xb:
      sineCosine(state);
      break;
    case 0xc:
      roundTop(state);
      break;
    case 0xd:
      scale(state);
      break;
    default:
      sine(state, index === 0xf);
      break;
  }
}
