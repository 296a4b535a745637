/**
 * Images of the x87 state: FNSTENV, FLDENV, FNSAVE, FRSTOR (SDM vol. 1 §8.1.10, figures 8-9 and 8-11: protected mode formats),
 * the legacy region of FXSAVE and XSAVE (SDM vol. 1 §10.5.1 tables 10-2 and 10-3), and the MMX registers' sharing of the
 * stack (SDM vol. 1 §9.5).
 */
import { CONTROL, initialize, physical, STATUS, setTop, updateSummary, WORD, type X87State } from './x87-state.ts';

/** Tags of the full tag word (SDM vol. 1 figure 8-7). */
const TAG = { VALID: 0, ZERO: 1, SPECIAL: 2, EMPTY: 3 } as const;

const OPCODE_BITS = 0x7ff;

/** FLDCW and every other load of the control word: reserved bits keep their fixed values. */
export function setControl(state: X87State, value: number): void {
  state.words[WORD.CONTROL] = (value & CONTROL.WRITABLE) | CONTROL.ALWAYS_SET;
  updateSummary(state);
}

function fullTagOf(state: X87State, register: number): number {
  const { words } = state;
  if (((words[WORD.TAGS]! >>> register) & 1) === 0) return TAG.EMPTY;
  const low = words[register * 4]!;
  const high = words[register * 4 + 1]!;
  const exponent = words[register * 4 + 2]! & 0x7fff;
  if (exponent === 0) return (low | high) === 0 ? TAG.ZERO : TAG.SPECIAL;
  return exponent === 0x7fff || high >= 0 ? TAG.SPECIAL : TAG.VALID;
}

/** The tag word of two bits a register. */
export function fullTagWord(state: X87State): number {
  let word = 0;
  for (let register = 0; register < 8; register++) word |= fullTagOf(state, register) << (register * 2);
  return word;
}

function setFullTagWord(state: X87State, word: number): void {
  let tags = 0;
  for (let register = 0; register < 8; register++) {
    if (((word >>> (register * 2)) & 3) !== TAG.EMPTY) tags |= 1 << register;
  }
  state.words[WORD.TAGS] = tags;
}

/** Writes the environment to `memory`; returns its size. Segment selectors are written as 0, as processors do that deprecate them. */
function writeEnvironment(state: X87State, is16: boolean): number {
  const { words, memoryWords } = state;
  const tags = fullTagWord(state);
  const control = words[WORD.CONTROL]!;
  const status = words[WORD.STATUS]!;
  const instruction = words[WORD.INSTRUCTION_POINTER]!;
  const data = words[WORD.DATA_POINTER]!;
  if (is16) {
    memoryWords[0] = control | (status << 16);
    memoryWords[1] = tags | (instruction << 16);
    memoryWords[2] = data << 16;
    memoryWords[3] = 0;
    return 14;
  }
  memoryWords[0] = control | 0xffff0000;
  memoryWords[1] = status | 0xffff0000;
  memoryWords[2] = tags | 0xffff0000;
  memoryWords[3] = instruction;
  memoryWords[4] = (words[WORD.OPCODE]! & OPCODE_BITS) << 16;
  memoryWords[5] = data;
  memoryWords[6] = 0xffff0000 | 0;
  return 28;
}

/** Reads the environment from `memory`; returns its size. */
function readEnvironment(state: X87State, is16: boolean): number {
  const { words, memoryWords } = state;
  if (is16) {
    words[WORD.STATUS] = memoryWords[0]! >>> 16;
    setFullTagWord(state, memoryWords[1]! & 0xffff);
    words[WORD.INSTRUCTION_POINTER] = memoryWords[1]! >>> 16;
    words[WORD.DATA_POINTER] = memoryWords[2]! >>> 16;
    words[WORD.OPCODE] = 0;
  } else {
    words[WORD.STATUS] = memoryWords[1]! & 0xffff;
    setFullTagWord(state, memoryWords[2]! & 0xffff);
    words[WORD.INSTRUCTION_POINTER] = memoryWords[3]!;
    words[WORD.OPCODE] = (memoryWords[4]! >>> 16) & OPCODE_BITS;
    words[WORD.DATA_POINTER] = memoryWords[5]!;
  }
  words[WORD.INSTRUCTION_POINTER + 1] = 0;
  words[WORD.DATA_POINTER + 1] = 0;
  setControl(state, memoryWords[0]! & 0xffff);
  return is16 ? 14 : 28;
}

/** FNSTENV: stores the environment, then masks all exceptions. */
export function storeEnvironment(state: X87State, is16: boolean): void {
  state.storeSizeBytes = writeEnvironment(state, is16);
  state.words[WORD.CONTROL] = state.words[WORD.CONTROL]! | CONTROL.MASKS;
  updateSummary(state);
}

/** FLDENV. */
export function loadEnvironment(state: X87State, is16: boolean): void {
  readEnvironment(state, is16);
}

/** Copies the 10 bytes of ST(i) to bytes[offset…]. */
function copyRegisterOut(state: X87State, i: number, bytes: Uint8Array, offset: number): void {
  const index = physical(state, i) * 4;
  for (let n = 0; n < 10; n++) bytes[offset + n] = (state.words[index + (n >>> 2)]! >>> ((n & 3) * 8)) & 0xff;
}

/** Copies 10 bytes to ST(i), whose tag stays. */
function copyRegisterIn(state: X87State, i: number, bytes: Uint8Array, offset: number): void {
  const index = physical(state, i) * 4;
  const { words } = state;
  words[index] = readWord(bytes, offset);
  words[index + 1] = readWord(bytes, offset + 4);
  words[index + 2] = bytes[offset + 8]! | (bytes[offset + 9]! << 8);
}

