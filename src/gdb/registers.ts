/** The registers of x86-64 as GDB numbers them: "Debugging with GDB", appendix G.5.6, and its own description of amd64. */
import { type DebugState, FXSAVE } from '#hypervisor/debug.ts';
import { viewOf } from '#util/struct.ts';

export interface Register {
  readonly name: string;
  readonly bits: number;
  readonly type: string;
  readonly group?: string;
  get(state: DebugState): bigint;
  /** Absent of what cannot be changed. */
  set?(state: DebugState, value: bigint): void;
}

export interface Feature {
  readonly name: string;
  readonly registers: readonly Register[];
}

type Word = { [K in keyof DebugState]: DebugState[K] extends bigint ? K : never }[keyof DebugState];
type Selector = 'cs' | 'ss' | 'ds' | 'es' | 'fs' | 'gs';

const ST_BITS = 80;
const ST_STRIDE = 16;
const XMM_BITS = 128;

const word = (field: Word, type = 'int64', name: string = field): Register => ({
  name,
  bits: 64,
  type,
  get: (state) => state[field],
  set: (state, value) => {
    state[field] = value;
  },
});

/** As `word`, but not to be changed: what depends on it would have to change with it. */
function fixedWord(field: Word): Register {
  const { name, bits, type, get } = word(field);
  return { name, bits, type, get, group: 'system' };
}

const selector = (field: Selector): Register => ({
  name: field,
  bits: 32,
  type: 'int32',
  get: (state) => BigInt(state[field]),
});

function bytesAt(image: Uint8Array, offset: number, sizeBytes: number): bigint {
  let value = 0n;
  for (let at = sizeBytes - 1; at >= 0; at--) value = (value << 8n) | BigInt(image[offset + at] ?? 0);
  return value;
}

/** `image` becomes another, for it may be a part of something shared. */
function withBytes(image: Uint8Array, offset: number, sizeBytes: number, value: bigint): Uint8Array {
  const changed = Uint8Array.from(image);
  for (let at = 0; at < sizeBytes; at++) changed[offset + at] = Number((value >> BigInt(8 * at)) & 0xffn);
  return changed;
}

interface ImageRegister {
  readonly name: string;
  readonly bits: number;
  readonly type: string;
  readonly group?: string;
  readonly offset: number;
  /** Where the image has less than the register. */
  readonly sizeBytes?: number;
}

/** A part of the FXSAVE image. */
function inImage({ offset, sizeBytes, ...register }: ImageRegister): Register {
  const count = sizeBytes ?? register.bits / 8;
  return {
    ...register,
    get: ({ fxsave }) => bytesAt(fxsave, offset, count),
    set: (state, value) => {
      state.fxsave = withBytes(state.fxsave, offset, count, value);
    },
  };
}

const st = (n: number): Register =>
  inImage({ name: `st${n}`, bits: ST_BITS, type: 'i387_ext', group: 'float', offset: FXSAVE.ST + n * ST_STRIDE });

const floatWord = (name: string, offset: number, sizeBytes: number): Register =>
  inImage({ name, bits: 32, type: 'int', group: 'float', offset, sizeBytes });

const xmm = (n: number): Register =>
  inImage({ name: `xmm${n}`, bits: XMM_BITS, type: 'vec128', group: 'vector', offset: FXSAVE.XMM + n * ST_STRIDE });

/** Tags of two bits, SDM vol. 1 §8.1.7. */
const TAG = { VALID: 0, ZERO: 1, SPECIAL: 2, EMPTY: 3 } as const;
const EXPONENT = 0x7fffn;
const INTEGER_BIT = 1n << 63n;

function tagOf(value: bigint): number {
  const exponent = (value >> 64n) & EXPONENT;
  const significand = value & (2n * INTEGER_BIT - 1n);
  if (exponent === 0n && significand === 0n) return TAG.ZERO;
  if (exponent === EXPONENT || exponent === 0n || (significand & INTEGER_BIT) === 0n) return TAG.SPECIAL;
  return TAG.VALID;
}

