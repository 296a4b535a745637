/**
 * The table of encodings (SDM vol. 2 appendix A notation): what an opcode is called, its operands and what matters about it.
 * The decoder, the tests and the random generator read it; a mnemonic's meaning is its lowering.
 */

import { simdRows } from './table-simd.ts';

export interface Attributes {
  /** LOCK is allowed when the first operand is memory. */
  readonly lock?: boolean;
  /** Operand size is 64 bits without REX.W in 64-bit mode. */
  readonly default64?: boolean;
  /** Undefined in 64-bit mode, or another instruction. */
  readonly no64?: boolean;
  /** An instruction of 64-bit mode only. */
  readonly only64?: boolean;
  /** Flags left undefined, as letters of `oszapc`. */
  readonly undefined?: string;
  /** Condition code of Jcc, SETcc, CMOVcc, or another small number that the lowering needs. */
  readonly n?: number;
}

export interface Encoding {
  /** 0: one byte; 1: 0F; 2: 0F 38; 3: 0F 3A. */
  readonly map: 0 | 1 | 2 | 3;
  readonly opcode: number;
  /** Mandatory prefix, or null where prefixes do not choose. */
  readonly prefix: 'none' | '66' | 'f3' | 'f2' | null;
  readonly modrm: boolean;
  /** Value of modrm.reg that the encoding asks for, or −1. */
  readonly digit: number;
  /** Whether modrm.rm must be a register ('r'), memory ('m'), or either (null). */
  readonly rm: 'r' | 'm' | null;
  readonly mnemonic: string;
  readonly operands: readonly string[];
  readonly attributes: Attributes;
}

const rows: Encoding[] = [];

/** `code` is for example '0f af /r', 'f3 0f b8 /r', '80 /7', '0f 01 /7 m', '50+r'. */
function encoding(code: string, mnemonic: string, operands = '', attributes: Attributes = {}): void {
  const parts: string[] = code.split(' ');
  let prefix: Encoding['prefix'] = null;
  const first = parts[0] ?? '';
  if (
    parts.length > 1 &&
    (first === 'np' || ((first === '66' || first === 'f3' || first === 'f2') && parts[1] === '0f'))
  ) {
    prefix = first === 'np' ? 'none' : (first as '66' | 'f3' | 'f2');
    parts.shift();
  }
  let map: Encoding['map'] = 0;
  if (parts[0] === '0f') {
    parts.shift();
    const following: string | undefined = parts.length > 1 && !parts[1]?.startsWith('/') ? parts[0] : undefined;
    map = following === '38' ? 2 : following === '3a' ? 3 : 1;
    if (map > 1) parts.shift();
  }
  const [opcodeText = '', ...rest] = parts;
  const digitText = rest.find((part) => part.startsWith('/'));
  const rm = rest.includes('m') ? 'm' : rest.includes('r') ? 'r' : null;
  const count = opcodeText.endsWith('+r') ? 8 : 1;
  for (let i = 0; i < count; i++) {
    rows.push({
      map,
      opcode: Number.parseInt(opcodeText, 16) + i,
      prefix,
      modrm: digitText !== undefined,
      digit: digitText === undefined || digitText === '/r' ? -1 : Number(digitText.slice(1)),
      rm,
      mnemonic,
      operands: operands === '' ? [] : operands.split(','),
      attributes,
    });
  }
}

export const ALU_ORDER = ['ADD', 'OR', 'ADC', 'SBB', 'AND', 'SUB', 'XOR', 'CMP'] as const;
ALU_ORDER.forEach((mnemonic, i) => {
  const lock = mnemonic !== 'CMP';
  const base = (i * 8).toString(16).padStart(2, '0');
  const at = (offset: number): string => (i * 8 + offset).toString(16).padStart(2, '0');
  encoding(`${base} /r`, mnemonic, 'Eb,Gb', { lock });
  encoding(`${at(1)} /r`, mnemonic, 'Ev,Gv', { lock });
  encoding(`${at(2)} /r`, mnemonic, 'Gb,Eb');
  encoding(`${at(3)} /r`, mnemonic, 'Gv,Ev');
  encoding(at(4), mnemonic, 'AL,Ib');
  encoding(at(5), mnemonic, 'rAX,Iz');
  encoding(`80 /${i}`, mnemonic, 'Eb,Ib', { lock });
  encoding(`81 /${i}`, mnemonic, 'Ev,Iz', { lock });
  encoding(`83 /${i}`, mnemonic, 'Ev,Ibs', { lock });
});

