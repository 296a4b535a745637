/**
 * The model-specific registers that stand beside the core: the local APIC's, the paravirtual clock's, and those that firmware
 * sets and kernels read.
 */
import type { MsrBus } from '#cpu/cpu.ts';
import type { Clock } from '#util/clock.ts';
import type { Logger } from '#util/log.ts';
import type { MsrEntry } from '../registers.ts';
import type { KvmClock } from './kvm-clock.ts';
import type { LocalApic } from './local-apic.ts';

/** SDM vol. 4 table 2-2. */
const MSR = {
  TSC: 0x10,
  PLATFORM_ID: 0x17,
  MICROCODE_REVISION: 0x8b,
  SPEC_CTRL: 0x48,
  /** Write only: barriers for predictors that are not there. */
  PRED_CMD: 0x49,
  ARCH_CAPABILITIES: 0x10a,
  MISC_ENABLE: 0x1a0,
} as const;

/**
 * IA32_ARCH_CAPABILITIES, SDM vol. 4 table 2-2: nothing runs ahead of what the guest's program says, so none of the attacks on
 * speculation works, and a kernel need not defend itself. IBRS_ALL spares it retpolines.
 */
const ARCH_CAPABILITIES_LOW = {
  RDCL_NO: 1 << 0,
  IBRS_ALL: 1 << 1,
  SKIP_L1DFL_VMENTRY: 1 << 3,
  SSB_NO: 1 << 4,
  MDS_NO: 1 << 5,
  IF_PSCHANGE_MC_NO: 1 << 6,
  TAA_NO: 1 << 8,
  SBDR_SSDP_NO: 1 << 13,
  FBSDP_NO: 1 << 14,
  PSDP_NO: 1 << 15,
  BHI_NO: 1 << 20,
  PBRSB_NO: 1 << 24,
  GDS_NO: 1 << 26,
  RFDS_NO: 1 << 27,
} as const;
/** Bits 63 to 32. */
const ARCH_CAPABILITIES_HIGH = { ITS_NO: 1 << 30 } as const;

const allBits = (bits: Readonly<Record<string, number>>): number =>
  Object.values(bits).reduce((all, bit) => all | bit, 0);

const PRED_CMD_IBPB = 1;

type Halves = readonly [low: number, high: number];

/** What registers that hold a value have at reset, and the bits that may be written; others are #GP. */
interface Stored {
  readonly reset: Halves;
  readonly writable: Halves;
}

const NONE: Halves = [0, 0];
const STORED: ReadonlyMap<number, Stored> = new Map<number, Stored>([
  [MSR.PLATFORM_ID, { reset: NONE, writable: NONE }],
  // IBRS, STIBP, SSBD and BHI_DIS_S: there is nothing that they would have to hold back.
  [MSR.SPEC_CTRL, { reset: NONE, writable: [0x407, 0] }],
  [MSR.MICROCODE_REVISION, { reset: [0, 1], writable: NONE }],
  [MSR.ARCH_CAPABILITIES, { reset: [allBits(ARCH_CAPABILITIES_LOW), allBits(ARCH_CAPABILITIES_HIGH)], writable: NONE }],
  // Bit 0, fast strings: a kernel that finds it clear drops ERMS.
  [MSR.MISC_ENABLE, { reset: [1, 0], writable: [-1, -1] }],
]);

export interface SoftwareMsrsOptions {
  readonly localApic: LocalApic;
  readonly kvmClock: KvmClock;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
}

export class SoftwareMsrs implements MsrBus {
  readonly #localApic: LocalApic;
  readonly #kvmClock: KvmClock;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #values = new Map<number, Halves>([...STORED].map(([index, { reset }]) => [index, reset]));
  /** The answer of the last read of the local APIC or the counter; one object is used over and over. */
  readonly #answer: [number, number] = [0, 0];

  constructor({ localApic, kvmClock, clock, log }: SoftwareMsrsOptions) {
    this.#localApic = localApic;
    this.#kvmClock = kvmClock;
    this.#clock = clock;
    this.#log = log;
  }

  /** Sets registers as firmware does, where this processor has them. */
  set(entries: readonly MsrEntry[]): void {
    for (const { index, value } of entries) {
      this.write(index, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)));
    }
  }

  read(index: number): Halves | null {
    if (index === MSR.TSC) return this.#readCounter();
    if (!this.#localApic.readMsr(index)) {
      const value = this.#values.get(index) ?? this.#kvmClock.read(index);
      if (value === null) this.#log?.debug(`read of MSR 0x${index.toString(16)}, which does not exist: #GP`);
      return value;
    }
    this.#answer[0] = this.#localApic.msrLow | 0;
    this.#answer[1] = this.#localApic.msrHigh | 0;
    return this.#answer;
  }

  /** The time-stamp counter counts the clock's nanoseconds; it cannot be written. */
  #readCounter(): Halves {
    const now = this.#clock.nowNs();
    this.#answer[0] = now | 0;
    this.#answer[1] = Math.floor(now / 2 ** 32);
    return this.#answer;
  }

  write(index: number, low: number, high: number): boolean {
    const done = this.#write(index, low, high);
    if (!done) this.#log?.debug(`write to MSR 0x${index.toString(16)}, which does not exist or take it: #GP`);
    return done;
  }

  #write(index: number, low: number, high: number): boolean {
    if (this.#localApic.writeMsr(index, low, high)) return true;
    // Kernels clear the revision before they ask CPUID for it; it is the processor's to set.
    if (index === MSR.MICROCODE_REVISION) return true;
    if (index === MSR.PRED_CMD) return high === 0 && (low & ~PRED_CMD_IBPB) === 0;
    const stored = STORED.get(index);
    if (stored === undefined) return this.#kvmClock.write(index, low, high);
    const { writable } = stored;
    if (writable === NONE || (low & ~writable[0]) !== 0 || (high & ~writable[1]) !== 0) return false;
    this.#values.set(index, [low, high]);
    return true;
  }
}
