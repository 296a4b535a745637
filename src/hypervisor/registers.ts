/**
 * The architectural register state of an x86-64 virtual processor, as a hypervisor takes and gives it. Every register that
 * is 64 bits wide is a bigint: this state moves at boot, reset, snapshot and debug, never while instructions run.
 */

/** General registers, instruction pointer and flags. */
export interface VcpuRegisters {
  rax: bigint;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
  rsi: bigint;
  rdi: bigint;
  rsp: bigint;
  rbp: bigint;
  r8: bigint;
  r9: bigint;
  r10: bigint;
  r11: bigint;
  r12: bigint;
  r13: bigint;
  r14: bigint;
  r15: bigint;
  rip: bigint;
  rflags: bigint;
}

/** A segment register with its hidden part, Intel SDM vol. 3 §3.4.3 and §3.4.5. */
export interface SegmentRegister {
  selector: number;
  base: bigint;
  /** Limit in bytes after scaling by the granularity bit: the greatest valid offset. */
  limit: number;
  /** The type field, bits 43..40 of the descriptor. */
  type: number;
  /** True for a code or data segment, false for a system segment (the S bit). */
  codeOrData: boolean;
  dpl: number;
  present: boolean;
  available: boolean;
  /** The L bit: 64-bit code. */
  longMode: boolean;
  /** The D/B bit: 32-bit default operand and address size. */
  defaultBig: boolean;
  /** The G bit as the descriptor has it; `limit` is scaled already. */
  granular: boolean;
  /** True for a null segment: any use through it faults, except in 64-bit mode. */
  unusable: boolean;
}

/** GDTR or IDTR. */
export interface DescriptorTableRegister {
  base: bigint;
  /** Size of the table in bytes, less 1. */
  limit: number;
}

/** Segments, descriptor tables, control registers, EFER and the local APIC's base. */
export interface SpecialRegisters {
  cs: SegmentRegister;
  ds: SegmentRegister;
  es: SegmentRegister;
  fs: SegmentRegister;
  gs: SegmentRegister;
  ss: SegmentRegister;
  tr: SegmentRegister;
  ldt: SegmentRegister;
  gdt: DescriptorTableRegister;
  idt: DescriptorTableRegister;
  cr0: bigint;
  cr2: bigint;
  cr3: bigint;
  cr4: bigint;
  cr8: bigint;
  efer: bigint;
  apicBase: bigint;
}

/** The control words of the x87 unit and of SSE; everything else of both is in its reset state. */
export interface FpuControl {
  fcw: number;
  mxcsr: number;
}

/** A model-specific register and its value. */
export interface MsrEntry {
  index: number;
  value: bigint;
}
