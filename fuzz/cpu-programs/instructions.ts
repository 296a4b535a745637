/** Random instructions: most of them valid, from the table of encodings; their addresses are often those of a program's pages. */
import { ENCODINGS, type Encoding } from '#cpu/isa/table.ts';
import type { Random } from '../random.ts';
import { PROGRAM, SELECTOR } from './layout.ts';

export type Mode = 'long' | 'compatibility' | 'real';

/** What addresses and immediates are made of. */
export interface Context {
  readonly mode: Mode;
  /** An address that may mean something to the program, as its code writes it. */
  address(): number;
  /** One in its code. */
  code(): number;
  /** One for its stack pointer. */
  stack(): number;
}

const COMMON_NAMES: ReadonlySet<string> = new Set([
  ...[
    'ADD',
    'SUB',
    'CMP',
    'TEST',
    'AND',
    'XOR',
    'INC',
    'DEC',
    'ADC',
    'SBB',
    'SHL',
    'SHR',
    'SAR',
    'ROL',
    'RCL',
    'SHLD',
    'NEG',
  ],
  ...[
    'MOV',
    'MOVZX',
    'LEA',
    'PUSH',
    'POP',
    'XCHG',
    'NOT',
    'IMUL',
    'STOS',
    'MOVS',
    'CMPXCHG',
    'XADD',
    'PUSHF',
    'BTS',
    'BT',
  ],
  ...['Jcc', 'SETcc', 'CMOVcc', 'CALL', 'RET', 'LOOP', 'JMP', 'LAHF', 'CMC', 'POPCNT', 'BSF'],
]);
const STRINGS: ReadonlySet<string> = new Set(['MOVS', 'STOS', 'LODS', 'CMPS', 'SCAS']);
const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;
const ESCAPES = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]] as const;
const SP = 4;
/** Bytes that branches go back at most. */
const REACH = 64;

/** Where far transfers with an address of their own go, which 64-bit code has none of. */
const FAR_SELECTORS: Readonly<Record<Mode, readonly number[]>> = {
  long: [SELECTOR.USER_CODE64],
  compatibility: [SELECTOR.USER_CODE32, SELECTOR.USER_CODE32, SELECTOR.USER_CODE64],
  real: [PROGRAM.REAL >> 4],
};

/** Rows by mnemonic, so that one with many encodings is no likelier than others. */
interface Choices {
  readonly all: readonly (readonly Encoding[])[];
  readonly common: readonly (readonly Encoding[])[];
}

function choicesOf(rows: readonly Encoding[]): Choices {
  const byName = new Map<string, Encoding[]>();
  for (const row of rows) byName.set(row.mnemonic, [...(byName.get(row.mnemonic) ?? []), row]);
  const common = [...byName].filter(([name]) => COMMON_NAMES.has(name)).map(([, list]) => list);
  return { all: [...byName.values()], common };
}

const LONG = choicesOf(ENCODINGS.filter((row) => !row.attributes.no64));
const LEGACY = choicesOf(ENCODINGS.filter((row) => !row.attributes.only64));

export function little(value: number, sizeBytes: number): number[] {
  return Array.from({ length: sizeBytes }, (_, i) => (i < 4 ? value >> (8 * i) : value >> 31) & 0xff);
}

export function someValue(random: Random): number {
  return random.oneIn(3) ? random.u32() : Number(random.boundary(32));
}

/** Bytes that may be anything, behind an opcode's escape now and then. */
function randomBytes(random: Random): number[] {
  const escapes = [
    [],
    [0x0f],
    [0xd8 + random.below(8)],
    [0x66, 0x0f],
    [0x0f, 0x38],
    [0x0f, 0x3a],
    [0xf3, 0x0f],
    [0xf2, 0x0f],
  ];
  return [...random.pick(escapes), ...random.bytes(random.between(1, 6))];
}

/** MOV of an address or a number to a register. */
function loadRegister(random: Random, context: Context): number[] {
  const register = random.below(8);
  const value = random.oneIn(3) ? someValue(random) : register === SP ? context.stack() : context.address();
  return [0xb8 + register, ...little(value, context.mode === 'real' ? 2 : 4)];
}

/** MOV of a number to the program's own code. */
function storeToCode(random: Random, context: Context): number[] {
  const isByte = random.oneIn(2);
  const form = { long: [0x04, 0x25], compatibility: [0x05], real: [0x06] }[context.mode];
  const addressBytes = context.mode === 'real' ? 2 : 4;
  const size = isByte ? 1 : addressBytes;
  return [isByte ? 0xc6 : 0xc7, ...form, ...little(context.code(), addressBytes), ...little(random.u32(), size)];
}

