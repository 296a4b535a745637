/**
 * What one conformance case is: a single instruction, the user-mode state and memory it starts from, and what came out.
 * Every engine that runs cases provides the same small world, described here.
 *
 * The world: 64-bit mode with CS 0x33 or compatibility mode with CS 0x23, CPL 3, SS = DS = ES = 0x2B, FS = GS = 0 with base 0,
 * RFLAGS.IF = 1 and IOPL 0, CR0.NE = 1, CR4.OSFXSR = OSXMMEXCPT = 1, no alignment checks. Mapped are:
 *   CODE (readable, executable): FILLER in every byte but the instruction's own;
 *   DATA (readable, writable, not executable): `initialData()` with the case's patches applied;
 *   CONST (readable only), right behind DATA: the last page of `initialData()`.
 * Nothing else is mapped in the lower half of the address space as far as a case can reach; what is in the upper half is
 * out of user mode's reach.
 */

import type { EncodingRow } from './generate/rows.ts';

export const PAGE_SIZE = 4096;
export const CODE_BASE = 0x7000_0000;
export const CODE_SIZE = 2 * PAGE_SIZE;
export const DATA_BASE = 0x7010_0000;
export const DATA_SIZE = 4 * PAGE_SIZE;
export const CONST_BASE = DATA_BASE + DATA_SIZE;
export const CONST_SIZE = PAGE_SIZE;
/** INT3: executing it means that the instruction has completed and gone there. */
export const FILLER = 0xcc;

/** The layout of a state in bytes: GPRs in encoding order, RIP, RFLAGS, then an FXSAVE64 image (SDM vol. 1 §10.5.1). */
export const STATE = { GPR: 0, RIP: 128, RFLAGS: 136, FX: 192, SIZE: 704 } as const;

/** Offsets in the FXSAVE64 image. */
export const FX = {
  FCW: 0,
  FSW: 2,
  FTW: 4,
  FOP: 6,
  FIP: 8,
  FDP: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  ST: 32,
  XMM: 160,
} as const;

/** RFLAGS bits that user mode sees. */
export const FLAG = {
  CF: 0x001,
  PF: 0x004,
  AF: 0x010,
  ZF: 0x040,
  SF: 0x080,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
} as const;

/** The six arithmetic flags. */
export const ARITHMETIC_FLAGS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF;

/** Vectors, SDM vol. 3 §6.3.1. */
export const VECTOR = {
  DE: 0,
  DB: 1,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  XM: 19,
} as const;

/** A user-mode state; all views share `bytes`. */
export interface UserState {
  /** STATE.SIZE bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15. */
  readonly gpr: BigUint64Array<ArrayBuffer>;
  /** RIP and RFLAGS. */
  readonly control: BigUint64Array<ArrayBuffer>;
  /** The FXSAVE64 image. */
  readonly fx: DataView<ArrayBuffer>;
}

/** Views of `bytes`, which must be STATE.SIZE long and 8-byte aligned in its buffer; by default a new state, all zero. */
export function userState(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(STATE.SIZE)): UserState {
  const { buffer, byteOffset } = bytes;
  return {
    bytes,
    gpr: new BigUint64Array(buffer, byteOffset + STATE.GPR, 16),
    control: new BigUint64Array(buffer, byteOffset + STATE.RIP, 2),
    fx: new DataView(buffer, byteOffset + STATE.FX, STATE.SIZE - STATE.FX),
  };
}

/** A state after FNINIT and with the reset value of MXCSR; RSP in the middle of the data, RIP at the start of the code. */
export function initialState(): UserState {
  const state = userState();
  state.gpr[4] = BigInt(DATA_BASE + DATA_SIZE / 2);
  state.control[0] = BigInt(CODE_BASE);
  state.control[1] = 0x202n;
  state.fx.setUint16(FX.FCW, 0x037f, true);
  state.fx.setUint32(FX.MXCSR, 0x1f80, true);
  return state;
}

/** Bytes at an offset in the data area. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Code of 64-bit mode, or of 32 bits in compatibility mode. */
export type CodeBits = 64 | 32;

