/** String, port, privileged and control-transfer instructions: helpers do the work. */
import { GPR, type Size, STATE } from '../layout.ts';
import { JMP_INDIRECT } from '../uops/control.ts';
import { extensionKey, LOAD, LOAD_ZX, MOV, MOV_IMM, MOVZX, STORE } from '../uops/data.ts';
import type { HelperName } from './helper-names.ts';
import { helper, type Lowering, simple, sizeOf, systemRm, undefinedInstruction } from './lower-common.ts';
import type { Encoding } from './table.ts';
import { TEMP_ADDRESS, TEMP0, TEMP1, type Translator } from './translator.ts';

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

const INT1 = 0xf1;

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
  if (!name || (name === 'swapgs' && t.isLegacy)) {
    undefinedInstruction(t);
    return;
  }
  helper(t, name);
}

/** CALL and JMP far: the pointer stands in the instruction or in memory. b: whether it is a call; c: the pointer's selector. */
function far(t: Translator, row: Encoding): void {
  const b = row.mnemonic === 'CALLF' ? 1 : 0;
  const high = t.d.operandSize;
  if (row.operands[0] === 'Ap') {
    t.pure(MOV_IMM[3], TEMP0, 0, 0, t.d.immediate, 0);
    helper(t, 'farPointer', { a: TEMP0, b, c: t.d.selector, high, ends: true });
  } else {
    t.addressForHelper();
    helper(t, 'farMemory', { a: TEMP_ADDRESS, b, high, ends: true });
  }
}

/** LAR and LSL. a: the destination, b: the selector's place, c: whether it is LSL. */
function accessRights(t: Translator, row: Encoding): void {
  const size = t.d.operandSize;
  const b = t.isRegister ? t.rmRegister(1) : TEMP0;
  if (!t.isRegister) t.memory(LOAD_ZX[1], TEMP0);
  helper(t, 'accessRights', { a: t.gRegister(size), b, c: row.mnemonic === 'LSL' ? 1 : 0, high: size });
}

const DECIMAL = ['DAA', 'DAS', 'AAA', 'AAS', 'AAM', 'AAD', 'SALC'];
const decimalAdjust: Lowering = (t, row) =>
  helper(t, 'decimalAdjust', { a: DECIMAL.indexOf(row.mnemonic), b: t.d.immediate & 0xff });

/** The helper says where to go in STATE.RIP: without a way out of the engine, unless the state must be looked at. */
const systemCall =
  (name: 'syscall' | 'sysret'): Lowering =>
  (t) => {
    helper(t, name, { high: t.d.operandSize });
    t.put(JMP_INDIRECT, STATE.RIP, 0, t.count);
    t.count = 0;
    t.ended = true;
  };

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
  INT: (t, row) => {
    const vector = row.attributes.n ?? t.d.immediate & 0xff;
    helper(t, 'interrupt', { a: vector, b: t.d.opcode === INT1 ? 1 : 0, ends: true });
  },
  IRET: simple('iret', { ends: true }),
  SYSCALL: systemCall('syscall'),
  SYSRET: systemCall('sysret'),
  HLT: simple('hlt', { ends: true }),
  CLI: simple('cli'),
  STI: simple('sti', { ends: true }),
  SAHF: (t) => helper(t, 'ahFlags', { a: 0 }),
  LAHF: (t) => helper(t, 'ahFlags', { a: 1 }),
  XLAT: (t) => {
    t.pure(MOVZX.get(extensionKey(0, 3)) as number, TEMP1, STATE.GPR + GPR.RAX);
    Object.assign(t.d, { base: STATE.GPR + GPR.RBX, index: TEMP1, scale: 0, displacement: 0, ripRelative: false });
    t.memory(LOAD[0], STATE.GPR + GPR.RAX);
  },
  // It touches memory as a load of a byte does.
  CLFLUSH: (t) => void t.memory(LOAD[0], TEMP0),
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
  INVLPG: systemRm('invlpg'),
  SGDT: systemRm('descriptorTable'),
  SIDT: systemRm('descriptorTable'),
  LGDT: systemRm('descriptorTable'),
  LIDT: systemRm('descriptorTable'),
  SMSW: systemRm('smsw'),
  LMSW: systemRm('lmsw', 1),
  SLDT: systemRm('system0f00', 1),
  STR: systemRm('system0f00', 1),
  LLDT: systemRm('system0f00', 1),
  LTR: systemRm('system0f00', 1),
  VERR: systemRm('system0f00', 1),
  VERW: systemRm('system0f00', 1),
  LAR: accessRights,
  LSL: accessRights,
  SYSENTER: simple('sysenter', { ends: true }),
  SYSEXIT: simple('sysexit', { ends: true }),
  RETF: (t) => helper(t, 'retf', { a: t.d.immediate & 0xffff, high: t.d.operandSize, ends: true }),
  CALLF: far,
  JMPF: far,
  ARPL: (t) => {
    const b = t.gRegister(1);
    if (t.isRegister) helper(t, 'arpl', { a: t.rmRegister(1), b, c: 1 });
    else {
      t.addressForHelper();
      helper(t, 'arpl', { a: TEMP_ADDRESS, b });
    }
  },
  BOUND: (t) => {
    t.addressForHelper();
    helper(t, 'bound', { a: TEMP_ADDRESS, b: t.gRegister(t.d.operandSize), high: t.d.operandSize });
  },
  INTO: simple('into', { ends: true }),
  DAA: decimalAdjust,
  DAS: decimalAdjust,
  AAA: decimalAdjust,
  AAS: decimalAdjust,
  AAM: decimalAdjust,
  AAD: decimalAdjust,
  SALC: decimalAdjust,
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
  XSAVE: systemRm('xsave'),
  XRSTOR: systemRm('xrstor'),
  LDMXCSR: (t) => helper(t, 'loadMxcsr', { a: t.readRm(2) }),
  STMXCSR: (t) => {
    helper(t, 'storeMxcsr', { a: TEMP0 });
    t.memory(STORE[2], TEMP0);
  },
};
