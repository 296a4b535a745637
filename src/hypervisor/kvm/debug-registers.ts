/** Breakpoints in debug registers, SDM vol. 3 §17.2. */
import type { Breakpoint, BreakpointKind, DebugFeatures } from '../debug.ts';

/** DR0 to DR3. */
export const DEBUG_REGISTERS = 4;

/** R/W bits of DR7. There is none for reads alone: they are watched as accesses of both kinds. */
const CONDITION: Readonly<Partial<Record<BreakpointKind, number>>> = { hardware: 0, write: 1, read: 3, access: 3 };
/** LEN bits of DR7 by bytes. */
const LENGTH: ReadonlyMap<number, number> = new Map([
  [1, 0],
  [2, 1],
  [4, 3],
  [8, 2],
]);

const globalEnable = (slot: number): bigint => 2n << BigInt(2 * slot);
const conditionShift = (slot: number): bigint => BigInt(16 + 4 * slot);
/** Bit 10 reads as 1; GE has the processor report the exact instruction, where it is old. */
const DR7_FIXED = 0x400n;
const DR7_GE = 0x200n;

export const KVM_DEBUG_FEATURES: DebugFeatures = {
  hardwareMax: DEBUG_REGISTERS,
  needsInt3: true,
  canWatch: ({ address, sizeBytes }) => LENGTH.has(sizeBytes) && address % BigInt(sizeBytes) === 0n,
};

/** DR0 to DR7 for breakpoints of other kinds than `software`, at most four, of sizes that can be watched. */
export function debugRegisters(breakpoints: readonly Breakpoint[]): bigint[] {
  const registers = Array.from({ length: 8 }, () => 0n);
  let control = DR7_FIXED | DR7_GE;
  for (const [slot, { kind, address, sizeBytes }] of breakpoints.entries()) {
    registers[slot] = address;
    const length = kind === 'hardware' ? 0 : (LENGTH.get(sizeBytes) ?? 0);
    control |= globalEnable(slot) | (BigInt((CONDITION[kind] ?? 0) | (length << 2)) << conditionShift(slot));
  }
  registers[7] = breakpoints.length === 0 ? 0n : control;
  return registers;
}

/** What DR6 names of them. */
export function hitOf(dr6: bigint, breakpoints: readonly Breakpoint[]): Breakpoint | undefined {
  return breakpoints.find((_, slot) => ((dr6 >> BigInt(slot)) & 1n) !== 0n);
}
