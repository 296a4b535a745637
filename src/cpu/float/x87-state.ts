/**
 * State of the x87 unit over a region of the CPU's memory, its stack and its exceptions: Intel SDM vol. 1 §8.1, §8.5.
 */
import {
  EXCEPTION,
  KIND,
  packSignExponent,
  setDefaultNan,
  type Unpacked,
  unpackFloat80,
  Unpacked as Value,
} from './unpacked.ts';

/**
 * Layout of the region, in bytes from its start (which is a multiple of 16). The registers R0–R7 are physical, 16 bytes
 * each: the significand's 64 bits, which are also MM0–MM7, and at +8 the sign and exponent (16 bits). The rest are 32-bit words.
 */
export const X87_LAYOUT = {
  REGISTERS: 0,
  REGISTER_SIZE_BYTES: 16,
  CONTROL: 128,
  /** The status word, with TOP. */
  STATUS: 132,
  /** Bit i is set while physical register i holds a value (the abridged tag word of FXSAVE). */
  TAGS: 136,
  OPCODE: 140,
  INSTRUCTION_POINTER: 144,
  DATA_POINTER: 152,
  SIZE_BYTES: 160,
} as const;

/** The layout's word indices. */
export const WORD = {
  CONTROL: X87_LAYOUT.CONTROL / 4,
  STATUS: X87_LAYOUT.STATUS / 4,
  TAGS: X87_LAYOUT.TAGS / 4,
  OPCODE: X87_LAYOUT.OPCODE / 4,
  INSTRUCTION_POINTER: X87_LAYOUT.INSTRUCTION_POINTER / 4,
  DATA_POINTER: X87_LAYOUT.DATA_POINTER / 4,
} as const;

/** Status word, SDM vol. 1 figure 8-4. */
export const STATUS = {
  EXCEPTIONS: 0x3f,
  STACK_FAULT: 0x40,
  ERROR_SUMMARY: 0x80,
  C0: 0x100,
  C1: 0x200,
  C2: 0x400,
  TOP: 0x3800,
  TOP_SHIFT: 11,
  C3: 0x4000,
  BUSY: 0x8000,
} as const;

/** Control word, SDM vol. 1 figure 8-6. */
export const CONTROL = {
  MASKS: 0x3f,
  PRECISION_SHIFT: 8,
  ROUNDING_SHIFT: 10,
  /** Bit 6 reads as 1, bits 7 and 13–15 as 0. */
  ALWAYS_SET: 0x40,
  WRITABLE: 0x1f3f,
  RESET: 0x37f,
} as const;

export const CONDITIONS = STATUS.C0 | STATUS.C1 | STATUS.C2 | STATUS.C3;

/** The x87 unit's registers, and what an instruction exchanges with the rest of the CPU. */
export class X87State {
  /** The region of X87_LAYOUT. */
  readonly words: Int32Array;
  /** Memory operand: bytes before a load, after a store. */
  readonly memory: Uint8Array;
  readonly memoryWords: Int32Array;
  /** EFLAGS read by FCMOVcc, and written (CF, PF, ZF; OF, SF, AF cleared) by F[U]COMI[P]. */
  flagsIn = 0;
  flagsOut = 0;
  /** AX as written by FNSTSW AX. */
  ax = 0;
  /** Bytes of `memory` to store after an instruction with a store operand: 0 when an unmasked exception prevents it. */
  storeSizeBytes = 0;

  constructor(buffer: ArrayBufferLike, byteOffset: number) {
    this.words = new Int32Array(buffer, byteOffset, X87_LAYOUT.SIZE_BYTES / 4);
    const memory = new ArrayBuffer(128);
    this.memory = new Uint8Array(memory);
    this.memoryWords = new Int32Array(memory);
  }
}

/** FNINIT's state (SDM vol. 2 FINIT/FNINIT); the registers keep their bits, tagged empty. */
export function initialize(state: X87State): void {
  const { words } = state;
  words[WORD.CONTROL] = CONTROL.RESET;
  words[WORD.STATUS] = 0;
  words[WORD.TAGS] = 0;
  words[WORD.OPCODE] = 0;
  words[WORD.INSTRUCTION_POINTER] = 0;
  words[WORD.INSTRUCTION_POINTER + 1] = 0;
  words[WORD.DATA_POINTER] = 0;
  words[WORD.DATA_POINTER + 1] = 0;
}

/** Recomputes the error summary and busy bits after a change of flags or masks. */
export function updateSummary(state: X87State): void {
  const { words } = state;
  const status = words[WORD.STATUS]!;
  const pending = status & ~words[WORD.CONTROL]! & STATUS.EXCEPTIONS;
  const summary = STATUS.ERROR_SUMMARY | STATUS.BUSY;
  words[WORD.STATUS] = pending !== 0 ? status | summary : status & ~summary;
}

