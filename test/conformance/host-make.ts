/**
 * Where processors of AMD differ from those of Intel, which the software CPU follows, in what neither manual calls undefined. Seen with
 * EPYC processors; the sections are those of the AMD64 manual where it tells. On other hosts everything is compared.
 */
import { readFileSync } from 'node:fs';
import { type CaseResult, FX, type TestCase, VECTOR } from './case.ts';

export type HostMake = 'amd' | 'other';

/** Of the processor that this runs on. */
export function hostMake(): HostMake {
  return /^vendor_id\s*:\s*(AuthenticAMD|HygonGenuine)$/m.test(readFileSync('/proc/cpuinfo', 'latin1'))
    ? 'amd'
    : 'other';
}

interface Outcome {
  readonly testCase: TestCase;
  readonly expected: CaseResult;
  readonly actual: CaseResult;
}

interface Rule {
  readonly mnemonic: RegExp;
  /** All lines of the difference are of this form. */
  readonly lines: RegExp;
  readonly when?: (outcome: Outcome) => boolean;
}

const hasVector = ({ exception }: CaseResult, vector: number): boolean => exception?.vector === vector;
const statusOf = ({ state }: CaseResult): number => state.fx.getUint16(FX.FSW, true);

/** x87 status word: the number of the register on top, SDM vol. 1 §8.1.3. */
const FSW_TOP = 0x3800;
const FSW_TOP_SHIFT = 11;
/** Whether the x87 is the same but for which register is on top. */
function differsInTop({ expected, actual }: Outcome): boolean {
  if (((statusOf(expected) ^ statusOf(actual)) & ~FSW_TOP) !== 0) return false;
  const physical = (result: CaseResult, index: number): string => {
    const at = FX.ST + 16 * ((index - (statusOf(result) >> FSW_TOP_SHIFT)) & 7);
    const { fx } = result.state;
    return `${fx.getBigUint64(at, true)} ${fx.getUint16(at + 8, true)}`;
  };
  return Array.from({ length: 8 }, (_, index) => physical(expected, index) === physical(actual, index)).every(Boolean);
}

/** The end of the address space of legacy code, as far as an operand reaches. */
const WRAPS_FROM = 0xffff_ffe0n;

/** The prefixes REPNE and REP. */
const REPEATS: readonly number[] = [0xf2, 0xf3];

function isNanSingle(bits: number): boolean {
  return (bits & 0x7f80_0000) === 0x7f80_0000 && (bits & 0x7f_ffff) !== 0;
}

/** What differs are singles or doubles that are NaN on both sides: which operand's it is differs. */
function areNans({ expected, actual }: Outcome): boolean {
  const [want, got] = [expected.state.fx, actual.state.fx];
  for (let at = FX.XMM; at < FX.XMM + 256; at += 4) {
    const [a, b] = [want.getUint32(at, true), got.getUint32(at, true)];
    if (a === b) continue;
    const isDouble = [want, got].every((view) => Number.isNaN(view.getFloat64(at - (at % 8), true)));
    if (!isDouble && !(isNanSingle(a) && isNanSingle(b))) return false;
  }
  return true;
}

const RULES: readonly Rule[] = [
  // A push of a selector writes the whole stack slot, zero extended; Intel's writes two bytes of it.
  { mnemonic: /^PUSH_SREG$/, lines: /^(\[0x|and \d+ more bytes of memory)/ },
  // 0F 0D is PREFETCH, which has no form with a register.
  {
    mnemonic: /^NOP$/,
    lines: /^(expected exception 6 |rip: )/,
    when: ({ testCase: { code } }) =>
      code.some((byte, at) => byte === 0x0d && code[at - 1] === 0x0f && (code[at + 1] ?? 0) >= 0xc0),
  },
  // MMX instructions that store leave TOP as it is.
  {
    mnemonic: /^(MOVD|MOVQ|MOVNTQ|MASKMOVQ)$/,
    lines: /^(fsw|st[0-7]): /,
    when: differsInTop,
  },
  { mnemonic: /^DPP[SD]$/, lines: /^xmm/, when: areNans },
  // A store of the x87 looks at its operand before it finds out that it has nothing to store.
  {
    mnemonic: /^(FSTP?|FISTP?|FISTTP|FBSTP)$/,
    lines: /^(expected exception|rip: |fsw: )/,
    when: ({ expected, actual }) => expected.exception !== null && actual.exception === null,
  },
  // Intel's writes the part of ten bytes that can be written.
  {
    mnemonic: /^(FSTP|FBSTP)$/,
    lines: /^(\[0x\w+\]: expected unchanged|and \d+ more bytes of memory)/,
    when: ({ expected }) => expected.exception !== null,
  },
  // An operand that wraps at 4 GiB breaks a limit; Intel's goes on at the other end of the address space.
  {
    mnemonic: /^/,
    lines: /^expected exception 1[23] .* got exception 14 /,
    when: ({ testCase, actual }) => testCase.bits === 32 && (actual.exception?.address ?? 0n) >= WRAPS_FROM,
  },
  // Which byte of the operand the fault is told of: the first of all, here the first that is written.
  {
    mnemonic: /^MASKMOV(Q|DQU)$/,
    lines: /^expected exception 14 .* got exception 1[34] /,
    when: ({ expected, actual }) => {
      const distance = (actual.exception?.address ?? 0n) - (expected.exception?.address ?? 0n);
      return hasVector(actual, VECTOR.GP) || (distance > -16n && distance < 16n);
    },
  },
  // The bounds are read before the index is compared with the first.
  { mnemonic: /^BOUND$/, lines: /^expected exception 14 .* got exception 5 / },
  // A repeated comparison that faults has the flags of what it had compared.
  { mnemonic: /^(SCAS|CMPS)$/, lines: /^rflags: /, when: ({ expected }) => expected.exception !== null },
  // LOOPE and LOOPNE behind REP and REPNE.
  {
    mnemonic: /^LOOPN?E$/,
    lines: /^rip: /,
    when: ({ testCase: { code } }) => code.some((byte) => REPEATS.includes(byte)),
  },
  // With a prefix of 66 four bytes are read all the same.
  {
    mnemonic: /^MOVSXD$/,
    lines: /^(expected exception 14 .* got no exception|r\w+: )/,
    when: ({ testCase: { code } }) => code.includes(0x66),
  },
  // UD0 and UD1 have no operands to be too long with, or to lie in another page.
  { mnemonic: /^UD$/, lines: /^expected exception 6 .* got exception 1[34] / },
];

/** Whether all of a difference is one of the make. */
export function isOfTheMake(make: HostMake, outcome: Outcome, lines: readonly string[]): boolean {
  if (make !== 'amd') return false;
  return RULES.some(
    (rule) =>
      rule.mnemonic.test(outcome.testCase.mnemonic) &&
      lines.every((line) => rule.lines.test(line)) &&
      (rule.when?.(outcome) ?? true),
  );
}
