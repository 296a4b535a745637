/** Which results of an instruction the manual leaves undefined (SDM vol. 2, "Flags Affected" and the operation sections). */
import { type CaseResult, FLAG, type TestCase } from './case.ts';
import { STRING_MNEMONICS } from './generate/rows.ts';

/** What a comparison must not look at. */
export interface Undefined {
  /** RFLAGS bits. */
  readonly flags: number;
  /** General registers, one bit each. */
  readonly registers: number;
  /** General registers of which bits 63 to 32 are undefined, one bit each. */
  readonly upperHalves: number;
  /** x87 status word bits. */
  readonly x87Status: number;
  /** Offsets from the memory operand's address, from ≤ offset < to. */
  readonly memory: readonly { readonly from: number; readonly to: number }[];
  /** Relative error that single-precision results may have (reciprocal estimates); 0 for exact. */
  readonly tolerance: number;
  /** Units in the last place that x87 registers may be off (transcendental functions, SDM vol. 1 §8.3.10); 0 for exact. */
  readonly x87Ulps: number;
}

const { CF, PF, AF, ZF, SF, OF } = FLAG;
const ALL = CF | PF | AF | ZF | SF | OF;
const NOTHING: Undefined = {
  flags: 0,
  registers: 0,
  upperHalves: 0,
  x87Status: 0,
  memory: [],
  tolerance: 0,
  x87Ulps: 0,
};

/** x87 status word: condition codes, SDM vol. 1 §8.1.3. */
const X87 = { C0: 0x100, C1: 0x200, C2: 0x400, C3: 0x4000 } as const;

const BY_MNEMONIC: Readonly<Record<string, number>> = {
  AND: AF,
  OR: AF,
  XOR: AF,
  TEST: AF,
  MUL: SF | ZF | AF | PF,
  IMUL: SF | ZF | AF | PF,
  IMUL1: SF | ZF | AF | PF,
  DIV: ALL,
  IDIV: ALL,
  BT: OF | SF | AF | PF,
  BTS: OF | SF | AF | PF,
  BTR: OF | SF | AF | PF,
  BTC: OF | SF | AF | PF,
  BSF: CF | OF | SF | AF | PF,
  BSR: CF | OF | SF | AF | PF,
  TZCNT: OF | SF | PF | AF,
  LZCNT: OF | SF | PF | AF,
  DAA: OF,
  DAS: OF,
  AAA: OF | SF | ZF | PF,
  AAS: OF | SF | ZF | PF,
  AAM: OF | AF | CF,
  AAD: OF | AF | CF,
};

/** The count of a shift or rotation, masked as the processor does. */
function shiftCount(testCase: TestCase, operandBytes: number): number {
  const { code, state, details } = testCase;
  const operands = details?.row.operands ?? [];
  const raw = operands.includes('CL')
    ? Number((state.gpr[1] as bigint) & 0xffn)
    : operands.includes('1')
      ? 1
      : (code[code.length - 1] as number);
  return raw & (operandBytes === 8 ? 63 : 31);
}

function shiftFlags(testCase: TestCase, mnemonic: string, operandBytes: number): number {
  const count = shiftCount(testCase, operandBytes);
  if (count === 0) return 0;
  const overflow = count === 1 ? 0 : OF;
  if (/^R/.test(mnemonic)) return overflow;
  if (/^SH[LR]D$/.test(mnemonic)) return count > 8 * operandBytes ? ALL : overflow | AF;
  const carry = mnemonic !== 'SAR' && count >= 8 * operandBytes ? CF : 0;
  return overflow | AF | carry;
}

/** Instructions that give C0, C2 or C3 a meaning, or move the whole word. */
const X87_CONDITIONS =
  /^(F(UCOM|COM|TST|XAM|PREM|SIN|COS|PTAN|N?STENV|LDENV|N?SAVE|RSTOR|N?INIT|N?CLEX|XSAVE|XRSTOR)|FWAIT)/;

const TRANSCENDENTAL = /^(F2XM1|FYL2X|FYL2XP1|FPTAN|FPATAN|FSIN|FCOS|FSINCOS)$/;

function undefinedX87Status(mnemonic: string): number {
  if (TRANSCENDENTAL.test(mnemonic)) return X87.C0 | X87.C1 | X87.C3;
  return X87_CONDITIONS.test(mnemonic) ? 0 : X87.C0 | X87.C2 | X87.C3;
}

/** Last-instruction words: processors differ in when they keep them, and the operating system switches them. */
function undefinedMemory(mnemonic: string): Undefined['memory'] {
  if (/^FXSAVE/.test(mnemonic)) {
    return [
      { from: 6, to: 24 }, // FOP, FIP, FDP
      { from: 28, to: 32 }, // MXCSR_MASK
      { from: 416, to: 512 },
    ];
  }
  if (/^FN?(SAVE|STENV)$/.test(mnemonic)) return [{ from: 12, to: 28 }];
  return [];
}

/** RCX, RSI, RDI. */
const STRING_REGISTERS = (1 << 1) | (1 << 6) | (1 << 7);

/**
 * With 32-bit addresses a string instruction clears the upper halves of its registers as it writes them. Processors differ
 * in whether they write them when no iteration completes.
 */
function undefinedUpperHalves({ state, details }: TestCase, result: CaseResult): number {
  if (!details || details.addressSizeBytes === 8 || !STRING_MNEMONICS.has(details.row.mnemonic)) return 0;
  const count = (state.gpr[1] as bigint) & 0xffff_ffffn;
  return result.exception !== null || count === 0n ? STRING_REGISTERS : 0;
}

/** Registers of legacy code: their upper halves are nobody's (SDM vol. 1 §3.4.1.1). */
const LEGACY_REGISTERS = 0xff;

/** What is undefined in this case, given how it came out on a processor that is right. */
export function undefinedResults(testCase: TestCase, result: CaseResult): Undefined {
  const { details } = testCase;
  const upperHalves = testCase.bits === 32 ? LEGACY_REGISTERS : undefinedUpperHalves(testCase, result);
  if (!details || result.exception) return { ...NOTHING, upperHalves };
  const { mnemonic, x87, mmx } = details.row;
  const isShift = /^(RO[LR]|RC[LR]|SH[LR]D?|SAR)$/.test(mnemonic);
  const scan = mnemonic === 'BSF' || mnemonic === 'BSR';
  const sourceIsZero = (Number(result.state.control[1]) & ZF) !== 0;
  return {
    flags: isShift ? shiftFlags(testCase, mnemonic, details.operandBytes) : (BY_MNEMONIC[mnemonic] ?? 0),
    registers: scan && sourceIsZero ? 1 << details.reg : 0,
    upperHalves,
    x87Status: x87 ? undefinedX87Status(mnemonic) : mmx ? X87.C0 | X87.C1 | X87.C2 | X87.C3 : 0,
    memory: undefinedMemory(mnemonic),
    x87Ulps: TRANSCENDENTAL.test(mnemonic) ? 2 : 0,
    tolerance: /^(RCP|RSQRT)[PS]S$/.test(mnemonic) ? 1.5 * 2 ** -12 : 0,
  };
}
