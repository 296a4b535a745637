/** What instructions need beyond random operands to do something worth comparing: counts, pointers, divisors, targets. */
import { CODE_BASE, CONST_BASE, DATA_BASE, DATA_SIZE } from '../case.ts';
import { type Draft, GPR } from './draft.ts';
import { bytesOf, memoryValue, patch } from './memory-operand.ts';
import { STRING_MNEMONICS } from './rows.ts';
import { chance, codePointer, dataPointer, integer, operandAddress } from './values.ts';

type Hook = (draft: Draft) => void;

const HIGH_HALF = 0xffff_ffff_0000_0000n;

/** Gives a register a value that later steps leave alone. */
function fix(draft: Draft, register: number, value: bigint): void {
  draft.state.gpr[register] = BigInt.asUintN(64, value);
  draft.fixed.add(register);
}

/** A pointer or count of the instruction's own: with 32-bit addresses its upper half is noise. */
function fixAddress(draft: Draft, register: number, value: bigint): void {
  const noise = draft.addressSizeBytes === 4 ? integer(draft.random) & HIGH_HALF : 0n;
  fix(draft, register, draft.addressSizeBytes === 4 ? (value & ~HIGH_HALF) | noise : value);
}

function stackPointer({ random }: Draft): bigint {
  const kind = random.below(100);
  if (kind < 80) return BigInt(DATA_BASE + 256 + random.below((DATA_SIZE - 512) / 8) * 8);
  if (kind < 88) return dataPointer(random);
  return operandAddress(random, 8);
}

/** Where control may go: mostly the filled code, else data and unmapped places, which the instruction itself does not notice. */
function destination({ random }: Draft): bigint {
  const kind = random.below(100);
  if (kind < 75) return codePointer(random);
  if (kind < 85) return dataPointer(random);
  if (kind < 90) return BigInt(CONST_BASE + random.below(4096));
  return kind < 95 ? BigInt(random.below(4096)) : BigInt.asUintN(64, -BigInt(1 + random.below(4096)));
}

/** The value of the operand in ModRM.rm, little-endian, truncated to its size. */
export function setOperand(draft: Draft, value: bigint): void {
  if (draft.memory) patch(draft, draft.target, bytesOf(value).subarray(0, Math.min(8, draft.operandBytes)));
  else setRegister(draft, draft.rm, draft.operandBytes, value);
}

/** A register operand of this size; byte registers 4 to 7 without REX are the second bytes of 0 to 3. */
function setRegister(draft: Draft, register: number, sizeBytes: number, value: bigint): void {
  const { gpr } = draft.state;
  if (sizeBytes === 1 && !draft.rexPresent && register >= 4) {
    const mask = 0xff00n;
    gpr[register & 3] = ((gpr[register & 3] as bigint) & ~mask) | ((value & 0xffn) << 8n);
    return;
  }
  const bits = BigInt(8 * Math.min(8, sizeBytes));
  const old = gpr[register] as bigint;
  gpr[register] = ((old >> bits) << bits) | BigInt.asUintN(Number(bits), value);
}

const shiftCount: Hook = (draft) => {
  const { random, row } = draft;
  const old = draft.state.gpr[GPR.RCX] as bigint;
  const doubled = /^SH[LR]D$/.test(row.mnemonic) && draft.operandSizeBytes === 2;
  // A double shift of 16 bits by more than 16 has no defined result.
  const count = doubled ? random.below(17) : random.pick([0, 1, random.below(32), random.below(64), random.below(256)]);
  if (row.operands.includes('CL')) fix(draft, GPR.RCX, (old & ~0xffn) | BigInt(count));
  else if (row.operands.includes('Ib')) draft.immediates = [Uint8Array.of(count)];
};

const string: Hook = (draft) => {
  const { random, row } = draft;
  const size = row.opcode & 1 ? draft.operandSizeBytes : 1;
  fixAddress(draft, GPR.RSI, operandAddress(random, size));
  fixAddress(draft, GPR.RDI, operandAddress(random, size));
  const many = random.below(100);
  const count = many < 80 ? BigInt(random.below(20)) : many < 95 ? BigInt(random.below(300)) : integer(random);
  fixAddress(draft, GPR.RCX, count);
  if (chance(random, 0.3)) return;
  // Equal strings, so that repeated comparisons get somewhere.
  const pattern = new Uint8Array(96).fill(random.below(256));
  for (const register of [GPR.RSI, GPR.RDI]) {
    const at = (draft.state.gpr[register] as bigint) & (draft.addressSizeBytes === 4 ? ~HIGH_HALF : ~0n);
    patch(draft, at - 48n, pattern);
  }
  if (row.mnemonic === 'SCAS') fix(draft, GPR.RAX, bytesOfRepeated(pattern[0] as number));
  if (chance(random, 0.5)) patch(draft, dataNear(draft), Uint8Array.of(random.below(256)));
};

const bytesOfRepeated = (byte: number): bigint => BigInt(byte) * 0x0101_0101_0101_0101n;

function dataNear(draft: Draft): bigint {
  return (draft.state.gpr[GPR.RDI] as bigint) + BigInt(draft.random.between(-40, 40));
}

const stack: Hook = (draft) => fix(draft, GPR.RSP, stackPointer(draft));

const frame: Hook = (draft) => {
  stack(draft);
  fix(draft, GPR.RBP, stackPointer(draft));
};

const counter: Hook = (draft) => fixAddress(draft, GPR.RCX, draft.random.pick([0n, 1n, 2n, integer(draft.random)]));

const bitOffset: Hook = (draft) => {
  const { random, row, reg } = draft;
  if (row.operands[1] !== 'Gv') return;
  const offset = chance(random, 0.85) ? BigInt(random.between(-2000, 2000)) : integer(random);
  fix(draft, reg, offset);
};

