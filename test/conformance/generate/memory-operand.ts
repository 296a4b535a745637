/** Memory operands: an address is chosen first, then a form of addressing, then the registers that make it come out. */
import { CODE_BASE, CONST_SIZE, DATA_BASE, DATA_SIZE, initialData, userState } from '../case.ts';
import { type Draft, GPR, type MemoryForm } from './draft.ts';
import { chance, integer, operandAddress } from './values.ts';

const MASK32 = 0xffff_ffffn;

/** Addresses are computed modulo this plus one. */
export const addressMask = ({ addressSizeBytes }: Draft): bigint => (1n << BigInt(8 * addressSizeBytes)) - 1n;

/** The registers that ModRM.rm adds up in 16-bit addressing, SDM vol. 2 table 2-1. */
const REGISTERS16: readonly (readonly number[])[] = [
  [GPR.RBX, GPR.RSI],
  [GPR.RBX, GPR.RDI],
  [GPR.RBP, GPR.RSI],
  [GPR.RBP, GPR.RDI],
  [GPR.RSI],
  [GPR.RDI],
  [GPR.RBP],
  [GPR.RBX],
];

const toUnsigned = (value: bigint): bigint => BigInt.asUintN(64, value);

/** The address as the instruction computes it, before any segment base; `target` for a RIP-relative form. */
export function effectiveAddress(draft: Draft): bigint {
  const { memory, state } = draft;
  if (!memory || memory.ripRelative) return draft.target;
  let address = BigInt(memory.displacement);
  if (draft.addressSizeBytes === 2) {
    for (const register of memory.base === null ? [] : (REGISTERS16[memory.base] as readonly number[])) {
      address += state.gpr[register] as bigint;
    }
    return address & addressMask(draft);
  }
  if (memory.base !== null) address += state.gpr[memory.base] as bigint;
  if (memory.index !== null) address += (state.gpr[memory.index] as bigint) << BigInt(memory.scale);
  return address & addressMask(draft);
}

const ABSOLUTE: MemoryForm = {
  base: null,
  index: null,
  scale: 0,
  displacement: 0,
  displacementBytes: 4,
  ripRelative: false,
};

const fitsDisplacement = (value: bigint): boolean => value === BigInt.asIntN(32, value);

/** A register the draft may change becomes this value; above a 32-bit address stands noise, which must not count. */
function setAddressRegister(draft: Draft, register: number, value: bigint): void {
  const noise = draft.addressSizeBytes === 4 ? integer(draft.random) & ~MASK32 : 0n;
  draft.state.gpr[register] = draft.addressSizeBytes === 4 ? (value & MASK32) | noise : toUnsigned(value);
}

function chooseDisplacement(draft: Draft, base: number | null): { displacement: number; displacementBytes: 0 | 1 | 4 } {
  const { random } = draft;
  if (base === null) return { displacementBytes: 4, displacement: random.u32() | 0 };
  // Base 5 without displacement means something else.
  const displacementBytes = (base & 7) === GPR.RBP ? random.pick([1, 4] as const) : random.pick([0, 1, 4] as const);
  if (displacementBytes === 0) return { displacementBytes, displacement: 0 };
  if (displacementBytes === 1) return { displacementBytes, displacement: random.between(-128, 127) };
  return { displacementBytes, displacement: chance(random, 0.5) ? random.between(-5000, 5000) : random.u32() | 0 };
}

/** Base and index are one register: the displacement has to make up the address. */
function doubledRegister(draft: Draft, register: number, scale: number): MemoryForm {
  const { state, random, target } = draft;
  if (!draft.fixed.has(register)) setAddressRegister(draft, register, BigInt(random.below(2000)));
  const sum = (state.gpr[register] as bigint) * (1n + (1n << BigInt(scale)));
  const displacement = Number(BigInt.asIntN(32, target - sum));
  return { base: register, index: register, scale, displacement, displacementBytes: 4, ripRelative: false };
}

function withIndex(draft: Draft, base: number | null, index: number, scale: number): MemoryForm {
  const { state, random, target, fixed } = draft;
  if (index === base) return doubledRegister(draft, index, scale);
  const form = { base, index, scale, ...chooseDisplacement(draft, base), ripRelative: false };
  if (!fixed.has(index))
    state.gpr[index] = chance(random, 0.7) ? toUnsigned(BigInt(random.between(-60, 60))) : integer(random);
  const scaled = (state.gpr[index] as bigint) << BigInt(scale);
  if (base !== null && !fixed.has(base)) {
    setAddressRegister(draft, base, target - scaled - BigInt(form.displacement));
    return form;
  }
  const rest = target - scaled - (base === null ? 0n : (state.gpr[base] as bigint));
  if (fitsDisplacement(BigInt.asIntN(64, rest))) {
    return { ...form, displacement: Number(BigInt.asIntN(64, rest)), displacementBytes: 4 };
  }
  if (!fixed.has(index)) {
    state.gpr[index] = 1n;
    const displacement = Number(BigInt.asIntN(32, rest + scaled - (1n << BigInt(scale))));
    return { ...form, displacement, displacementBytes: 4 };
  }
  return form;
}

