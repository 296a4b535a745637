/** Random cases, one instruction each, from the table of encodings. */
import { Random } from '../../../fuzz/random.ts';
import { ARITHMETIC_FLAGS, type CodeBits, FLAG, STATE, type TestCase } from '../case.ts';
import { type Draft, newDraft } from './draft.ts';
import { encode } from './encode.ts';
import { addressMask, chooseMemory, effectiveAddress, patch } from './memory-operand.ts';
import { type EncodingRow, immediateBytes, operandBytes, rowGroups, STRING_MNEMONICS } from './rows.ts';
import { AFTER, BEFORE, isHostMemory } from './semantics.ts';
import { chance, type Flavor, fillVectors, fillX87, integer, operandAddress, vector } from './values.ts';
import { x87OperandBytes, x87RegisterName } from './x87-names.ts';

/** Direct and indirect transfers ignore 66 on some processors and not on others. */
const TRANSFERS = new Set(['JMP', 'CALL', 'RET', 'Jcc', 'LOOP', 'LOOPE', 'LOOPNE', 'JCXZ']);
/** Their result with a 16-bit operand is not defined. */
const NOT_16_BIT = new Set(['BSWAP']);
/** F2 and F3 mean something on these even where the table does not say so. */
const REPEAT_MEANS_SOMETHING = new Set(['NOP', 'XCHG', 'RET', 'JMP', 'CALL', 'Jcc', 'MOV']);

/** On some processors LOCK in front of a move from or to CR0 reaches CR8. */
const LOCK_MEANS_SOMETHING = /^MOV_(TO|FROM)_CR$/;

/** Bytes of memory operands whose letters do not tell, for alignment and page crossings. */
const DEFAULT_OPERAND_BYTES = 16;
const WHOLE_STATE_BYTES = 512;

function chooseSizes(draft: Draft): void {
  const { random, row } = draft;
  const kind = random.below(100);
  if (draft.bits === 32) {
    const may66 = row.sized && !NOT_16_BIT.has(row.mnemonic) && row.prefix !== 'none';
    draft.operandPrefix = may66 ? kind >= 65 : row.map === 0 && !row.x87 && kind >= 97;
  } else if (row.sized) {
    draft.wide = kind < 40;
    const may66 = !TRANSFERS.has(row.mnemonic) && !NOT_16_BIT.has(row.mnemonic) && row.prefix !== 'none';
    draft.operandPrefix = may66 && (kind < 2 || kind >= 70);
  } else {
    draft.wide = kind < 10;
    draft.operandPrefix = row.map === 0 && !row.x87 && !TRANSFERS.has(row.mnemonic) && kind >= 97;
  }
  const natural = row.attributes.default64 && draft.bits === 64 ? 8 : 4;
  draft.operandSizeBytes = draft.wide ? 8 : draft.operandPrefix ? 2 : natural;
  draft.rexPresent = draft.wide || (draft.bits === 64 && chance(random, 0.2));
}

function chooseRegisters(draft: Draft): boolean {
  const { random, row } = draft;
  const registers = draft.bits === 64 ? 16 : 8;
  const registerOnly = row.rm === 'r' || row.operands.some((operand) => /^[RUN]/.test(operand));
  const inMemory = row.modrm && !registerOnly && (row.rm === 'm' || chance(random, 0.5));
  draft.reg = row.digit >= 0 ? row.digit : random.below(registers);
  if (!row.modrm) draft.reg = 0;
  if (row.modrm) draft.rm = random.below(registers);
  if (row.x87 && row.modrm && !inMemory) draft.rm = x87Register(draft);
  else if (row.operands.some((operand) => operand.startsWith('Z'))) {
    draft.rm = (row.opcode & 7) | (draft.bits === 64 && chance(random, 0.4) ? 8 : 0);
  }
  if (row.digit < 0 && row.operands.some((operand) => /^[CDS]/.test(operand) && operand !== 'CL')) draft.reg &= 7;
  if (draft.reg & 8 || draft.rm & 8) draft.rexPresent = true;
  return inMemory;
}

/** ModRM.rm of an x87 register form: where it is part of the opcode, one that gives the row's instruction. */
function x87Register({ row, random }: Draft): number {
  const all = Array.from({ length: 8 }, (_, rm) => rm);
  return random.pick(all.filter((rm) => x87RegisterName(row.opcode, row.digit, rm) === row.mnemonic));
}

