/** Compares what two engines made of a case. */
import { GPR_NAMES } from '#cpu/layout.ts';
import { type CaseResult, DATA_BASE, DATA_SIZE, FX, type Patch, type TestCase, VECTOR } from './case.ts';
import { type Undefined, undefinedResults } from './undefined.ts';

/** RFLAGS bits that user mode can see; RF is left out: the manual lets it depend on how the exception came about. */
const VISIBLE_FLAGS = 0x3e_7fd5 & ~0x1_0000;

/** MXCSR exception flags, masks, rounding, FZ and DAZ. */
const MXCSR_BITS = 0xffff;

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

function flagNames(flags: number): string {
  const names: readonly (readonly [number, string])[] = [
    [0x1, 'c'],
    [0x4, 'p'],
    [0x10, 'a'],
    [0x40, 'z'],
    [0x80, 's'],
    [0x100, 't'],
    [0x400, 'd'],
    [0x800, 'o'],
  ];
  const known = names.map(([bit, name]) => (flags & bit ? name : '-')).join('');
  return `${known} (${hex(flags)})`;
}

function exceptionText({ exception }: CaseResult): string {
  if (!exception) return 'no exception';
  const { vector, errorCode, address } = exception;
  return `exception ${vector} error ${hex(errorCode)} address ${hex(address)}`;
}

function compareRegisters(expected: CaseResult, actual: CaseResult, ignore: Undefined): string[] {
  const found: string[] = [];
  GPR_NAMES.forEach((name, i) => {
    const defined = (ignore.upperHalves >> i) & 1 ? 32 : 64;
    const want = BigInt.asUintN(defined, expected.state.gpr[i] as bigint);
    const got = BigInt.asUintN(defined, actual.state.gpr[i] as bigint);
    if (want !== got && !((ignore.registers >> i) & 1)) found.push(`${name}: expected ${hex(want)}, got ${hex(got)}`);
  });
  const [ripWanted, flagsWanted] = expected.state.control as unknown as [bigint, bigint];
  const [ripGot, flagsGot] = actual.state.control as unknown as [bigint, bigint];
  if (ripWanted !== ripGot) found.push(`rip: expected ${hex(ripWanted)}, got ${hex(ripGot)}`);
  const mask = VISIBLE_FLAGS & ~ignore.flags;
  const want = Number(flagsWanted) & mask;
  const got = Number(flagsGot) & mask;
  if (want !== got) found.push(`rflags: expected ${flagNames(want)}, got ${flagNames(got)}`);
  return found;
}

/** Bits of a single as a number that estimates may miss by `tolerance`. */
function closeSingles(expected: DataView, actual: DataView, at: number, tolerance: number): boolean {
  for (let i = at; i < at + 16; i += 4) {
    if (expected.getUint32(i, true) === actual.getUint32(i, true)) continue;
    const want = expected.getFloat32(i, true);
    const got = actual.getFloat32(i, true);
    // Each estimate may be off by as much from the true value.
    if (!(Math.abs(want - got) <= 2 * tolerance * Math.abs(want))) return false;
  }
  return true;
}

function compareVectors(expected: CaseResult, actual: CaseResult, ignore: Undefined): string[] {
  const found: string[] = [];
  const want = expected.state.fx;
  const got = actual.state.fx;
  for (let i = 0; i < 16; i++) {
    const at = FX.XMM + 16 * i;
    const low = (view: DataView): bigint => view.getBigUint64(at, true);
    const high = (view: DataView): bigint => view.getBigUint64(at + 8, true);
    if (low(want) === low(got) && high(want) === high(got)) continue;
    if (ignore.tolerance > 0 && closeSingles(want, got, at, ignore.tolerance)) continue;
    const text = (view: DataView): string => `${hex(high(view))}:${low(view).toString(16).padStart(16, '0')}`;
    found.push(`xmm${i}: expected ${text(want)}, got ${text(got)}`);
  }
  const mxcsr = (view: DataView): number => view.getUint32(FX.MXCSR, true) & MXCSR_BITS;
  if (mxcsr(want) !== mxcsr(got)) found.push(`mxcsr: expected ${hex(mxcsr(want))}, got ${hex(mxcsr(got))}`);
  return found;
}

/** Both of one sign, and as far apart as may be. */
function closeExtended(expected: DataView, actual: DataView, at: number, ulps: number): boolean {
  const sign = (view: DataView): number => view.getUint16(at + 8, true) & 0x8000;
  const ordinal = (view: DataView): bigint =>
    (BigInt(view.getUint16(at + 8, true) & 0x7fff) << 63n) | BigInt.asUintN(63, view.getBigUint64(at, true));
  const distance = ordinal(expected) - ordinal(actual);
  return sign(expected) === sign(actual) && (distance < 0n ? -distance : distance) <= BigInt(ulps);
}