/** Linux's selectors of code segments in user mode, asm/segment.h. */
export const CODE_SELECTOR: Readonly<Record<CodeBits, number>> = { 64: 0x33, 32: 0x23 };

export interface TestCase {
  /** Names the case in reports: seed and number. */
  readonly name: string;
  readonly mnemonic: string;
  readonly bits: CodeBits;
  /** The instruction, 1 to 16 bytes (longer than 15 raises #GP). It lies at `state`'s RIP, inside CODE. */
  readonly code: Uint8Array;
  readonly state: UserState;
  /** What the data area holds besides `initialData()`. */
  readonly patches: readonly Patch[];
  /** How the generator made it; null for a case made by hand. */
  readonly details: CaseDetails | null;
}

/** What decides which results of a generated case are defined. */
export interface CaseDetails {
  readonly row: EncodingRow;
  readonly operandSizeBytes: number;
  readonly addressSizeBytes: 2 | 4 | 8;
  /** Size of the operand in ModRM.rm. */
  readonly operandBytes: number;
  /** ModRM.reg with REX.R. */
  readonly reg: number;
  /** Address of the operand in memory. */
  readonly address: bigint | null;
}

export interface Exception {
  readonly vector: number;
  /** 0 for vectors without one. */
  readonly errorCode: number;
  /** CR2 of a page fault, else 0. */
  readonly address: bigint;
}

export interface CaseResult {
  /**
   * After the instruction: RIP is where execution goes on. After an exception: as an exception handler finds it (RIP of
   * the faulting instruction, or behind it for a trap). RFLAGS.RF is not defined here.
   */
  readonly state: UserState;
  /** What of the data area differs from what the case began with, in ascending order; touching bytes are one patch. */
  readonly changes: readonly Patch[];
  readonly exception: Exception | null;
  /** Set when the engine itself failed on this case; the other members then say nothing. */
  readonly failure: string | null;
}

/** Something that runs instructions. */
export interface Engine {
  readonly name: string;
  /** The results, in the cases' order. */
  run(cases: readonly TestCase[]): readonly CaseResult[] | Promise<readonly CaseResult[]>;
}

/** The result of a case on which the engine failed. */
export function failed(reason: string): CaseResult {
  return { state: userState(), changes: [], exception: null, failure: reason };
}

/** What the data and constant areas hold before a case's patches: pseudo-random bytes mixed with pointers and small numbers. */
export function initialData(): Uint8Array<ArrayBuffer> {
  const words = new BigUint64Array((DATA_SIZE + CONST_SIZE) / 8);
  let x = 0x9e37_79b9_7f4a_7c15n;
  for (let i = 0; i < words.length; i++) {
    x ^= BigInt.asUintN(64, x << 13n); // xorshift64 (Marsaglia 2003)
    x ^= x >> 7n;
    x ^= BigInt.asUintN(64, x << 17n);
    const kind = i % 8;
    if (kind === 2) words[i] = BigInt(DATA_BASE) + (x % BigInt(DATA_SIZE));
    else if (kind === 4) words[i] = BigInt(CODE_BASE + 64) + (x % 512n);
    else if (kind === 6) words[i] = BigInt.asUintN(64, (x % 512n) - 256n);
    else words[i] = x;
  }
  return new Uint8Array(words.buffer);
}

/** The data area (DATA_SIZE bytes of `into`) as the case begins with it; `base` is `initialData()`. */
export function writeInitialMemory(into: Uint8Array, base: Uint8Array, patches: readonly Patch[]): void {
  into.set(base.subarray(0, DATA_SIZE));
  for (const { offset, bytes } of patches) into.set(bytes, offset);
}

/** The runs of bytes of `after` that differ from `before`. */
export function differences(before: Uint8Array, after: Uint8Array): Patch[] {
  const found: Patch[] = [];
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) continue;
    const start = i;
    while (i < after.length && before[i] !== after[i]) i++;
    found.push({ offset: start, bytes: after.slice(start, i) });
  }
  return found;
}
