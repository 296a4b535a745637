/** Names and memory operand sizes of x87 instructions, which the CPU's table keeps as eight opcodes (SDM vol. 2 appendix A.5). */

const ARITHMETIC = ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUB', 'FSUBR', 'FDIV', 'FDIVR'];
const INTEGER_ARITHMETIC = ARITHMETIC.map((name) => `FI${name.slice(1)}`);

/** By opcode − D8 and ModRM.reg; an empty name is no instruction. */
const IN_MEMORY: readonly (readonly string[])[] = [
  ARITHMETIC,
  ['FLD', '', 'FST', 'FSTP', 'FLDENV', 'FLDCW', 'FNSTENV', 'FNSTCW'],
  INTEGER_ARITHMETIC,
  ['FILD', 'FISTTP', 'FIST', 'FISTP', '', 'FLD', '', 'FSTP'],
  ARITHMETIC,
  ['FLD', 'FISTTP', 'FST', 'FSTP', 'FRSTOR', '', 'FNSAVE', 'FNSTSW'],
  INTEGER_ARITHMETIC,
  ['FILD', 'FISTTP', 'FIST', 'FISTP', 'FBLD', 'FILD', 'FBSTP', 'FISTP'],
];

const CONSTANTS = ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ', ''];

/** By opcode − D8 and ModRM.reg; a list where ModRM.rm chooses further. The second names of some are kept: FSTP, FXCH … */
const IN_REGISTERS: readonly (readonly (string | readonly string[])[])[] = [
  ARITHMETIC,
  [
    'FLD',
    'FXCH',
    ['FNOP'],
    'FSTP',
    ['FCHS', 'FABS', '', '', 'FTST', 'FXAM'],
    CONSTANTS,
    ['F2XM1', 'FYL2X', 'FPTAN', 'FPATAN', 'FXTRACT', 'FPREM1', 'FDECSTP', 'FINCSTP'],
    ['FPREM', 'FYL2XP1', 'FSQRT', 'FSINCOS', 'FRNDINT', 'FSCALE', 'FSIN', 'FCOS'],
  ],
  ['FCMOVB', 'FCMOVE', 'FCMOVBE', 'FCMOVU', '', ['', 'FUCOMPP'], '', ''],
  ['FCMOVNB', 'FCMOVNE', 'FCMOVNBE', 'FCMOVNU', ['', '', 'FNCLEX', 'FNINIT'], 'FUCOMI', 'FCOMI', ''],
  ['FADD', 'FMUL', 'FCOM', 'FCOMP', 'FSUBR', 'FSUB', 'FDIVR', 'FDIV'],
  ['FFREE', 'FXCH', 'FST', 'FSTP', 'FUCOM', 'FUCOMP', '', ''],
  ['FADDP', 'FMULP', 'FCOMP', ['', 'FCOMPP'], 'FSUBRP', 'FSUBP', 'FDIVRP', 'FDIVP'],
  ['FFREEP', 'FXCH', 'FSTP', 'FSTP', ['FNSTSW'], 'FUCOMIP', 'FCOMIP', ''],
];

/** Encodings that the manual reserves and processors give second meanings: opcode − D8 and ModRM.reg. */
const RESERVED = new Set(['1 3', '3 4', '4 2', '4 3', '5 1', '6 2', '7 0', '7 1', '7 2', '7 3']);

/** The name of a register form; empty when the manual defines none. */
export function x87RegisterName(opcode: number, reg: number, rm: number): string {
  const row = opcode - 0xd8;
  const entry = IN_REGISTERS[row]?.[reg] ?? '';
  const name = typeof entry === 'string' ? entry : (entry[rm] ?? '');
  // FNCLEX and FNINIT share their row with no-operations of old coprocessors.
  return RESERVED.has(`${row} ${reg}`) && typeof entry === 'string' ? '' : name;
}

/** The name of a memory form; empty when there is none. */
export function x87MemoryName(opcode: number, reg: number): string {
  return IN_MEMORY[opcode - 0xd8]?.[reg] ?? '';
}

const OPERAND_BYTES = [4, 4, 4, 4, 8, 8, 2, 2];
const BY_NAME: Readonly<Record<string, number>> = {
  FLDENV: 28,
  FNSTENV: 28,
  FLDCW: 2,
  FNSTCW: 2,
  FNSTSW: 2,
  FRSTOR: 108,
  FNSAVE: 108,
  FBLD: 10,
  FBSTP: 10,
};

/** Bytes of the operand of a memory form. */
export function x87OperandBytes(opcode: number, reg: number): number {
  const byName = BY_NAME[x87MemoryName(opcode, reg)];
  if (byName !== undefined) return byName;
  if (opcode === 0xdb && reg >= 5) return 10;
  if (opcode === 0xdf && reg >= 5) return 8;
  return OPERAND_BYTES[opcode - 0xd8] as number;
}