/** Steps before the operand in memory is chosen. */
export const BEFORE: Readonly<Record<string, Hook>> = {
  ...Object.fromEntries(['ROL', 'ROR', 'RCL', 'RCR', 'SHL', 'SHR', 'SAR', 'SHLD', 'SHRD'].map((m) => [m, shiftCount])),
  ...Object.fromEntries([...STRING_MNEMONICS].map((m) => [m, string])),
  ...Object.fromEntries(
    ['PUSH', 'POP', 'CALL', 'RET', 'PUSHF', 'POPF', 'PUSH_SREG', 'PUSHA', 'POPA'].map((m) => [m, stack]),
  ),
  ...Object.fromEntries(['LOOP', 'LOOPE', 'LOOPNE', 'JCXZ'].map((m) => [m, counter])),
  ...Object.fromEntries(['BT', 'BTS', 'BTR', 'BTC'].map((m) => [m, bitOffset])),
  LEAVE: frame,
  ENTER: frame,
  XLAT: (draft) => fixAddress(draft, GPR.RBX, operandAddress(draft.random, 1)),
  MASKMOVQ: (draft) => fixAddress(draft, GPR.RDI, operandAddress(draft.random, 8)),
  MASKMOVDQU: (draft) => fixAddress(draft, GPR.RDI, operandAddress(draft.random, 16)),
};

/** Three divisions in four have a result: the dividend's upper half is made to fit the divisor. */
const divide: Hook = (draft) => {
  const { random, state, row } = draft;
  const bits = 8 * draft.operandBytes;
  let divisor = BigInt.asUintN(bits, integer(random));
  if (divisor === 0n && chance(random, 0.8)) divisor = 3n;
  setOperand(draft, divisor);
  if (divisor === 0n || chance(random, 0.25)) return;
  const signed = row.mnemonic === 'IDIV';
  const low = BigInt.asUintN(bits, state.gpr[GPR.RAX] as bigint);
  const sign = low >> BigInt(bits - 1) ? BigInt.asUintN(bits, -1n) : 0n;
  const high = signed ? sign : random.u64() % divisor;
  if (bits === 8) setRegister(draft, GPR.RAX, 2, (high << 8n) | low);
  else if (!isRegisterOperand(draft, GPR.RDX)) setRegister(draft, GPR.RDX, draft.operandBytes, high);
};

const isRegisterOperand = (draft: Draft, register: number): boolean => draft.memory === null && draft.rm === register;

const usedByAddress = ({ memory }: Draft, register: number): boolean =>
  memory?.base === register || memory?.index === register;

/** Every other comparison finds what it expects. */
const compareExchange: Hook = (draft) => {
  if (usedByAddress(draft, GPR.RAX) || chance(draft.random, 0.5)) return;
  setOperand(draft, draft.state.gpr[GPR.RAX] as bigint);
};

const compareExchangeWide: Hook = (draft) => {
  const { random, state, wide } = draft;
  if (chance(random, 0.5)) return;
  const expected = bytesOf(state.gpr[GPR.RAX] as bigint);
  const high = bytesOf(state.gpr[GPR.RDX] as bigint);
  patch(draft, draft.target, expected.subarray(0, wide ? 8 : 4));
  patch(draft, draft.target + (wide ? 8n : 4n), high.subarray(0, wide ? 8 : 4));
};

const indirect: Hook = (draft) => {
  if (draft.row.rmOperand === null) return;
  draft.rip = destination(draft);
  setOperand(draft, draft.rip);
  // Where the operand cannot be given a value it may still be read, and lead anywhere.
  if (draft.memory) draft.rip = memoryValue(draft, draft.target, draft.operandSizeBytes) ?? draft.rip;
};

const returnAddress: Hook = (draft) => {
  draft.rip = destination(draft);
  patch(draft, draft.state.gpr[GPR.RSP] as bigint, bytesOf(draft.rip));
};

/** Flags for POPF: TF is left alone, a single-step trap is not an instruction's result. */
const flagsImage: Hook = (draft) => {
  const image = draft.random.u64() & 0x24_4ed7n;
  patch(draft, draft.state.gpr[GPR.RSP] as bigint, bytesOf(image));
};

/** Reserved bits of MXCSR raise #GP: mostly they are left clear. */
const mxcsrImage: Hook = (draft) => {
  const { random } = draft;
  const image = chance(random, 0.85) ? random.u32() & 0xffff : random.u32();
  patch(draft, draft.target, bytesOf(BigInt(image)).subarray(0, 4));
};

/** Steps after the operand in memory has its address. */
export const AFTER: Readonly<Record<string, Hook>> = {
  DIV: divide,
  IDIV: divide,
  CMPXCHG: compareExchange,
  CMPXCHG8B: compareExchangeWide,
  CMPXCHG16B: compareExchangeWide,
  JMP: indirect,
  CALL: indirect,
  RET: returnAddress,
  POPF: flagsImage,
  LDMXCSR: mxcsrImage,
};

/** Where a direct branch may go, for a one-byte distance from `next` and for a longer one. */
export function branchDistance(draft: Draft, next: number, sizeBytes: number): number {
  const { random } = draft;
  if (sizeBytes === 1) return random.between(-128, 127);
  return chance(random, 0.8) ? Number(codePointer(random)) - next : random.u32() | 0;
}

/** Code, data and their guards lie above this; below are the host program's image and heap, which no case may touch. */
const HOST_END = BigInt(CODE_BASE - 0x400_0000);

/** True when an access there could reach memory of the process that runs cases natively. */
export function isHostMemory(address: bigint): boolean {
  return address >= 0x1_0000n && address < HOST_END;
}
