/**
 * KVM's paravirtual clock: two registers, through which a guest has the time written into its memory. Registers: Linux
 * Documentation/virt/kvm/x86/msr.rst; structures and their version protocol: arch/x86/include/asm/pvclock-abi.h.
 */
import type { Clock } from '#util/clock.ts';
import { bytes, struct, u8, u32, u64AsNumber, viewOf } from '#util/struct.ts';

/** msr.rst. The older 0x11 and 0x12 belong to another feature bit, which CPUID does not show. */
const MSR = { WALL_CLOCK_NEW: 0x4b564d00, SYSTEM_TIME_NEW: 0x4b564d01 } as const;
const SYSTEM_TIME_ENABLE = 1;

/** Of one processor: time = systemTime + ((TSC − tscTimestamp) << tscShift) × tscToSystemMul / 2^32, in nanoseconds. */
export const PvclockVcpuTimeInfo = struct(
  {
    version: u32,
    pad0: u32,
    tscTimestamp: u64AsNumber,
    systemTime: u64AsNumber,
    tscToSystemMul: u32,
    /** Signed in C. */
    tscShift: u8,
    flags: u8,
    pad: bytes(2),
  },
  { packed: true },
);
/** The time of day when system time was 0. */
export const PvclockWallClock = struct({ version: u32, sec: u32, nsec: u32 }, { packed: true });

/** The TSC counts nanoseconds: ticks × 2 × 2^31 / 2^32. KVM has the same pair for 1 GHz. */
const TSC_SHIFT = 1;
const TSC_TO_SYSTEM_MUL = 2 ** 31;
/** All processors' counters are one clock, so that times which they read are in order. */
const FLAG_TSC_STABLE = 1 << 0;

const PAGE_SIZE_BYTES = 4096;
const NS_PER_MS = 1_000_000n;
const NS_PER_S = 1_000_000_000n;

type Halves = readonly [low: number, high: number];

/** Guest RAM as one processor reaches it. What is written may be code that it has decoded, so that it must learn of it. */
export interface ClockMemory {
  /** Whether the whole range is RAM; `address` is any number up to 2^64. */
  contains(address: number, sizeBytes: number): boolean;
  /** For ranges that `contains` knows. */
  readU32(address: number): number;
  write(address: number, data: Uint8Array): void;
}

/**
 * The clock as one processor sees it. System time is the TSC's own, so that what was written once stays true. Every value
 * is taken, as KVM does: where there is no RAM, or not for all of the structure, nothing is written. KVM keeps one wall clock
 * register for the machine; here each processor has its own, which shows only to one that reads what another wrote.
 */
export class KvmClock {
  readonly #clock: Clock;
  readonly #memory: ClockMemory;
  #wallClock: Halves = [0, 0];
  #systemTime: Halves = [0, 0];

  constructor(clock: Clock, memory: ClockMemory) {
    this.#clock = clock;
    this.#memory = memory;
  }

  /** Null where the register is not the clock's. */
  read(index: number): Halves | null {
    if (index === MSR.WALL_CLOCK_NEW) return this.#wallClock;
    return index === MSR.SYSTEM_TIME_NEW ? this.#systemTime : null;
  }

  /** False where the register is not the clock's. */
  write(index: number, low: number, high: number): boolean {
    // Inexact above 2^53, where there is no RAM either.
    const address = (high >>> 0) * 2 ** 32 + (low >>> 0);
    if (index === MSR.WALL_CLOCK_NEW) {
      this.#wallClock = [low, high];
      // KVM takes 0 for "none", although it is RAM.
      if (address !== 0) this.#publish(address, this.#wallClockNow());
      return true;
    }
    if (index !== MSR.SYSTEM_TIME_NEW) return false;
    this.#systemTime = [low, high];
    if ((low & SYSTEM_TIME_ENABLE) !== 0) this.#startSystemTime(address - SYSTEM_TIME_ENABLE);
    return true;
  }

  #startSystemTime(address: number): void {
    // KVM maps the one page that the structure begins in.
    if ((address % PAGE_SIZE_BYTES) + PvclockVcpuTimeInfo.size > PAGE_SIZE_BYTES) return;
    const nowNs = Math.floor(this.#clock.nowNs());
    const now = {
      tscTimestamp: nowNs,
      systemTime: nowNs,
      tscToSystemMul: TSC_TO_SYSTEM_MUL,
      tscShift: TSC_SHIFT,
      flags: FLAG_TSC_STABLE,
    };
    this.#publish(address, PvclockVcpuTimeInfo.encode(now));
  }

  #wallClockNow(): Uint8Array {
    const epochNs = BigInt(Math.floor(this.#clock.wallMs())) * NS_PER_MS - BigInt(Math.floor(this.#clock.nowNs()));
    return PvclockWallClock.encode({ sec: Number(epochNs / NS_PER_S), nsec: Number(epochNs % NS_PER_S) });
  }

  /** Writes a structure that begins with its version: odd while the rest changes, so that a reader knows to read again. */
  #publish(address: number, structure: Uint8Array): void {
    const memory = this.#memory;
    if (!memory.contains(address, structure.length)) return;
    const version = viewOf(structure.subarray(0, u32.size));
    // What the guest left there may be odd.
    const odd = (memory.readU32(address) + 1) | 1;
    u32.set(version, 0, odd);
    memory.write(address, structure.subarray(0, u32.size));
    memory.write(address, structure);
    u32.set(version, 0, odd + 1);
    memory.write(address, structure.subarray(0, u32.size));
  }
}