function modrm16(random: Random, mod: number, rm: number): number[] {
  const displacement = random.oneIn(2) ? random.between(-64, 63) : random.u32();
  if (mod === 2 || (mod === 0 && rm === 6)) return little(displacement, 2);
  return mod === 1 ? little(displacement, 1) : [];
}

/** SIB and displacement of 32-bit and 64-bit addresses. */
function modrm32(random: Random, context: Context, mod: number, rm: number): number[] {
  const bytes: number[] = [];
  let isAbsolute = rm === 5 && mod === 0;
  if (rm === 4) {
    const index = random.oneIn(3) ? random.below(8) : 4;
    const base = random.below(8);
    bytes.push((random.below(2) << 6) | (index << 3) | base);
    isAbsolute = base === 5 && mod === 0;
  }
  const isRelative = rm === 5 && mod === 0 && context.mode === 'long';
  if (isAbsolute) bytes.push(...little(isRelative ? random.between(-48, 48) : context.address(), 4));
  else if (mod === 1) bytes.push(random.below(256));
  else if (mod === 2) bytes.push(...little(random.between(-64, 63), 4));
  return bytes;
}

function modrm(random: Random, context: Context, row: Encoding, is16: boolean): number[] {
  const mayBeMemory = row.rm !== 'r' && (row.rm === 'm' || random.oneIn(2));
  const mod = mayBeMemory ? random.below(3) : 3;
  const rm = random.below(8);
  const reg = row.digit >= 0 ? row.digit : random.below(8);
  const bytes = [(mod << 6) | (reg << 3) | rm];
  if (mod !== 3) bytes.push(...(is16 ? modrm16(random, mod, rm) : modrm32(random, context, mod, rm)));
  return bytes;
}

interface Sizes {
  /** Bytes of an operand of size v, of one of size z, and of an address. */
  readonly v: number;
  readonly z: number;
  readonly address: number;
}

function immediate(random: Random, context: Context, operand: string, sizes: Sizes): number[] {
  if (operand === 'IwIb') return [...little(random.below(64), 2), random.below(4)];
  if (operand === 'Ap')
    return [...little(context.address(), sizes.z), ...little(random.pick(FAR_SELECTORS[context.mode]), 2)];
  const kind = operand[0];
  if (kind === 'O') return little(context.address(), sizes.address);
  if (kind !== 'I' && kind !== 'J') return [];
  const size = { b: 1, w: 2, v: sizes.v }[operand[1] as string] ?? sizes.z;
  if (kind === 'J') return little(random.oneIn(3) ? -random.below(REACH) : random.below(24), size);
  return little(random.oneIn(2) ? random.below(8) : someValue(random), size);
}

function prefixes(random: Random, row: Encoding): number[] {
  const list: number[] = [];
  if (random.oneIn(30)) list.push(random.pick(SEGMENT_PREFIXES));
  if (random.oneIn(50)) list.push(0x67);
  if (random.oneIn(30)) list.push(0xf0);
  if (row.prefix === null && random.oneIn(8)) list.push(0x66);
  if (row.prefix !== null && row.prefix !== 'none') list.push(Number.parseInt(row.prefix, 16));
  if (STRINGS.has(row.mnemonic) && random.oneIn(2)) list.push(random.pick([0xf2, 0xf3]));
  return list;
}

function fromTable(random: Random, context: Context): number[] {
  const isLong = context.mode === 'long';
  const choices = isLong ? LONG : LEGACY;
  const row = random.pick(random.pick(random.oneIn(4) ? choices.all : choices.common));
  const bytes = prefixes(random, row);
  const is16 = bytes.includes(0x66) !== (context.mode === 'real');
  const rex = isLong && random.oneIn(3) ? 0x40 + random.below(16) : 0;
  if (rex !== 0) bytes.push(rex);
  bytes.push(...ESCAPES[row.map], row.opcode);
  if (row.modrm) bytes.push(...modrm(random, context, row, bytes.includes(0x67) !== (context.mode === 'real')));
  const z = is16 && (rex & 8) === 0 ? 2 : 4;
  const sizes = { v: (rex & 8) !== 0 ? 8 : z, z, address: { long: 8, compatibility: 4, real: 2 }[context.mode] };
  for (const operand of row.operands) bytes.push(...immediate(random, context, operand, sizes));
  return bytes;
}

/** 1 to about 20 bytes. */
export function randomInstruction(random: Random, context: Context): Uint8Array {
  if (random.oneIn(10)) return Uint8Array.from(randomBytes(random));
  if (random.oneIn(10)) return Uint8Array.from(storeToCode(random, context));
  if (random.oneIn(5)) return Uint8Array.from(loadRegister(random, context));
  return Uint8Array.from(fromTable(random, context));
}
