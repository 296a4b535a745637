import type { SystemAllocator } from '#resources/system-allocator.ts';
import { assert } from '#util/assert.ts';
import { isPowerOfTwo, KiB } from '#util/bits.ts';
import { BAR_COUNT, BAR_FLAG } from './registers.ts';

export const BAR_KINDS = ['io', 'memory32', 'memory64'] as const;

/** A part of memory or port space that a function answers at an address of the guest's choice; PCI 3.0 §6.2.5. */
export interface PciBar {
  /** 0 to 5. One of 64 bits takes the next register too. */
  readonly index: number;
  readonly kind: (typeof BAR_KINDS)[number];
  /** A power of two: at least 16 in memory, 4 to 256 in port space. */
  readonly sizeBytes: number;
  /** Reads have no effect and writes may be merged. Memory only. */
  readonly prefetchable?: boolean | undefined;
}

/** A BAR at the address that it has when the guest starts. Plain data. */
export interface PlacedBar extends PciBar {
  readonly address: number;
}

const IO_SIZE = { MIN: 4, MAX: 256 } as const;
const MEMORY_SIZE_MIN = 16;
const MEMORY32_SIZE_MAX = 2 ** 31;
/** Sizes and addresses are numbers, exact up to here. */
const MEMORY64_SIZE_MAX = 2 ** 52;

/** No two BARs share a page: a guest or hypervisor that maps one to somebody maps nothing else. */
const MEMORY_ALIGNMENT_MIN = 4 * KiB;

/** One register of a BAR: its bits that hold an address, and its read-only low bits. */
export interface BarRegister {
  readonly register: number;
  readonly addressMask: number;
  readonly flags: number;
}

/** The one or two registers of a BAR; `register` counts from the first BAR's. Asserts that the specification allows the BAR. */
export function barRegisters(bar: PciBar): readonly BarRegister[] {
  const { index, kind, sizeBytes, prefetchable = false } = bar;
  assert(Number.isInteger(index) && index >= 0 && index < BAR_COUNT, 'a BAR has the index 0 to 5');
  assert(isPowerOfTwo(sizeBytes), 'the size of a BAR is a power of two');
  if (kind === 'io') {
    assert(sizeBytes >= IO_SIZE.MIN && sizeBytes <= IO_SIZE.MAX, 'a port BAR has 4 to 256 ports');
    assert(!prefetchable, 'ports cannot be prefetched');
    return [{ register: index, addressMask: lowMask(sizeBytes), flags: BAR_FLAG.IO }];
  }
  const sizeMax = kind === 'memory32' ? MEMORY32_SIZE_MAX : MEMORY64_SIZE_MAX;
  assert(sizeBytes >= MEMORY_SIZE_MIN && sizeBytes <= sizeMax, 'the size of a memory BAR is out of bounds');
  const flags = (prefetchable ? BAR_FLAG.PREFETCHABLE : 0) | (kind === 'memory64' ? BAR_FLAG.MEMORY_64 : 0);
  const low = { register: index, addressMask: lowMask(sizeBytes), flags };
  if (kind === 'memory32') return [low];
  assert(index + 1 < BAR_COUNT, 'a 64-bit BAR needs a second register');
  const addressMask = sizeBytes <= 2 ** 32 ? 0xffff_ffff : 2 ** 32 - sizeBytes / 2 ** 32;
  return [low, { register: index + 1, addressMask, flags: 0 }];
}

/** The bits of the lower register at and above the size; none when the size exceeds it. The flags lie below every size. */
function lowMask(sizeBytes: number): number {
  return sizeBytes >= 2 ** 32 ? 0 : 2 ** 32 - sizeBytes;
}

/** The registers of all BARs of one function. Asserts that no register belongs to two. */
export function allBarRegisters(bars: readonly PciBar[]): readonly (BarRegister & { readonly bar: PciBar })[] {
  const registers = bars.flatMap((bar) => barRegisters(bar).map((register) => ({ ...register, bar })));
  const distinct = new Set(registers.map(({ register }) => register));
  assert(distinct.size === registers.length, 'two BARs share a register');
  return registers;
}

/**
 * Gives each BAR an address: ports from the I/O window, memory of 64 bits from high MMIO if there is room, all other memory from
 * low MMIO. Throws ResourceError EXHAUSTED.
 */
export function allocateBars(bars: readonly PciBar[], allocator: SystemAllocator, tag: string): readonly PlacedBar[] {
  return bars.map((bar) => {
    const { kind, sizeBytes } = bar;
    const request = { sizeBytes, alignment: sizeBytes, tag: `${tag} BAR ${bar.index}` };
    if (kind === 'io') return { ...bar, address: allocator.ioPorts.allocate(request).start };
    const aligned = { ...request, alignment: Math.max(sizeBytes, MEMORY_ALIGNMENT_MIN) };
    const isHigh = kind === 'memory64' && allocator.highMmio.freeBytes >= sizeBytes;
    return { ...bar, address: (isHigh ? allocator.highMmio : allocator.lowMmio).allocate(aligned).start };
  });
}
