/** String, port, privileged and control-transfer instructions: helpers do the work. */
import type { Size } from '../layout.ts';
import { MOV, PUSH, STORE } from '../uops/data.ts';
import type { HelperName } from './helper-names.ts';
import { helper, type Lowering, simple, sizeOf, systemRm, undefinedInstruction } from './lower-common.ts';
import type { Encoding } from './table.ts';
import { TEMP_ADDRESS, TEMP0, type Translator } from './translator.ts';

const STRING_KINDS = ['MOVS', 'CMPS', 'STOS', 'LODS', 'SCAS', 'INS', 'OUTS'];
/** a: kind, b: size, c: repeat prefix and address size, upper immediate: segment override. */
function string(t: Translator, row: Encoding): void {
  const size =
    t.d.opcode & 1
      ? (row.mnemonic === 'INS' || row.mnemonic === 'OUTS') && t.d.operandSize === 3
        ? 2
        : t.d.operandSize
      : 0;
  helper(t, 'string', {
    a: STRING_KINDS.indexOf(row.mnemonic),
    b: size,
    c: t.d.repeat | (t.d.addressSize << 8),
    high: t.d.segment,
  });
}

const port =
  (name: 'in' | 'out'): Lowering =>
  (t, row) => {
    const accumulator = row.operands.find((operand) => operand.endsWith('L') || operand.startsWith('e')) as string;
    const byDx = row.operands.includes('DX');
    helper(t, name, { a: sizeOf(t, accumulator), b: byDx ? 1 : 0, c: t.d.immediate & 0xff });
  };

/** By modrm byte: instructions that stand where group 7 has no memory form. */
function group7(t: Translator): void {
  const names: Readonly<Record<number, HelperName>> = {
    202: 'clac',
    203: 'stac',
    208: 'xgetbv',
    209: 'xsetbv',
    248: 'swapgs',
    249: 'rdtscp',
  };
  const name = names[t.d.modrm];
  if (!name) {
    undefinedInstruction(t);
    return;
  }
  helper(t, name);
}

export const SYSTEM_LOWERINGS: Readonly<Record<string, Lowering>> = {
  MOVS: string,
  CMPS: string,
  STOS: string,
  LODS: string,
  SCAS: string,
  INS: string,
  OUTS: string,
  IN: port('in'),
  OUT: port('out'),
  INT: simple('interrupt', { n: true, ends: true }),
  IRET: simple('iret', { ends: true }),
  SYSCALL: simple('syscall', { ends: true }),
  SYSRET: simple('sysret', { ends: true }),
  HLT: simple('hlt', { ends: true }),
  CLI: simple('cli'),
  STI: simple('sti', { ends: true }),
  PUSHF: simple('pushf'),
  POPF: simple('popf', { ends: true }),
  SAHF: (t) => helper(t, 'ahFlags', { a: 0 }),
  LAHF: (t) => helper(t, 'ahFlags', { a: 1 }),
  XLAT: undefinedInstruction,
  CPUID: simple('cpuid'),
  RDTSC: simple('rdtsc'),
  RDMSR: simple('rdmsr'),
  WRMSR: simple('wrmsr', { ends: true }),
  CLTS: simple('clts'),
  WBINVD: simple('wbinvd'),
  MOV_FROM_CR: (t) => helper(t, 'readControl', { a: t.rmRegister(3), b: t.d.reg }),
  MOV_TO_CR: (t) => helper(t, 'writeControl', { a: t.rmRegister(3), b: t.d.reg, ends: true }),
  MOV_FROM_DR: (t) => helper(t, 'readDebug', { a: t.rmRegister(3), b: t.d.reg }),
  MOV_TO_DR: (t) => helper(t, 'writeDebug', { a: t.rmRegister(3), b: t.d.reg }),
  MOV_FROM_SREG: (t) => {
    const size: Size = t.isRegister ? t.d.operandSize : 1;
    helper(t, 'readSegment', { a: TEMP0, b: t.d.reg & 7 });
    if (t.isRegister) t.pure(MOV[size], t.rmRegister(size), TEMP0);
    else t.memory(STORE[1], TEMP0);
  },
  MOV_TO_SREG: (t) => helper(t, 'writeSegment', { a: t.readRm(1), b: t.d.reg & 7, ends: true }),
  PUSH_SREG: (t, row) => {
    helper(t, 'readSegment', { a: TEMP0, b: row.attributes.n as number });
    t.put(PUSH, TEMP0);
  },
  POP_SREG: undefinedInstruction,
  INVLPG: systemRm('invlpg'),
  SGDT: systemRm('descriptorTable'),
  SIDT: systemRm('descriptorTable'),
  LGDT: systemRm('descriptorTable'),
  LIDT: systemRm('descriptorTable'),
  SMSW: undefinedInstruction,
  LMSW: undefinedInstruction,
  SLDT: systemRm('system0f00', 1),
  STR: systemRm('system0f00', 1),
  LLDT: systemRm('system0f00', 1),
  LTR: systemRm('system0f00', 1),
  VERR: systemRm('system0f00', 1),
  VERW: systemRm('system0f00', 1),
  LAR: undefinedInstruction,
  LSL: undefinedInstruction,
  RETF: (t) => helper(t, 'retf', { a: t.d.immediate & 0xffff, high: t.d.operandSize, ends: true }),
  CALLF: undefinedInstruction,
  JMPF: undefinedInstruction,
  CMPXCHG8B: systemRm('compareExchangeWide'),
  RDRAND: (t) => helper(t, 'random', { a: t.rmRegister(t.d.operandSize), high: t.d.operandSize }),
  GROUP7_1: group7,
  GROUP7_2: group7,
  GROUP7_7: group7,
  FWAIT: simple('fwait'),
  X87: (t) => {
    const operands = { b: t.d.opcode, c: t.d.modrm };
    if (t.isRegister) helper(t, 'x87', operands);
    else {
      t.addressForHelper();
      helper(t, 'x87', { a: TEMP_ADDRESS, ...operands });
    }
  },
  FXSAVE: systemRm('fxsave'),
  FXRSTOR: systemRm('fxrstor'),
  LDMXCSR: (t) => helper(t, 'loadMxcsr', { a: t.readRm(2) }),
  STMXCSR: (t) => {
    helper(t, 'storeMxcsr', { a: TEMP0 });
    t.memory(STORE[2], TEMP0);
  },
};