/** Sets exception flags (and STACK_FAULT); returns whether one of them is unmasked. */
export function raise(state: X87State, flags: number): boolean {
  if (flags === 0) return false;
  const { words } = state;
  words[WORD.STATUS] = words[WORD.STATUS]! | flags;
  if ((flags & ~words[WORD.CONTROL]! & STATUS.EXCEPTIONS) === 0) return false;
  words[WORD.STATUS] = words[WORD.STATUS]! | STATUS.ERROR_SUMMARY | STATUS.BUSY;
  return true;
}

export function setC1(state: X87State, c1: number): void {
  const { words } = state;
  words[WORD.STATUS] = (words[WORD.STATUS]! & ~STATUS.C1) | (c1 !== 0 ? STATUS.C1 : 0);
}

export function setConditions(state: X87State, conditions: number): void {
  const { words } = state;
  words[WORD.STATUS] = (words[WORD.STATUS]! & ~CONDITIONS) | conditions;
}

/** The physical register of ST(i). */
export function physical(state: X87State, i: number): number {
  return ((state.words[WORD.STATUS]! >>> STATUS.TOP_SHIFT) + i) & 7;
}

export function isEmpty(state: X87State, i: number): boolean {
  return ((state.words[WORD.TAGS]! >>> physical(state, i)) & 1) === 0;
}

export function setTop(state: X87State, top: number): void {
  const { words } = state;
  words[WORD.STATUS] = (words[WORD.STATUS]! & ~STATUS.TOP) | ((top & 7) << STATUS.TOP_SHIFT);
}

/** Marks ST(0) empty and increments TOP. */
export function pop(state: X87State): void {
  const top = physical(state, 0);
  state.words[WORD.TAGS] = state.words[WORD.TAGS]! & ~(1 << top);
  setTop(state, top + 1);
}

export function readRegister(state: X87State, i: number, value: Unpacked): void {
  const index = physical(state, i) * 4;
  const { words } = state;
  unpackFloat80(words[index]!, words[index + 1]!, words[index + 2]! & 0xffff, value);
}

/** Writes the raw 80 bits of ST(i) and marks it valid. */
export function writeRaw(state: X87State, i: number, low: number, high: number, signExponent: number): void {
  const register = physical(state, i);
  const index = register * 4;
  const { words } = state;
  words[index] = low;
  words[index + 1] = high;
  words[index + 2] = signExponent & 0xffff;
  words[WORD.TAGS] = words[WORD.TAGS]! | (1 << register);
}

/** Writes a value rounded to the double-extended format to ST(i) and marks it valid. */
export function writeRegister(state: X87State, i: number, value: Unpacked): void {
  const zero = value.kind === KIND.ZERO;
  writeRaw(state, i, zero ? 0 : value.low, zero ? 0 : value.high, packSignExponent(value));
}

/** Writes the default NaN to ST(i). */
export function writeDefaultNan(state: X87State, i: number): void {
  writeRaw(state, i, 0, 0xc0000000 | 0, 0xffff);
}

/** Raises a stack underflow (C1 = 0); returns whether it is unmasked. */
export function stackUnderflow(state: X87State): boolean {
  setC1(state, 0);
  return raise(state, EXCEPTION.INVALID | STATUS.STACK_FAULT);
}

/** Raises a stack overflow (C1 = 1); returns whether it is unmasked. */
export function stackOverflow(state: X87State): boolean {
  setC1(state, 1);
  return raise(state, EXCEPTION.INVALID | STATUS.STACK_FAULT);
}

/** Pushes a value; on a stack overflow the default NaN, or nothing when that is unmasked. */
export function push(state: X87State, value: Unpacked): void {
  if (!isEmpty(state, 7)) {
    if (stackOverflow(state)) return;
    setTop(state, physical(state, 7));
    writeDefaultNan(state, 0);
    return;
  }
  setTop(state, physical(state, 7));
  writeRegister(state, 0, value);
}

export function roundingControl(state: X87State): number {
  return (state.words[WORD.CONTROL]! >>> CONTROL.ROUNDING_SHIFT) & 3;
}

/** Whether an exception among the flags is unmasked. */
export function unmasked(state: X87State, flags: number): boolean {
  return (flags & ~state.words[WORD.CONTROL]! & STATUS.EXCEPTIONS) !== 0;
}

/** A NaN for results without an operand to take it from. */
export const defaultNan = new Value();
setDefaultNan(defaultNan);
