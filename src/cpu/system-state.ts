/** Registers that only privileged code sees, as plain data. 64-bit values are kept as two 32-bit halves, low first. */

/** CR0, SDM vol. 3 §2.5. */
export const CR0 = { PE: 1, MP: 2, EM: 4, TS: 8, ET: 16, NE: 32, WP: 1 << 16, AM: 1 << 18, PG: 1 << 31 } as const;
/** CR4, SDM vol. 3 §2.5. */
export const CR4 = {
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  PGE: 1 << 7,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  FSGSBASE: 1 << 16,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
} as const;
/** IA32_EFER, SDM vol. 3 §2.2.1. */
export const EFER = { SCE: 1, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

/** Exception vectors, SDM vol. 3 table 6-1. */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  XM: 19,
} as const;

/** Page-fault error code, SDM vol. 3 §4.7. */
export const PF = { PRESENT: 1, WRITE: 2, USER: 4, RESERVED: 8, FETCH: 16 } as const;

/** A segment register's hidden part; bases of FS and GS stand in the state block as well. */
export interface Segment {
  selector: number;
  /** Access byte and flags as in a descriptor's upper half, bits 8 to 23. */
  attributes: number;
  limit: number;
}

/** A system segment or a descriptor table: base as halves. */
export interface Table {
  selector: number;
  baseLow: number;
  baseHigh: number;
  limit: number;
}

/** What RDTSCP gives in ECX. */
export const IA32_TSC_AUX = 0xc0000103;

/** Bits that read as 1. */
export const DR6_FIXED = 0xffff0ff0;
export const DR7_FIXED = 0x400;

const table = (): Table => ({ selector: 0, baseLow: 0, baseHigh: 0, limit: 0xffff });

export class SystemState {
  cr0: number = CR0.PE | CR0.PG | CR0.ET;
  cr2Low = 0;
  cr2High = 0;
  /** Physical address of the top-level table, with its low flag bits. */
  cr3 = 0;
  cr4: number = CR4.PAE;
  efer: number = EFER.LME | EFER.LMA;
  cpl = 0;
  xcr0 = 1;
  readonly segments: readonly Segment[] = Array.from({ length: 6 }, () => ({
    selector: 0,
    attributes: 0xc093,
    limit: 0xffffffff,
  }));
  readonly gdt = table();
  readonly idt = table();
  readonly ldt = table();
  readonly tr = table();
  /** MSRs that are only stored, by number; values as [low, high]. */
  readonly msrs = new Map<number, readonly [number, number]>([[IA32_TSC_AUX, [0, 0]]]);
  /** SYSCALL and SWAPGS registers. */
  starHigh = 0;
  starLow = 0;
  lstarLow = 0;
  lstarHigh = 0;
  syscallMask = 0;
  kernelGsLow = 0;
  kernelGsHigh = 0;
  /** Interrupts stay off for one more instruction, after STI and MOV SS. */
  shadow = false;
  nmiBlocked = false;
  /** Debug registers: breakpoint addresses as halves, status, control (SDM vol. 3 §17.2). Breakpoints do not work. */
  readonly breakpoints = new Int32Array(8);
  dr6 = DR6_FIXED | 0;
  dr7 = DR7_FIXED;
  /** The exception that the engine has just raised. */
  vector = -1;
  /** −1 when the exception has none. */
  errorCode = -1;
}