function readWord(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24);
}

function writeWord(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value & 0xff;
  bytes[offset + 1] = (value >>> 8) & 0xff;
  bytes[offset + 2] = (value >>> 16) & 0xff;
  bytes[offset + 3] = value >>> 24;
}

/** FNSAVE: the environment and ST(0)–ST(7), then FNINIT. */
export function save(state: X87State, is16: boolean): void {
  const base = writeEnvironment(state, is16);
  for (let i = 0; i < 8; i++) copyRegisterOut(state, i, state.memory, base + i * 10);
  state.storeSizeBytes = base + 80;
  initialize(state);
}

/** FRSTOR. */
export function restore(state: X87State, is16: boolean): void {
  const base = readEnvironment(state, is16);
  for (let i = 0; i < 8; i++) copyRegisterIn(state, i, state.memory, base + i * 10);
}

/** Offsets in the FXSAVE image. */
const FXSAVE = {
  CONTROL: 0,
  STATUS: 2,
  TAGS: 4,
  OPCODE: 6,
  INSTRUCTION_POINTER: 8,
  DATA_POINTER: 16,
  REGISTERS: 32,
  REGISTER_SIZE_BYTES: 16,
} as const;

/**
 * Writes the x87 part of FXSAVE's or XSAVE's legacy region: bytes 0–23 and 32–159 of the image. MXCSR (24–31) and the XMM
 * registers (from 160) are the caller's. `is64` is the form with REX.W, with 64-bit pointers.
 */
export function writeFxsave(state: X87State, target: Uint8Array, is64: boolean): void {
  const { words } = state;
  writeWord(target, FXSAVE.CONTROL, (words[WORD.CONTROL]! & 0xffff) | (words[WORD.STATUS]! << 16));
  writeWord(target, FXSAVE.TAGS, (words[WORD.TAGS]! & 0xff) | ((words[WORD.OPCODE]! & OPCODE_BITS) << 16));
  writeWord(target, FXSAVE.INSTRUCTION_POINTER, words[WORD.INSTRUCTION_POINTER]!);
  writeWord(target, FXSAVE.INSTRUCTION_POINTER + 4, is64 ? words[WORD.INSTRUCTION_POINTER + 1]! : 0);
  writeWord(target, FXSAVE.DATA_POINTER, words[WORD.DATA_POINTER]!);
  writeWord(target, FXSAVE.DATA_POINTER + 4, is64 ? words[WORD.DATA_POINTER + 1]! : 0);
  for (let i = 0; i < 8; i++) {
    const offset = FXSAVE.REGISTERS + i * FXSAVE.REGISTER_SIZE_BYTES;
    copyRegisterOut(state, i, target, offset);
    for (let n = 10; n < FXSAVE.REGISTER_SIZE_BYTES; n++) target[offset + n] = 0;
  }
}

/** Reads what `writeFxsave` writes (FXRSTOR, XRSTOR). */
export function readFxsave(state: X87State, source: Uint8Array, is64: boolean): void {
  const { words } = state;
  const controlStatus = readWord(source, FXSAVE.CONTROL);
  const tagsOpcode = readWord(source, FXSAVE.TAGS);
  words[WORD.STATUS] = controlStatus >>> 16;
  words[WORD.TAGS] = tagsOpcode & 0xff;
  words[WORD.OPCODE] = (tagsOpcode >>> 16) & OPCODE_BITS;
  words[WORD.INSTRUCTION_POINTER] = readWord(source, FXSAVE.INSTRUCTION_POINTER);
  words[WORD.INSTRUCTION_POINTER + 1] = is64 ? readWord(source, FXSAVE.INSTRUCTION_POINTER + 4) : 0;
  words[WORD.DATA_POINTER] = readWord(source, FXSAVE.DATA_POINTER);
  words[WORD.DATA_POINTER + 1] = is64 ? readWord(source, FXSAVE.DATA_POINTER + 4) : 0;
  setControl(state, controlStatus & 0xffff);
  for (let i = 0; i < 8; i++) {
    copyRegisterIn(state, i, source, FXSAVE.REGISTERS + i * FXSAVE.REGISTER_SIZE_BYTES);
  }
}

/** FNCLEX: clears the exception flags, the stack fault, the summary and busy bits. */
export function clearExceptions(state: X87State): void {
  const cleared = STATUS.EXCEPTIONS | STATUS.STACK_FAULT | STATUS.ERROR_SUMMARY | STATUS.BUSY;
  state.words[WORD.STATUS] = state.words[WORD.STATUS]! & ~cleared;
}

/** Whether an unmasked x87 exception is pending: FWAIT, waiting x87 and MMX instructions then raise #MF. */
export function isExceptionPending(state: X87State): boolean {
  return (state.words[WORD.STATUS]! & STATUS.ERROR_SUMMARY) !== 0;
}

/** What every MMX instruction but EMMS does to the x87 state first: TOP = 0, all registers valid. */
export function enterMmx(state: X87State): void {
  setTop(state, 0);
  state.words[WORD.TAGS] = 0xff;
}

/** After a write of MMi: the sign and exponent of its x87 register become ones. */
export function markMmxWritten(state: X87State, i: number): void {
  state.words[i * 4 + 2] = 0xffff;
}

/** EMMS: all registers empty. */
export function emms(state: X87State): void {
  state.words[WORD.TAGS] = 0;
}