/** The tag word of FSTENV; FXSAVE keeps of it which registers are empty. */
const fullTags: Register = {
  name: 'ftag',
  bits: 32,
  type: 'int',
  group: 'float',
  get: ({ fxsave }) => {
    const top = (viewOf(fxsave).getUint16(FXSAVE.STATUS, true) >> 11) & 7;
    let tags = 0;
    for (let physical = 0; physical < 8; physical++) {
      const isUsed = (((fxsave[FXSAVE.TAGS] ?? 0) >> physical) & 1) !== 0;
      const place = FXSAVE.ST + ((physical - top) & 7) * ST_STRIDE;
      tags |= (isUsed ? tagOf(bytesAt(fxsave, place, ST_BITS / 8)) : TAG.EMPTY) << (2 * physical);
    }
    return BigInt(tags);
  },
  set: (state, value) => {
    let used = 0;
    for (let physical = 0; physical < 8; physical++) {
      if (((Number(value & 0xffffn) >> (2 * physical)) & 3) !== TAG.EMPTY) used |= 1 << physical;
    }
    state.fxsave = withBytes(state.fxsave, FXSAVE.TAGS, 1, BigInt(used));
  },
};

const GENERAL = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi'] as const;
const EXTENDED = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const SELECTORS = ['cs', 'ss', 'ds', 'es', 'fs', 'gs'] as const;
const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7] as const;

export const FEATURES: readonly Feature[] = [
  {
    name: 'org.gnu.gdb.i386.core',
    registers: [
      ...GENERAL.map((field) => word(field)),
      word('rbp', 'data_ptr'),
      word('rsp', 'data_ptr'),
      ...EXTENDED.map((field) => word(field)),
      word('rip', 'code_ptr'),
      { ...word('rflags', 'i386_eflags', 'eflags'), bits: 32 },
      ...SELECTORS.map(selector),
      ...EIGHT.map(st),
      floatWord('fctrl', FXSAVE.CONTROL, 2),
      floatWord('fstat', FXSAVE.STATUS, 2),
      fullTags,
      floatWord('fiseg', FXSAVE.INSTRUCTION_POINTER + 4, 2),
      floatWord('fioff', FXSAVE.INSTRUCTION_POINTER, 4),
      floatWord('foseg', FXSAVE.DATA_POINTER + 4, 2),
      floatWord('fooff', FXSAVE.DATA_POINTER, 4),
      floatWord('fop', FXSAVE.OPCODE, 2),
    ],
  },
  {
    name: 'org.gnu.gdb.i386.sse',
    registers: [
      ...[...EIGHT, ...EIGHT.map((n) => n + 8)].map(xmm),
      inImage({ name: 'mxcsr', bits: 32, type: 'i386_mxcsr', group: 'vector', offset: FXSAVE.MXCSR }),
    ],
  },
  {
    name: 'org.gnu.gdb.i386.segments',
    registers: [word('fsBase', 'int64', 'fs_base'), word('gsBase', 'int64', 'gs_base')],
  },
  {
    name: 'crosvm-ts.system',
    registers: [
      { ...word('kernelGsBase', 'int64', 'k_gs_base'), group: 'system' },
      ...(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer'] as const).map(fixedWord),
    ],
  },
];

/** By GDB's numbers. */
export const REGISTERS: readonly Register[] = FEATURES.flatMap(({ registers }) => registers);

/** All registers, one after the other, as the packets `g` and `G` have them. */
export const ALL_BYTES: number = REGISTERS.reduce((sum, { bits }) => sum + bits / 8, 0);

export function registerBytes({ bits, get }: Register, state: DebugState): Uint8Array {
  return withBytes(new Uint8Array(bits / 8), 0, bits / 8, get(state));
}

export function allRegisters(state: DebugState): Uint8Array {
  return Buffer.concat(REGISTERS.map((register) => registerBytes(register, state)));
}

/** False, and nothing is changed, where the register cannot have this value. `bytes` are as many as it has. */
export function setRegister(register: Register, state: DebugState, bytes: Uint8Array): boolean {
  const value = bytesAt(bytes, 0, bytes.length);
  if (register.set === undefined) return value === register.get(state);
  register.set(state, value);
  return true;
}

/** ALL_BYTES of them; what cannot be changed stays as it is. */
export function setAllRegisters(state: DebugState, bytes: Uint8Array): void {
  let at = 0;
  for (const register of REGISTERS) {
    const end = at + register.bits / 8;
    setRegister(register, state, bytes.subarray(at, end));
    at = end;
  }
}