/** Group 1 once more, by another opcode. */
ALU_ORDER.forEach((mnemonic, i) => {
  encoding(`82 /${i}`, mnemonic, 'Eb,Ib', { lock: mnemonic !== 'CMP', no64: true });
});
/** ES, CS, SS and DS. */
for (const n of [0, 1, 2, 3]) {
  encoding((0x06 + 8 * n).toString(16).padStart(2, '0'), 'PUSH_SREG', '', { n, no64: true });
  if (n !== 1) encoding((0x07 + 8 * n).toString(16).padStart(2, '0'), 'POP_SREG', '', { n, no64: true });
}
encoding('27', 'DAA', '', { no64: true, undefined: 'o' });
encoding('2f', 'DAS', '', { no64: true, undefined: 'o' });
encoding('37', 'AAA', '', { no64: true, undefined: 'oszp' });
encoding('3f', 'AAS', '', { no64: true, undefined: 'oszp' });
encoding('40+r', 'INC', 'Zv', { no64: true });
encoding('48+r', 'DEC', 'Zv', { no64: true });
encoding('60', 'PUSHA', '', { no64: true });
encoding('61', 'POPA', '', { no64: true });
encoding('62 /r m', 'BOUND', 'Gv,Ma', { no64: true });
encoding('9a', 'CALLF', 'Ap', { no64: true });
encoding('c4 /r m', 'LOAD_FAR', 'Gv,Mp', { n: 0, no64: true });
encoding('c5 /r m', 'LOAD_FAR', 'Gv,Mp', { n: 3, no64: true });
encoding('ce', 'INTO', '', { no64: true });
encoding('d4', 'AAM', 'Ib', { no64: true, undefined: 'oac' });
encoding('d5', 'AAD', 'Ib', { no64: true, undefined: 'oac' });
encoding('d6', 'SALC', '', { no64: true });
encoding('ea', 'JMPF', 'Ap', { no64: true });

