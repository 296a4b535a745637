/** The CPU's table of encodings as the generator sees it: which rows a user-mode case can be made of, and their operands. */
import { readFileSync } from 'node:fs';
import { ENCODINGS, type Encoding } from '#cpu/isa/table.ts';
import type { CodeBits } from '../case.ts';
import { x87MemoryName, x87RegisterName } from './x87-names.ts';

/**
 * What cannot be compared in user mode on a live operating system: system calls, results that differ from one moment or
 * machine to the next, far transfers and selectors (they depend on the system's descriptor tables), and what the
 * operating system emulates.
 */
const NOT_COMPARABLE = new Set([
  ...['SYSCALL', 'SYSENTER', 'SYSRET', 'SYSEXIT', 'CPUID', 'RDTSC', 'RDTSCP', 'RDPMC', 'RDRAND', 'RDSEED', 'RDPID'],
  ...['IRET', 'RETF', 'CALLF', 'JMPF', 'MOV_TO_SREG', 'MOV_FROM_SREG', 'POP_SREG', 'LAR', 'LSL', 'VERR', 'VERW'],
  ...['SGDT', 'SIDT', 'SLDT', 'STR', 'SMSW', 'GROUP7_1', 'GROUP7_2', 'GROUP7_7', 'LOAD_FAR'],
  ...['RDFSBASE', 'RDGSBASE', 'WRFSBASE', 'WRGSBASE', 'XGETBV', 'XSETBV', 'MONITOR', 'MWAIT'],
  ...['XSAVE', 'XRSTOR', 'XSAVEOPT', 'XSAVEC', 'XSAVES', 'XRSTORS'],
]);

/** Instructions that not every host has: by the name of their feature in /proc/cpuinfo. */
const FEATURE_OF: ReadonlyMap<string, string> = new Map([['MOVBE', 'movbe']]);
const HOST_FEATURES: ReadonlySet<string> = new Set(
  /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1]?.trim().split(' '),
);

function isMissingInHost(mnemonic: string): boolean {
  const feature = FEATURE_OF.get(mnemonic);
  return feature !== undefined && !HOST_FEATURES.has(feature);
}

/** An encoding as a case needs it. */
export interface EncodingRow extends Encoding {
  /** The ModRM operand's letters, `Ev` or `Wps`; null when no operand is in ModRM.rm. */
  readonly rmOperand: string | null;
  /** Whether 66 and REX.W choose the operand size. */
  readonly sized: boolean;
  readonly x87: boolean;
  readonly mmx: boolean;
  readonly sse: boolean;
}

const RM_LETTERS = /^[EWQMRUN]/;
const SIZED = /^[A-Z]v|^[A-Z]z|^Iv|^rAX|^Zv|^[A-Z]y/;

function describe(row: Encoding): EncodingRow {
  const { operands } = row;
  const bySize = /^(CBW|CWD|PUSHF|POPF|LEAVE|ENTER|PUSH_SREG|PUSHA|POPA)$/.test(row.mnemonic);
  return {
    ...row,
    rmOperand: row.modrm ? (operands.find((operand) => RM_LETTERS.test(operand)) ?? null) : null,
    sized: bySize || isWideString(row) || operands.some((operand) => SIZED.test(operand)),
    x87: (row.map === 0 && row.opcode >= 0xd8 && row.opcode <= 0xdf) || row.mnemonic === 'FWAIT',
    mmx: operands.some((operand) => /^[PQN]/.test(operand)) || row.mnemonic === 'EMMS',
    sse: operands.some((operand) => /^[VWU]/.test(operand)) || /^(FX|.*MXCSR)/.test(row.mnemonic),
  };
}

export const STRING_MNEMONICS: ReadonlySet<string> = new Set(['MOVS', 'CMPS', 'STOS', 'LODS', 'SCAS', 'INS', 'OUTS']);

/** String instructions of which 66 and REX.W choose the size: the odd opcodes. */
function isWideString(row: Encoding): boolean {
  return STRING_MNEMONICS.has(row.mnemonic) && (row.opcode & 1) === 1;
}

/** INT n other than 3 and 4 raises #GP, except where the system has opened a gate to user mode; INT1 is for debuggers. */
const isOtherInterrupt = (row: Encoding): boolean => row.mnemonic === 'INT' && row.attributes.n !== 3;

/** An opcode with all x87 instructions in its ModRM byte: a row for each of the instructions. */
function x87Rows(row: Encoding): Encoding[] {
  const rows: Encoding[] = [];
  for (let digit = 0; digit < 8; digit++) {
    const inMemory = x87MemoryName(row.opcode, digit);
    if (inMemory !== '') rows.push({ ...row, digit, rm: 'm', mnemonic: inMemory });
    const names = new Set(Array.from({ length: 8 }, (_, rm) => x87RegisterName(row.opcode, digit, rm)));
    names.delete('');
    for (const mnemonic of names) rows.push({ ...row, digit, rm: 'r', mnemonic, operands: [] });
  }
  return rows;
}

/**
 * The rows that cases are made of, in groups between which the generator chooses evenly: the forms of an instruction that
 * differ in the register or condition within the opcode count as one.
 */
export function rowGroups(
  bits: CodeBits = 64,
  encodings: readonly Encoding[] = ENCODINGS,
): readonly (readonly EncodingRow[])[] {
  const groups = new Map<string, EncodingRow[]>();
  for (const row of encodings.flatMap((row) => (row.mnemonic === 'X87' ? x87Rows(row) : [row]))) {
    if (bits === 64 ? row.attributes.no64 : row.attributes.only64) continue;
    if (NOT_COMPARABLE.has(row.mnemonic) || isOtherInterrupt(row) || isMissingInHost(row.mnemonic)) continue;
    const inOpcode = /cc$/.test(row.mnemonic) || row.operands.some((operand) => operand.startsWith('Z'));
    const place = inOpcode ? row.operands.join() : `${row.opcode} ${row.digit} ${row.rm} ${row.prefix}`;
    const key = `${row.map} ${row.mnemonic} ${place}`;
    const group = groups.get(key);
    if (group) group.push(describe(row));
    else groups.set(key, [describe(row)]);
  }
  return [...groups.values()];
}

/** Bytes of an operand `Xy` at this operand size (2, 4 or 8 bytes); 0 when its letters do not say. */
export function operandBytes(operand: string, operandSizeBytes: number): number {
  switch (operand.slice(1)) {
    case 'b':
    case 'bs':
      return 1;
    case 'w':
      return 2;
    case 'd':
    case 'ss':
      return 4;
    case 'q':
    case 'sd':
    case 'pi':
      return 8;
    case 't':
      return 10;
    case 'v':
      return operandSizeBytes;
    case 'y':
      return Math.max(4, operandSizeBytes);
    case 'z':
      return Math.min(4, operandSizeBytes);
    case 'dq':
    case 'x':
    case 'ps':
    case 'pd':
      return 16;
    case 'a':
      return 2 * operandSizeBytes;
    default:
      return 0;
  }
}

/** Bytes of immediates and relative targets that follow the instruction's ModRM. */
export function immediateBytes(row: EncodingRow, operandSizeBytes: number, addressSizeBytes: number): number[] {
  const sizes: number[] = [];
  for (const operand of row.operands) {
    const letter = operand[0];
    if (letter === 'O') sizes.push(addressSizeBytes);
    else if (letter === 'J') sizes.push(operand === 'Jb' ? 1 : operandSizeBytes === 2 ? 2 : 4);
    else if (operand === 'IwIb') sizes.push(2, 1);
    else if (letter === 'I') sizes.push(operandBytes(operand, operandSizeBytes));
  }
  return sizes;
}
