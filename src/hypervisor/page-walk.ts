/**
 * Linear to guest-physical addresses by the guest's page tables (SDM vol. 3 §4.3 to §4.5), for someone who only looks: no rights are
 * checked, nothing is marked as accessed, and reserved bits are ignored.
 */
import type { DebugState } from './debug.ts';

/** Guest memory as far as tables lie in it. */
export interface TableMemory {
  contains(address: number, sizeBytes: number): boolean;
  readU32(address: number): number;
  readU64(address: number): bigint;
}

const CR0_PG = 1n << 31n;
const CR4 = { PSE: 1n << 4n, PAE: 1n << 5n, LA57: 1n << 12n } as const;
const EFER_LMA = 1n << 10n;
const PTE = { PRESENT: 1n, LARGE: 1n << 7n } as const;
const ADDRESS = 0x000f_ffff_ffff_f000n;

/** The guest-physical address; undefined where the tables map none. */
export function walkPages(
  { cr0, cr3, cr4, efer }: Pick<DebugState, 'cr0' | 'cr3' | 'cr4' | 'efer'>,
  memory: TableMemory,
  linear: bigint,
): number | undefined {
  if ((cr0 & CR0_PG) === 0n) return linear < 1n << 32n ? Number(linear) : undefined;
  if ((efer & EFER_LMA) !== 0n) {
    const levels = (cr4 & CR4.LA57) !== 0n ? 5 : 4;
    if (!isCanonical(linear, levels)) return undefined;
    return walk(memory, cr3 & ADDRESS, { linear, top: levels - 1 });
  }
  if (linear >= 1n << 32n) return undefined;
  if ((cr4 & CR4.PAE) === 0n) return walk32(memory, cr3, { linear, hasLarge: (cr4 & CR4.PSE) !== 0n });
  const pointer = read64(memory, (cr3 & 0xffff_ffe0n) + 8n * (linear >> 30n));
  if (pointer === undefined || (pointer & PTE.PRESENT) === 0n) return undefined;
  return walk(memory, pointer & ADDRESS, { linear, top: 1 });
}

function isCanonical(linear: bigint, levels: number): boolean {
  const bits = 12 + 9 * levels;
  return BigInt.asUintN(64, BigInt.asIntN(bits, linear)) === linear;
}

/** Tables of 8-byte entries from level `top` down to 0. */
function walk(
  memory: TableMemory,
  root: bigint,
  { linear, top }: { readonly linear: bigint; readonly top: number },
): number | undefined {
  let table = root;
  for (let level = top; level >= 0; level--) {
    const shift = BigInt(12 + 9 * level);
    const entry = read64(memory, table + 8n * ((linear >> shift) & 0x1ffn));
    if (entry === undefined || (entry & PTE.PRESENT) === 0n) return undefined;
    const isLeaf = level === 0 || (level <= 2 && (entry & PTE.LARGE) !== 0n);
    const inside = (1n << shift) - 1n;
    if (isLeaf) return Number((entry & ADDRESS & ~inside) | (linear & inside));
    table = entry & ADDRESS;
  }
  return undefined;
}

function walk32(
  memory: TableMemory,
  cr3: bigint,
  { linear, hasLarge }: { readonly linear: bigint; readonly hasLarge: boolean },
): number | undefined {
  const address = Number(linear);
  const directory = read32(memory, Number(cr3 & 0xffff_f000n) + 4 * (address >>> 22));
  if (directory === undefined || (directory & 1) === 0) return undefined;
  // Of 4 MiB; bits 20 to 13 are the address's bits 39 to 32 (PSE-36).
  if (hasLarge && (directory & 0x80) !== 0) {
    return ((directory >>> 13) & 0xff) * 2 ** 32 + (((directory & 0xffc0_0000) | (address & 0x3f_ffff)) >>> 0);
  }
  const entry = read32(memory, ((directory & ~0xfff) >>> 0) + 4 * ((address >>> 12) & 0x3ff));
  if (entry === undefined || (entry & 1) === 0) return undefined;
  return ((entry & ~0xfff) | (address & 0xfff)) >>> 0;
}

function read64(memory: TableMemory, address: bigint): bigint | undefined {
  const at = Number(address);
  return memory.contains(at, 8) ? memory.readU64(at) : undefined;
}

function read32(memory: TableMemory, address: number): number | undefined {
  return memory.contains(address, 4) ? memory.readU32(address) : undefined;
}
