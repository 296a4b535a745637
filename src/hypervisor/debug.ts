/** What a debugger asks of vCPUs: their registers while they stand still, and what they are to stop for when they go on. */
import { bytes, type StructValues, struct, u16, u32, u64, viewOf } from '#util/struct.ts';
import type { VcpuRegisters } from './registers.ts';

/** An FXSAVE image of 64-bit code, SDM vol. 1 §10.5.1: where in it what lies. */
export const FXSAVE = {
  CONTROL: 0,
  STATUS: 2,
  /** One bit for each physical register. */
  TAGS: 4,
  OPCODE: 6,
  INSTRUCTION_POINTER: 8,
  DATA_POINTER: 16,
  MXCSR: 24,
  MXCSR_MASK: 28,
  /** ST(0) to ST(7), 16 bytes each, of which 10 count. */
  ST: 32,
  XMM: 160,
  SIZE_BYTES: 512,
} as const;

/** The registers that a debugger sees, as they pass between threads. */
export const DebugState = struct({
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  /** The offset in CS. */
  rip: u64,
  rflags: u64,
  fsBase: u64,
  gsBase: u64,
  /** IA32_KERNEL_GS_BASE. */
  kernelGsBase: u64,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  /** 1 while it waits: for its start-up message, or after HLT. */
  isHalted: u32,
  cs: u16,
  ss: u16,
  ds: u16,
  es: u16,
  fs: u16,
  gs: u16,
  fxsave: bytes(FXSAVE.SIZE_BYTES),
});
export type DebugState = StructValues<typeof DebugState>;

/** Zeros, where a hypervisor does not give the registers. */
export const noDebugState = (): DebugState => DebugState.decode(viewOf(new Uint8Array(DebugState.size)));

/** What a debugger may change of them; the rest is written as it was read. */
export type WritableDebugState = Pick<
  DebugState,
  keyof VcpuRegisters | 'fsBase' | 'gsBase' | 'kernelGsBase' | 'fxsave'
>;

/** `software` and `hardware` are of code. */
export const BREAKPOINT_KINDS = ['software', 'hardware', 'write', 'read', 'access'] as const;
export type BreakpointKind = (typeof BREAKPOINT_KINDS)[number];

export interface Breakpoint {
  readonly kind: BreakpointKind;
  /** Linear. */
  readonly address: bigint;
  /** How many bytes are watched; of code its length means nothing. */
  readonly sizeBytes: number;
}

export const isOfCode = ({ kind }: Pick<Breakpoint, 'kind'>): boolean => kind === 'software' || kind === 'hardware';

/** For the next `run`. */
export interface DebugSettings {
  /** It ends after one instruction. */
  readonly steps: boolean;
  readonly breakpoints: readonly Breakpoint[];
}

/** Why a debugger's vCPU stopped; with a breakpoint, that one's address. */
export type DebugStop = { readonly cause: 'step' } | { readonly cause: BreakpointKind; readonly address: bigint };

/** The exit of a vCPU that has stopped so. */
export function debugExit(stop: DebugStop) {
  const detail = stop.cause === 'step' ? 'a step' : `a ${stop.cause} breakpoint at 0x${stop.address.toString(16)}`;
  return { reason: 'debug', stop, detail: `it stopped for a debugger: ${detail}` } as const;
}

/** A vCPU's side of debugging, on its thread, while `run` does not. All throw SyscallError where the hypervisor refuses. */
export interface VcpuDebug {
  read(): DebugState;
  write(state: WritableDebugState): void;
  prepare(settings: DebugSettings): void;
}

/** What a hypervisor can do for a debugger. */
export interface DebugFeatures {
  /** Breakpoints of other kinds than `software` at a time. */
  readonly hardwareMax: number;
  /** Software breakpoints are for who asks to put in place, as INT3 in guest memory while vCPUs run. */
  readonly needsInt3: boolean;
  /** Whether data of this place and size can be watched. */
  canWatch(breakpoint: Breakpoint): boolean;
}
