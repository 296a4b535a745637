import type { FpuControl, MsrEntry, SpecialRegisters, VcpuRegisters } from '#hypervisor/registers.ts';
import { BOOT_IDT_LIMIT, bootCodeSegment, bootDataSegment, bootGdt, bootTaskSegment, unusableSegment } from './gdt.ts';
import {
  BOOT_STACK_POINTER,
  GDT_ADDRESS,
  HIGH_RAM_START,
  IDT_ADDRESS,
  LOCAL_APIC_ADDRESS,
  LOW_RAM_END_MAX,
  PML4_ADDRESS,
  ZERO_PAGE_ADDRESS,
} from './layout.ts';

/** Intel SDM vol. 3 §2.5, §2.2.1 and §11.4.4. */
const RFLAGS_RESERVED = 0x2n;
const CR0 = { PE: 1n << 0n, ET: 1n << 4n, NE: 1n << 5n, PG: 1n << 31n } as const;
const CR4_PAE = 1n << 5n;
const EFER = { LME: 1n << 8n, LMA: 1n << 10n } as const;
const APIC_BASE = { BSP: 1n << 8n, ENABLE: 1n << 11n } as const;

/** Model-specific registers: Intel SDM vol. 4 §2.1 and, for the MTRRs, vol. 3 §12.11. */
const MSR = {
  MISC_ENABLE: 0x1a0,
  MTRR_PHYSBASE0: 0x200,
  MTRR_DEF_TYPE: 0x2ff,
} as const;
const MISC_ENABLE_FAST_STRINGS = 1n;
const MTRR = { UNCACHEABLE: 0n, WRITE_BACK: 6n, MASK_VALID: 1n << 11n, DEF_TYPE_ENABLE: 1n << 11n } as const;

/**
 * The boot processor's local APIC registers as firmware leaves them, by their offset in its page; Intel SDM vol. 3 §11.5.1 and
 * §11.9. Enabled, with LINT0 passing the PICs' interrupts on, for kernels that use no I/O APIC: a Linux without MP table
 * support, booted with `acpi=off`, gets no timer interrupt else.
 */
export const LOCAL_APIC_BOOT_REGISTERS: readonly { readonly offset: number; readonly value: number }[] = [
  /** Spurious-interrupt vector 0xff, enabled by software. */
  { offset: 0xf0, value: 0x1ff },
  /** LINT0: ExtINT. */
  { offset: 0x350, value: 0x700 },
  /** LINT1: NMI. */
  { offset: 0x360, value: 0x400 },
];

/** The state in which the boot processor enters the kernel. Other processors stay in reset until their start-up IPI. */
export interface BootRegisters {
  readonly general: VcpuRegisters;
  readonly special: SpecialRegisters;
  readonly fpu: FpuControl;
}

/** 64-bit boot protocol: long mode, paging on, interrupts off, %rsi at the zero page. */
export function bootRegisters(entryAddress: number): BootRegisters {
  const stack = BigInt(BOOT_STACK_POINTER);
  return {
    general: {
      rax: 0n,
      rbx: 0n,
      rcx: 0n,
      rdx: 0n,
      rsi: BigInt(ZERO_PAGE_ADDRESS),
      rdi: 0n,
      rsp: stack,
      rbp: stack,
      r8: 0n,
      r9: 0n,
      r10: 0n,
      r11: 0n,
      r12: 0n,
      r13: 0n,
      r14: 0n,
      r15: 0n,
      rip: BigInt(entryAddress),
      rflags: RFLAGS_RESERVED,
    },
    special: bootSpecialRegisters(),
    fpu: { fcw: 0x37f, mxcsr: 0x1f80 },
  };
}

function bootSpecialRegisters(): SpecialRegisters {
  return {
    cs: bootCodeSegment(),
    ds: bootDataSegment(),
    es: bootDataSegment(),
    fs: bootDataSegment(),
    gs: bootDataSegment(),
    ss: bootDataSegment(),
    tr: bootTaskSegment(),
    ldt: unusableSegment(),
    gdt: { base: BigInt(GDT_ADDRESS), limit: bootGdt().length - 1 },
    idt: { base: BigInt(IDT_ADDRESS), limit: BOOT_IDT_LIMIT },
    cr0: CR0.PE | CR0.ET | CR0.NE | CR0.PG,
    cr2: 0n,
    cr3: BigInt(PML4_ADDRESS),
    cr4: CR4_PAE,
    cr8: 0n,
    efer: EFER.LME | EFER.LMA,
    apicBase: BigInt(LOCAL_APIC_ADDRESS) | APIC_BASE.BSP | APIC_BASE.ENABLE,
  };
}

/**
 * MSRs that firmware would have set on every processor, for one that has them: fast strings, and memory types that are
 * write-back except for the MMIO hole below 4 GiB. `physicalAddressBits` is what CPUID 0x80000008 reports.
 */
export function bootMsrs(physicalAddressBits: number): MsrEntry[] {
  const msrs: MsrEntry[] = [{ index: MSR.MISC_ENABLE, value: MISC_ENABLE_FAST_STRINGS }];
  const addressMask = (1n << BigInt(physicalAddressBits)) - 1n;
  let index: number = MSR.MTRR_PHYSBASE0;
  for (let start = LOW_RAM_END_MAX; start < HIGH_RAM_START; ) {
    const sizeBytes = naturalBlock(start, HIGH_RAM_START);
    msrs.push({ index: index++, value: BigInt(start) | MTRR.UNCACHEABLE });
    msrs.push({ index: index++, value: (addressMask & ~(BigInt(sizeBytes) - 1n)) | MTRR.MASK_VALID });
    start += sizeBytes;
  }
  msrs.push({ index: MSR.MTRR_DEF_TYPE, value: MTRR.DEF_TYPE_ENABLE | MTRR.WRITE_BACK });
  return msrs;
}

/** The largest power of two that `start` is a multiple of and that does not reach past `end`. */
function naturalBlock(start: number, end: number): number {
  let sizeBytes = 1;
  while (start % (sizeBytes * 2) === 0 && start + sizeBytes * 2 <= end) sizeBytes *= 2;
  return sizeBytes;
}