encoding('50+r', 'PUSH', 'Zv', { default64: true });
encoding('58+r', 'POP', 'Zv', { default64: true });
encoding('63 /r', 'MOVSXD', 'Gv,Ed', { only64: true });
encoding('63 /r', 'ARPL', 'Ew,Gw', { no64: true });
encoding('68', 'PUSH', 'Iz', { default64: true });
encoding('69 /r', 'IMUL', 'Gv,Ev,Iz', { undefined: 'szap' });
encoding('6a', 'PUSH', 'Ibs', { default64: true });
encoding('6b /r', 'IMUL', 'Gv,Ev,Ibs', { undefined: 'szap' });
for (const [i, mnemonic] of ['INS', 'INS', 'OUTS', 'OUTS'].entries()) encoding((0x6c + i).toString(16), mnemonic);
for (let n = 0; n < 16; n++) {
  encoding((0x70 + n).toString(16), 'Jcc', 'Jb', { n });
  encoding(`0f ${(0x80 + n).toString(16)}`, 'Jcc', 'Jz', { n });
  encoding(`0f ${(0x90 + n).toString(16)} /r`, 'SETcc', 'Eb', { n });
  encoding(`0f ${(0x40 + n).toString(16)} /r`, 'CMOVcc', 'Gv,Ev', { n });
}
encoding('84 /r', 'TEST', 'Eb,Gb', { undefined: 'a' });
encoding('85 /r', 'TEST', 'Ev,Gv', { undefined: 'a' });
encoding('86 /r', 'XCHG', 'Eb,Gb', { lock: true });
encoding('87 /r', 'XCHG', 'Ev,Gv', { lock: true });
encoding('88 /r', 'MOV', 'Eb,Gb');
encoding('89 /r', 'MOV', 'Ev,Gv');
encoding('8a /r', 'MOV', 'Gb,Eb');
encoding('8b /r', 'MOV', 'Gv,Ev');
encoding('8c /r', 'MOV_FROM_SREG', 'Ev,Sw');
encoding('8d /r m', 'LEA', 'Gv,M');
encoding('8e /r', 'MOV_TO_SREG', 'Sw,Ew');
encoding('8f /0', 'POP', 'Ev', { default64: true });
encoding('90+r', 'XCHG', 'Zv,rAX');
encoding('98', 'CBW');
encoding('99', 'CWD');
encoding('9b', 'FWAIT');
encoding('9c', 'PUSHF', '', { default64: true });
encoding('9d', 'POPF', '', { default64: true });
encoding('9e', 'SAHF');
encoding('9f', 'LAHF');
encoding('a0', 'MOV', 'AL,Ob');
encoding('a1', 'MOV', 'rAX,Ov');
encoding('a2', 'MOV', 'Ob,AL');
encoding('a3', 'MOV', 'Ov,rAX');
for (const [opcode, mnemonic] of [
  [0xa4, 'MOVS'],
  [0xa6, 'CMPS'],
  [0xaa, 'STOS'],
  [0xac, 'LODS'],
  [0xae, 'SCAS'],
] as const) {
  encoding(opcode.toString(16), mnemonic);
  encoding((opcode + 1).toString(16), mnemonic);
}
encoding('a8', 'TEST', 'AL,Ib', { undefined: 'a' });
encoding('a9', 'TEST', 'rAX,Iz', { undefined: 'a' });
encoding('b0+r', 'MOV', 'Zb,Ib');
encoding('b8+r', 'MOV', 'Zv,Iv');
for (const [i, mnemonic] of ['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SHL', 'SAR'].entries()) {
  const undefinedFlags = { undefined: i < 4 ? 'o' : 'oa' };
  encoding(`c0 /${i}`, mnemonic, 'Eb,Ib', undefinedFlags);
  encoding(`c1 /${i}`, mnemonic, 'Ev,Ib', undefinedFlags);
  encoding(`d0 /${i}`, mnemonic, 'Eb,1', i < 4 ? {} : { undefined: 'a' });
  encoding(`d1 /${i}`, mnemonic, 'Ev,1', i < 4 ? {} : { undefined: 'a' });
  encoding(`d2 /${i}`, mnemonic, 'Eb,CL', undefinedFlags);
  encoding(`d3 /${i}`, mnemonic, 'Ev,CL', undefinedFlags);
}
encoding('c2', 'RET', 'Iw', { default64: true });
encoding('c3', 'RET', '', { default64: true });
encoding('c6 /0', 'MOV', 'Eb,Ib');
encoding('c7 /0', 'MOV', 'Ev,Iz');
encoding('c8', 'ENTER', 'IwIb', { default64: true });
encoding('c9', 'LEAVE', '', { default64: true });
encoding('ca', 'RETF', 'Iw');
encoding('cb', 'RETF');
encoding('cc', 'INT', '', { n: 3 });
encoding('cd', 'INT', 'Ib');
encoding('cf', 'IRET');
encoding('d7', 'XLAT');
for (let i = 0xd8; i <= 0xdf; i++) encoding(`${i.toString(16)} /r`, 'X87', 'M');
encoding('e8', 'CALL', 'Jz', { default64: true });
encoding('e9', 'JMP', 'Jz', { default64: true });
encoding('eb', 'JMP', 'Jb', { default64: true });
for (const [i, mnemonic] of ['LOOPNE', 'LOOPE', 'LOOP', 'JCXZ'].entries()) {
  encoding((0xe0 + i).toString(16), mnemonic, 'Jb', { default64: true });
}
encoding('e4', 'IN', 'AL,Ib');
encoding('e5', 'IN', 'eAX,Ib');
encoding('e6', 'OUT', 'Ib,AL');
encoding('e7', 'OUT', 'Ib,eAX');
encoding('ec', 'IN', 'AL,DX');
encoding('ed', 'IN', 'eAX,DX');
encoding('ee', 'OUT', 'DX,AL');
encoding('ef', 'OUT', 'DX,eAX');
encoding('f1', 'INT', '', { n: 1 });
encoding('f4', 'HLT');
encoding('f5', 'CMC');
encoding('f6 /0', 'TEST', 'Eb,Ib', { undefined: 'a' });
encoding('f6 /1', 'TEST', 'Eb,Ib', { undefined: 'a' });
encoding('f7 /0', 'TEST', 'Ev,Iz', { undefined: 'a' });
encoding('f7 /1', 'TEST', 'Ev,Iz', { undefined: 'a' });
for (const [opcode, operand] of [
  ['f6', 'Eb'],
  ['f7', 'Ev'],
] as const) {
  encoding(`${opcode} /2`, 'NOT', operand, { lock: true });
  encoding(`${opcode} /3`, 'NEG', operand, { lock: true });
  encoding(`${opcode} /4`, 'MUL', operand, { undefined: 'szap' });
  encoding(`${opcode} /5`, 'IMUL1', operand, { undefined: 'szap' });
  encoding(`${opcode} /6`, 'DIV', operand, { undefined: 'oszapc' });
  encoding(`${opcode} /7`, 'IDIV', operand, { undefined: 'oszapc' });
}
encoding('f8', 'CLC');
encoding('f9', 'STC');
encoding('fa', 'CLI');
encoding('fb', 'STI');
encoding('fc', 'CLD');
encoding('fd', 'STD');
encoding('fe /0', 'INC', 'Eb', { lock: true });
encoding('fe /1', 'DEC', 'Eb', { lock: true });
encoding('ff /0', 'INC', 'Ev', { lock: true });
encoding('ff /1', 'DEC', 'Ev', { lock: true });
encoding('ff /2', 'CALL', 'Ev', { default64: true });
encoding('ff /3 m', 'CALLF', 'Mp');
encoding('ff /4', 'JMP', 'Ev', { default64: true });
encoding('ff /5 m', 'JMPF', 'Mp');
encoding('ff /6', 'PUSH', 'Ev', { default64: true });

