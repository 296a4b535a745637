/** Bits of the entries of page tables, and which addresses they can map (SDM vol. 3 §4.3 to §4.5). */
import { PHYSICAL_BITS } from './cpuid.ts';

export const PTE = {
  PRESENT: 1,
  WRITABLE: 2,
  USER: 4,
  ACCESSED: 0x20,
  DIRTY: 0x40,
  LARGE: 0x80,
  GLOBAL: 0x100,
} as const;
/** Physical address bits of an entry's upper half. */
export const ADDRESS_HIGH = 2 ** (PHYSICAL_BITS - 32) - 1;
/** Those up to bit 51 that this processor does not have are reserved. */
export const RESERVED_HIGH = 0x000fffff & ~ADDRESS_HIGH;
/** Reserved bits of the lower half of entries that map 2 MiB and 1 GiB, by level; bit 12 is PAT. */
export const RESERVED_LARGE = [0, 0x001fe000, 0x3fffe000] as const;
/** The same of 4 MiB pages; there is no PSE-36. */
export const RESERVED_4M = 0x003fe000;
export const NX_HIGH = 1 << 31;

/** Whether bits 63 to 47 of an address are alike, from its upper half. */
export const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;

/**
 * Sets bits of the entry at a word, whose lower half has been seen as `seen`, as one step (SDM vol. 3 §4.8): another processor may
 * change it meanwhile. False: it has, and nothing is set.
 */
export function markEntry(words: Int32Array, at: number, seen: number, bits: number): boolean {
  return (seen & bits) === bits || Atomics.compareExchange(words, at, seen, seen | bits) === seen;
}
