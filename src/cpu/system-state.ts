/** Registers that only privileged code sees, as plain data. 64-bit values are kept as two 32-bit halves, low first. */
import { SEGMENT } from './layout.ts';

/** CR0, SDM vol. 3 §2.5. */
export const CR0 = { PE: 1, MP: 2, EM: 4, TS: 8, ET: 16, NE: 32, WP: 1 << 16, AM: 1 << 18, PG: 1 << 31 } as const;
/** CR4, SDM vol. 3 §2.5. */
export const CR4 = {
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  PGE: 1 << 7,
  PCE: 1 << 8,
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
  BR: 5,
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

/** Attributes of a segment as `Segment.attributes` has them (SDM vol. 3 §3.4.5). */
export const ATTRIBUTE = {
  ACCESSED: 1,
  /** Data: writable. Code: readable. */
  READ_WRITE: 2,
  /** Code only: conforming. Data: expands down. */
  CONFORMING: 4,
  CODE: 8,
  /** Code or data, not a system segment. */
  CODE_OR_DATA: 0x10,
  DPL_SHIFT: 5,
  PRESENT: 0x80,
  LONG: 0x2000,
  BIG: 0x4000,
  GRANULAR: 0x8000,
} as const;

/** A segment register's hidden part; the base stands in the state block. */
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
  /** Of the task register: whether the task state segment is that of a 32-bit or 64-bit task, not of a 16-bit one. */
  isWide: boolean;
}

/** Model-specific registers of the core, SDM vol. 4 table 2-2. */
export const MSR = {
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  EFER: 0xc0000080,
  STAR: 0xc0000081,
  LSTAR: 0xc0000082,
  /** Where SYSCALL goes from compatibility mode on processors that have it there: only stored. */
  CSTAR: 0xc0000083,
  FMASK: 0xc0000084,
  FS_BASE: 0xc0000100,
  GS_BASE: 0xc0000101,
  KERNEL_GS_BASE: 0xc0000102,
  /** What RDTSCP gives in ECX. */
  TSC_AUX: 0xc0000103,
} as const;

/** DR6 and DR7, SDM vol. 3 §17.2.3 and §17.2.4: an access to debug registers was met; general detect, which has such accesses met. */
export const DR6 = { BD: 1 << 13 } as const;
export const DR7 = { GD: 1 << 13 } as const;
/** Bits that read as 1. */
export const DR6_FIXED = 0xffff0ff0;
export const DR7_FIXED = 0x400;

const table = (): Table => ({ selector: 0, baseLow: 0, baseHigh: 0, limit: 0xffff, isWide: true });

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
  readonly segments: readonly Segment[] = Array.from({ length: 6 }, (_, number) => ({
    selector: 0,
    attributes: number === SEGMENT.CS ? 0xa09b : 0xc093,
    limit: 0xffffffff,
  }));
  readonly gdt = table();
  readonly idt = table();
  readonly ldt = table();
  readonly tr = table();
  /** SYSCALL and SWAPGS registers. */
  starHigh = 0;
  starLow = 0;
  lstarLow = 0;
  lstarHigh = 0;
  cstarLow = 0;
  cstarHigh = 0;
  syscallMask = 0;
  tscAux = 0;
  /** SYSENTER registers. */
  sysenterSelector = 0;
  sysenterSpLow = 0;
  sysenterSpHigh = 0;
  sysenterIpLow = 0;
  sysenterIpHigh = 0;
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