function choosePrefixes(draft: Draft, inMemory: boolean): void {
  const { random, row } = draft;
  const usesAddress = inMemory || STRING_MNEMONICS.has(row.mnemonic) || /^(LOOP|JCXZ|XLAT)/.test(row.mnemonic);
  if (usesAddress || row.operands.some((operand) => operand.startsWith('O'))) {
    const shorter = chance(random, 0.1);
    draft.addressSizeBytes = draft.bits === 64 ? (shorter ? 4 : 8) : shorter ? 2 : 4;
  }
  const mayLock = !LOCK_MEANS_SOMETHING.test(row.mnemonic);
  draft.lock = row.attributes.lock === true && inMemory ? chance(random, 0.3) : mayLock && chance(random, 0.005);
  if (STRING_MNEMONICS.has(row.mnemonic)) draft.repeat = random.pick([0, 0xf3, 0xf3, 0xf2] as const);
  else if (row.map === 0 && !row.x87 && !draft.lock && !REPEAT_MEANS_SOMETHING.has(row.mnemonic)) {
    draft.repeat = chance(random, 0.02) ? random.pick([0xf2, 0xf3] as const) : 0;
  }
}

function rmBytes(draft: Draft): number {
  const { row, operandSizeBytes, wide } = draft;
  if (row.x87) return x87OperandBytes(row.opcode, draft.reg);
  if (/^FX(SAVE|RSTOR)/.test(row.mnemonic)) return WHOLE_STATE_BYTES;
  if (/^CMPXCHG(8|16)B$/.test(row.mnemonic)) return wide ? 16 : 8;
  const operand = row.rmOperand ?? row.operands.find((name) => name.startsWith('M'));
  const bytes = operand === undefined ? 0 : operandBytes(operand, operandSizeBytes);
  return bytes || DEFAULT_OPERAND_BYTES;
}

/** Misaligned locked accesses across a cache line stop the whole host; some hosts punish them. */
function alignment(draft: Draft): number {
  const { row, random, operandBytes: size } = draft;
  if (draft.lock || row.mnemonic === 'XCHG') return Math.min(16, size);
  if (row.sse && size >= 16) return chance(random, 0.75) ? 16 : 1;
  if (/^(FX|CMPXCHG16B)/.test(row.mnemonic)) return chance(random, 0.8) ? 16 : 1;
  return 1;
}

function flavorOf({ row, random }: Draft): Flavor {
  if (row.x87) return random.pick(['float80', 'float80', 'float64', 'float32', 'integer'] as const);
  const letters = row.operands.map((operand) => operand.slice(1)).join(' ');
  if (/\b(ps|ss|pi)\b/.test(letters)) return chance(random, 0.85) ? 'float32' : 'integer';
  if (/\b(pd|sd)\b/.test(letters)) return chance(random, 0.85) ? 'float64' : 'integer';
  return random.pick(['integer', 'integer', 'float32', 'float64'] as const);
}

function fillState(draft: Draft, flavor: Flavor): void {
  const { random, state, row } = draft;
  for (let i = 0; i < 16; i++) if (i !== 4) state.gpr[i] = integer(random);
  const flags = random.u32() & (ARITHMETIC_FLAGS | (chance(random, 0.3) ? FLAG.DF : 0));
  state.control[1] = BigInt(0x202 | flags);
  fillVectors(random, state.fx, flavor);
  if (row.x87 || row.mmx || /^F(XSAVE|XRSTOR)/.test(row.mnemonic))
    fillX87(random, state.fx, row.mmx ? 'integer' : 'float80');
}

function chooseImmediates(draft: Draft): void {
  const { random, row } = draft;
  if (draft.immediates.length > 0) return;
  const sizes = immediateBytes(row, draft.operandSizeBytes, draft.addressSizeBytes);
  draft.immediates = sizes.map((size) => {
    const bytes = new Uint8Array(8);
    const isAddress = row.operands.some((operand) => operand.startsWith('O'));
    draft.target = isAddress ? operandAddress(random, draft.operandSizeBytes) : draft.target;
    if (isAddress && size < 8) draft.target &= addressMask(draft);
    new DataView(bytes.buffer).setBigUint64(0, isAddress ? draft.target : integer(random), true);
    return bytes.slice(0, size);
  });
}