function compareX87(expected: CaseResult, actual: CaseResult, ignore: Undefined): string[] {
  const found: string[] = [];
  const want = expected.state.fx;
  const got = actual.state.fx;
  const words = [
    ['fcw', (view: DataView) => view.getUint16(FX.FCW, true)],
    ['fsw', (view: DataView) => view.getUint16(FX.FSW, true) & ~ignore.x87Status],
    ['ftw', (view: DataView) => view.getUint8(FX.FTW)],
  ] as const;
  for (const [name, read] of words) {
    if (read(want) !== read(got)) found.push(`${name}: expected ${hex(read(want))}, got ${hex(read(got))}`);
  }
  for (let i = 0; i < 8; i++) {
    const at = FX.ST + 16 * i;
    const text = (view: DataView): string =>
      `${hex(view.getUint16(at + 8, true))}:${view.getBigUint64(at, true).toString(16).padStart(16, '0')}`;
    if (text(want) === text(got) || closeExtended(want, got, at, ignore.x87Ulps)) continue;
    found.push(`st${i}: expected ${text(want)}, got ${text(got)}`);
  }
  return found;
}

/** The changes without the bytes that are not defined. */
function definedChanges(changes: readonly Patch[], testCase: TestCase, ignore: Undefined): Map<number, number> {
  const bytes = new Map<number, number>();
  for (const { offset, bytes: changed } of changes) changed.forEach((byte, i) => void bytes.set(offset + i, byte));
  const address = testCase.details?.address ?? null;
  if (address === null) return bytes;
  const start = Number(BigInt.asIntN(64, address - BigInt(DATA_BASE)));
  for (const { from, to } of ignore.memory) {
    for (let i = Math.max(0, start + from); i < Math.min(DATA_SIZE, start + to); i++) bytes.delete(i);
  }
  return bytes;
}

const MEMORY_DIFFERENCES_MAX = 4;

function compareMemory(testCase: TestCase, results: readonly [CaseResult, CaseResult], ignore: Undefined): string[] {
  const [want, got] = results.map(({ changes }) => definedChanges(changes, testCase, ignore)) as [
    Map<number, number>,
    Map<number, number>,
  ];
  const found: string[] = [];
  const text = (byte: number | undefined): string => (byte === undefined ? 'unchanged' : hex(byte));
  for (const offset of new Set([...want.keys(), ...got.keys()])) {
    if (want.get(offset) === got.get(offset)) continue;
    const line = `[${hex(DATA_BASE + offset)}]: expected ${text(want.get(offset))}, got ${text(got.get(offset))}`;
    found.push(line);
  }
  const more = found.length - MEMORY_DIFFERENCES_MAX;
  return more > 0 ? [...found.slice(0, MEMORY_DIFFERENCES_MAX), `and ${more} more bytes of memory`] : found;
}

const TRANSFERS = new Set(['JMP', 'CALL', 'RET']);

/**
 * A transfer to an address that is not canonical raises #GP, on some processors at the transfer and on others at the
 * target, with the transfer done.
 */
function isWildTransfer({ mnemonic }: TestCase, results: readonly CaseResult[]): boolean {
  return TRANSFERS.has(mnemonic) && results.every(({ exception }) => exception?.vector === VECTOR.GP);
}

const MEMORY_FAULTS: readonly number[] = [VECTOR.PF, VECTOR.GP, VECTOR.SS];

/** Which of two operands or pages in memory is touched first is not defined: both may fault, for different reasons. */
function isSameFault(testCase: TestCase, results: readonly CaseResult[]): boolean {
  return (
    /^(CMPS|F(X|N?)(SAVE|RSTOR)|F(LDENV|NSTENV))$/.test(testCase.mnemonic) &&
    results.every(({ exception }) => exception !== null && MEMORY_FAULTS.includes(exception.vector))
  );
}

/** Every difference, one line each; empty when the engines agree on all that is defined. */
export function compareResults(testCase: TestCase, expected: CaseResult, actual: CaseResult): string[] {
  if (expected.failure !== null) return [`the reference failed: ${expected.failure}`];
  if (actual.failure !== null) return [`failed: ${actual.failure}`];
  if (isWildTransfer(testCase, [expected, actual])) return [];
  const ignore = undefinedResults(testCase, expected);
  const row = testCase.details?.row;
  const found: string[] = [];
  const want = exceptionText(expected);
  const got = exceptionText(actual);
  if (want !== got && !isSameFault(testCase, [expected, actual])) found.push(`expected ${want}, got ${got}`);
  found.push(...compareRegisters(expected, actual, ignore), ...compareVectors(expected, actual, ignore));
  const touchesX87 = !row || row.x87 || row.mmx || row.mnemonic.startsWith('FX');
  if (touchesX87) found.push(...compareX87(expected, actual, ignore));
  found.push(...compareMemory(testCase, [expected, actual], ignore));
  return found;
}