for (const [i, mnemonic] of ['SLDT', 'STR', 'LLDT', 'LTR', 'VERR', 'VERW'].entries()) {
  encoding(`0f 00 /${i}`, mnemonic, 'Ew');
}
encoding('0f 01 /0 m', 'SGDT', 'M');
encoding('0f 01 /1 m', 'SIDT', 'M');
encoding('0f 01 /2 m', 'LGDT', 'M');
encoding('0f 01 /3 m', 'LIDT', 'M');
encoding('0f 01 /4', 'SMSW', 'Ew');
encoding('0f 01 /6', 'LMSW', 'Ew');
encoding('0f 01 /7 m', 'INVLPG', 'M');
encoding('0f 01 /1 r', 'GROUP7_1');
encoding('np 0f 01 /2 r', 'GROUP7_2');
encoding('0f 01 /7 r', 'GROUP7_7');
encoding('0f 02 /r', 'LAR', 'Gv,Ew');
encoding('0f 03 /r', 'LSL', 'Gv,Ew');
encoding('0f 05', 'SYSCALL', '', { only64: true });
encoding('0f 06', 'CLTS');
encoding('0f 07', 'SYSRET', '', { only64: true });
encoding('0f 08', 'WBINVD');
encoding('0f 09', 'WBINVD');
encoding('0f 0b', 'UD');
encoding('0f 0d /r', 'NOP', 'Ev');
for (let i = 0x18; i <= 0x1f; i++) encoding(`0f ${i.toString(16)} /r`, 'NOP', 'Ev');
encoding('0f 20 /r', 'MOV_FROM_CR', 'Rd,Cd');
encoding('0f 21 /r', 'MOV_FROM_DR', 'Rd,Dd');
encoding('0f 22 /r', 'MOV_TO_CR', 'Cd,Rd');
encoding('0f 23 /r', 'MOV_TO_DR', 'Dd,Rd');
encoding('0f 30', 'WRMSR');
encoding('0f 31', 'RDTSC');
encoding('0f 32', 'RDMSR');
encoding('0f 34', 'SYSENTER');
encoding('0f 35', 'SYSEXIT');
encoding('0f a0', 'PUSH_SREG', '', { n: 4, default64: true });
encoding('0f a1', 'POP_SREG', '', { n: 4, default64: true });
encoding('0f a2', 'CPUID');
encoding('0f a8', 'PUSH_SREG', '', { n: 5, default64: true });
encoding('0f a9', 'POP_SREG', '', { n: 5, default64: true });
encoding('0f a3 /r', 'BT', 'Ev,Gv', { undefined: 'osap' });
encoding('0f ab /r', 'BTS', 'Ev,Gv', { lock: true, undefined: 'osap' });
encoding('0f b3 /r', 'BTR', 'Ev,Gv', { lock: true, undefined: 'osap' });
encoding('0f bb /r', 'BTC', 'Ev,Gv', { lock: true, undefined: 'osap' });
for (const [i, mnemonic] of ['BT', 'BTS', 'BTR', 'BTC'].entries()) {
  encoding(`0f ba /${i + 4}`, mnemonic, 'Ev,Ib', { lock: i > 0, undefined: 'osap' });
}
encoding('0f a4 /r', 'SHLD', 'Ev,Gv,Ib', { undefined: 'oa' });
encoding('0f a5 /r', 'SHLD', 'Ev,Gv,CL', { undefined: 'oa' });
encoding('0f ac /r', 'SHRD', 'Ev,Gv,Ib', { undefined: 'oa' });
encoding('0f ad /r', 'SHRD', 'Ev,Gv,CL', { undefined: 'oa' });
encoding('np 0f ae /0 m', 'FXSAVE', 'M');
encoding('np 0f ae /1 m', 'FXRSTOR', 'M');
encoding('np 0f ae /2 m', 'LDMXCSR', 'Md');
encoding('np 0f ae /3 m', 'STMXCSR', 'Md');
encoding('np 0f ae /4 m', 'XSAVE', 'M');
encoding('np 0f ae /5 m', 'XRSTOR', 'M');
encoding('np 0f ae /5 r', 'FENCE');
encoding('np 0f ae /6 r', 'FENCE');
encoding('np 0f ae /7 m', 'CLFLUSH', 'Mb');
encoding('np 0f ae /7 r', 'FENCE');
encoding('0f af /r', 'IMUL', 'Gv,Ev', { undefined: 'szap' });
encoding('0f b0 /r', 'CMPXCHG', 'Eb,Gb', { lock: true });
encoding('0f b1 /r', 'CMPXCHG', 'Ev,Gv', { lock: true });
encoding('0f b2 /r m', 'LOAD_FAR', 'Gv,Mp', { n: 2 });
encoding('0f b4 /r m', 'LOAD_FAR', 'Gv,Mp', { n: 4 });
encoding('0f b5 /r m', 'LOAD_FAR', 'Gv,Mp', { n: 5 });
encoding('0f b6 /r', 'MOVZX', 'Gv,Eb');
encoding('0f b7 /r', 'MOVZX', 'Gv,Ew');
encoding('0f be /r', 'MOVSX', 'Gv,Eb');
encoding('0f bf /r', 'MOVSX', 'Gv,Ew');
encoding('f3 0f b8 /r', 'POPCNT', 'Gv,Ev');
encoding('0f b9 /r', 'UD');
encoding('0f bc /r', 'BSF', 'Gv,Ev', { undefined: 'osapc' });
encoding('0f bd /r', 'BSR', 'Gv,Ev', { undefined: 'osapc' });
encoding('0f c0 /r', 'XADD', 'Eb,Gb', { lock: true });
encoding('0f c1 /r', 'XADD', 'Ev,Gv', { lock: true });
encoding('0f c7 /1 m', 'CMPXCHG8B', 'M', { lock: true });
encoding('0f c7 /6 r', 'RDRAND', 'Ev');
encoding('0f c7 /7 r', 'RDRAND', 'Ev');
encoding('0f c8+r', 'BSWAP', 'Zv');
for (const prefix of ['np', '66']) {
  encoding(`${prefix} 0f 38 f0 /r m`, 'MOVBE', 'Gv,Mv');
  encoding(`${prefix} 0f 38 f1 /r m`, 'MOVBE', 'Mv,Gv');
}
encoding('0f ff /r', 'UD');

simdRows(encoding);

/** All encodings, in table order. */
export const ENCODINGS: readonly Encoding[] = rows;