function withBase(draft: Draft, base: number): MemoryForm {
  const form = {
    base,
    index: null,
    scale: draft.random.below(4),
    ...chooseDisplacement(draft, base),
    ripRelative: false,
  };
  if (!draft.fixed.has(base)) {
    setAddressRegister(draft, base, draft.target - BigInt(form.displacement));
    return form;
  }
  const rest = BigInt.asIntN(64, draft.target - (draft.state.gpr[base] as bigint));
  return fitsDisplacement(rest) ? { ...form, displacement: Number(rest), displacementBytes: 4 } : form;
}

/** A form of 16-bit addressing; `base` is ModRM.rm. What it reaches is not mapped, which shows the address. */
function chooseForm16({ random }: Draft): MemoryForm {
  const base = random.below(8);
  const displacementBytes = random.pick(base === 6 ? ([1, 2] as const) : ([0, 1, 2] as const));
  const limit = displacementBytes === 0 ? 0 : 2 ** (8 * displacementBytes - 1);
  const displacement = limit === 0 ? 0 : random.between(-limit, limit - 1);
  if (chance(random, 0.1)) return { ...ABSOLUTE, displacement: random.below(0x10000), displacementBytes: 2 };
  return { ...ABSOLUTE, base, displacement, displacementBytes };
}

function chooseForm(draft: Draft): MemoryForm {
  if (draft.addressSizeBytes === 2) return chooseForm16(draft);
  const { random, target } = draft;
  const kind = random.below(100);
  if (kind < 15 && fitsDisplacement(target - BigInt(CODE_BASE) + 4096n)) return { ...ABSOLUTE, ripRelative: true };
  if (kind < 22) {
    const low = draft.addressSizeBytes === 4 ? BigInt.asIntN(32, target) : BigInt.asIntN(64, target);
    if (fitsDisplacement(low)) return { ...ABSOLUTE, displacement: Number(low) };
  }
  const registers = [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
  const index = random.pick(draft.bits === 64 ? registers : registers.slice(0, 7));
  if (kind < 32) return withIndex(draft, null, index, random.below(4));
  const base = random.below(draft.bits === 64 ? 16 : 8);
  return kind < 65 ? withBase(draft, base) : withIndex(draft, base, index, random.below(4));
}

/** Gives the draft a memory operand of `operandBytes`, and the operand its address. */
export function chooseMemory(draft: Draft, options: { alignBytes: number }): void {
  const { random, operandBytes } = draft;
  let target = operandAddress(random, Math.max(1, operandBytes));
  target -= target % BigInt(options.alignBytes);
  draft.target = target & addressMask(draft);
  draft.memory = chooseForm(draft);
  if (!draft.memory.ripRelative) draft.target = effectiveAddress(draft);
}

/** Puts bytes into the data area at an address, as far as they lie inside it. */
export function patch(draft: Draft, address: bigint, bytes: Uint8Array): void {
  const offset = Number(BigInt.asIntN(64, address - BigInt(DATA_BASE)));
  const from = Math.max(0, -offset);
  const to = Math.min(bytes.length, DATA_SIZE - offset);
  if (from < to) draft.patches.push({ offset: offset + from, bytes: bytes.slice(from, to) });
}

const INITIAL_DATA = initialData();

/** What an operand of this size at an address in data and constants reads as, the patches applied; null elsewhere. */
export function memoryValue(draft: Draft, address: bigint, sizeBytes: number): bigint | null {
  const offset = Number(BigInt.asIntN(64, address - BigInt(DATA_BASE)));
  if (offset < 0 || offset + sizeBytes > DATA_SIZE + CONST_SIZE) return null;
  const bytes = INITIAL_DATA.slice(offset, offset + sizeBytes);
  for (const patched of draft.patches) {
    patched.bytes.forEach((byte, i) => {
      const at = patched.offset + i - offset;
      if (at >= 0 && at < sizeBytes) bytes[at] = byte;
    });
  }
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** `value` as 8 little-endian bytes. */
export function bytesOf(value: bigint): Uint8Array {
  const scratch = userState();
  scratch.gpr[0] = toUnsigned(value);
  return scratch.bytes.slice(0, 8);
}