/** Every address that the instruction may touch, as far as it is not one of this generator's own pointers. */
function touchesHost(draft: Draft, branchTarget: number | null): boolean {
  const { row, state } = draft;
  const mask = addressMask(draft);
  const wrap = draft.bits === 32 ? 0xffff_ffffn : 2n ** 64n - 1n;
  const pointers = [3, 4, 5, 6, 7].flatMap((i) => [pointer(draft, i) & mask, pointer(draft, i) & wrap]);
  const addresses: bigint[] = [draft.target, draft.rip & wrap, ...pointers];
  if (branchTarget !== null) addresses.push(BigInt(branchTarget));
  if (draft.memory) {
    const address = effectiveAddress(draft);
    addresses.push(address);
    if (/^BT[SRC]?$/.test(row.mnemonic) && row.operands[1] === 'Gv') {
      const bits = 8 * draft.operandSizeBytes;
      const offset = BigInt.asIntN(bits, state.gpr[draft.reg] as bigint);
      const byte = (offset >> BigInt(Math.log2(bits))) * BigInt(draft.operandSizeBytes);
      addresses.push((address + byte) & mask);
    }
  }
  return addresses.some(isHostMemory);
}

/** A register that the instruction uses as a pointer without ModRM saying so; 0 for others. */
function pointer(draft: Draft, register: number): bigint {
  return draft.fixed.has(register) && !/^(BT|SH|RO|RC)/.test(draft.row.mnemonic)
    ? (draft.state.gpr[register] as bigint)
    : 0n;
}

/** Gives the operand in memory a value. States and environments begin with control words that load. */
function patchOperand(draft: Draft, flavor: Flavor): void {
  const { random, target, row, state } = draft;
  const isState = draft.operandBytes > 16;
  if (!isState) {
    patch(draft, target, vector(random, flavor));
    return;
  }
  const image = new Uint8Array(state.bytes.subarray(STATE.FX));
  if (/^FX/.test(row.mnemonic)) patch(draft, target, image.subarray(0, 416));
  else {
    const words = Array.from({ length: 12 }, () => random.below(256));
    patch(draft, target, Uint8Array.from(words));
  }
}

/** One attempt; null when it came out as something that must not run or has no meaning. */
function attempt(random: Random, row: EncodingRow, bits: CodeBits, name: string): TestCase | null {
  const draft = newDraft(random, row, bits);
  chooseSizes(draft);
  const inMemory = chooseRegisters(draft);
  choosePrefixes(draft, inMemory);
  const flavor = flavorOf(draft);
  fillState(draft, flavor);
  draft.operandBytes = rmBytes(draft);
  BEFORE[row.mnemonic]?.(draft);
  if (inMemory) {
    chooseMemory(draft, { alignBytes: alignment(draft) });
    patchOperand(draft, flavor);
  }
  chooseImmediates(draft);
  AFTER[row.mnemonic]?.(draft);
  const encoded = encode(draft);
  if (!encoded || touchesHost(draft, encoded.branchTarget)) return null;
  draft.state.control[0] = BigInt(encoded.address);
  return {
    name,
    mnemonic: row.mnemonic,
    bits,
    code: encoded.code,
    state: draft.state,
    patches: draft.patches,
    details: {
      row,
      operandSizeBytes: draft.operandSizeBytes,
      addressSizeBytes: draft.addressSizeBytes,
      operandBytes: draft.operandBytes,
      reg: draft.reg,
      address: draft.memory ? effectiveAddress(draft) : null,
    },
  };
}

const ATTEMPTS_MAX = 1000;

export interface Generator {
  /** The case of this number; the same for the same seed, number and table. */
  generate(number: number): TestCase;
}

/** One case in this many is of legacy code. */
const LEGACY_SHARE = 0.3;

/** `selects` says which instructions the cases are made of, by default all. */
export function createGenerator(seed: number, selects: (mnemonic: string) => boolean = () => true): Generator {
  const chosen = (bits: CodeBits): readonly (readonly EncodingRow[])[] =>
    rowGroups(bits).filter(([row]) => row !== undefined && selects(row.mnemonic));
  const groups = { 64: chosen(64), 32: chosen(32) };
  const bitsOf = (random: Random): CodeBits => {
    const legacy = chance(random, LEGACY_SHARE);
    if (groups[64].length === 0) return 32;
    return legacy && groups[32].length > 0 ? 32 : 64;
  };
  return {
    generate(number) {
      const random = new Random(seed, number);
      for (let i = 0; i < ATTEMPTS_MAX; i++) {
        const bits = bitsOf(random);
        const row = random.pick(random.pick(groups[bits]));
        const testCase = attempt(random, row, bits, `seed ${seed} case ${number}`);
        if (testCase) return testCase;
      }
      throw new RangeError(`no case ${number} of seed ${seed} in ${ATTEMPTS_MAX} attempts`);
    },
  };
}
