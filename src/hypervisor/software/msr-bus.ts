/** The model-specific registers that stand beside the core: the local APIC's, and those that firmware sets and kernels read. */
import type { MsrBus } from '#cpu/cpu.ts';
import type { MsrEntry } from '../registers.ts';
import type { LocalApic } from './local-apic.ts';

/** SDM vol. 4 table 2-2. */
const MSR = {
  PLATFORM_ID: 0x17,
  /** Read after a CPUID it gives the microcode's revision; writes are ignored but for clearing it. */
  MICROCODE_REVISION: 0x8b,
  ARCH_CAPABILITIES: 0x10a,
  MISC_ENABLE: 0x1a0,
  /** AMD's, which Linux reads on every vendor's processor: none of its features. */
} as const;

/** What is not there to be attacked: Meltdown, L1TF, MDS, TAA, stale MMIO data; SDM vol. 4, IA32_ARCH_CAPABILITIES. */
const ARCH_CAPABILITIES = {
  RDCL_NO: 1 << 0,
  RSB_ALTERNATE_NO: 0,
  SKIP_L1DFL_VMENTRY: 1 << 3,
  SSB_NO: 1 << 4,
  MDS_NO: 1 << 5,
  PSCHANGE_MC_NO: 1 << 6,
  TAA_NO: 1 << 8,
  SBDR_SSDP_NO: 1 << 13,
  FBSDP_NO: 1 << 14,
  PSDP_NO: 1 << 15,
  BHI_NO: 1 << 20,
  PBRSB_NO: 1 << 24,
  GDS_NO: 1 << 26,
  RFDS_NO: 1 << 27,
} as const;

const NOT_VULNERABLE = Object.values(ARCH_CAPABILITIES).reduce((all, bit) => all | bit, 0);

/** Registers that only hold what was written, by number. */
const STORED_AT_RESET: ReadonlyMap<number, readonly [low: number, high: number]> = new Map([
  [MSR.PLATFORM_ID, [0, 0]],
  [MSR.MICROCODE_REVISION, [0, 1]],
  [MSR.MISC_ENABLE, [1, 0]],
]);
const READ_ONLY: ReadonlySet<number> = new Set([MSR.PLATFORM_ID, MSR.ARCH_CAPABILITIES]);

export class SoftwareMsrs implements MsrBus {
  readonly #localApic: LocalApic;
  readonly #stored = new Map(STORED_AT_RESET);
  /** The answer of the last read; one object is used over and over. */
  readonly #value: [number, number] = [0, 0];

  constructor(localApic: LocalApic) {
    this.#localApic = localApic;
  }

  /** Sets registers as firmware does, where this processor has them. */
  set(entries: readonly MsrEntry[]): void {
    for (const { index, value } of entries) {
      if (!this.#stored.has(index)) continue;
      this.#stored.set(index, [Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))]);
    }
  }

  read(index: number): readonly [number, number] | null {
    if (index === MSR.ARCH_CAPABILITIES) {
      this.#value[0] = NOT_VULNERABLE;
      this.#value[1] = 0;
      return this.#value;
    }
    if (this.#localApic.readMsr(index)) {
      this.#value[0] = this.#localApic.msrLow | 0;
      this.#value[1] = this.#localApic.msrHigh | 0;
      return this.#value;
    }
    return this.#stored.get(index) ?? null;
  }

  write(index: number, low: number, high: number): boolean {
    if (this.#localApic.writeMsr(index, low, high)) return true;
    if (!this.#stored.has(index) || READ_ONLY.has(index)) return false;
    // The revision is the processor's to set.
    if (index !== MSR.MICROCODE_REVISION) this.#stored.set(index, [low, high]);
    return true;
  }
}
