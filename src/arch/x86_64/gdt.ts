import type { SegmentRegister } from '#hypervisor/registers.ts';
import { assert } from '#util/assert.ts';
import { concatBytes, zeros } from './table-bytes.ts';

/**
 * Segment descriptors, Intel SDM vol. 3 §3.4.5 and (the task state segment of 64-bit mode, 16 bytes) §7.2.3. The 64-bit boot
 * protocol wants flat 4 GiB segments at the selectors __BOOT_CS 0x10 and __BOOT_DS 0x18.
 */
export interface SegmentDescriptor {
  readonly base: number;
  /** The 20-bit field, in units of 4 KiB when `G` is among the attributes. */
  readonly limit: number;
  /** Access byte in bits 7..0 (type, S, DPL, P) and flags in bits 15..12 (AVL, L, D/B, G): bits 55..40 of a descriptor. */
  readonly attributes: number;
}

const ATTRIBUTE = {
  TYPE_MASK: 0x000f,
  CODE_OR_DATA: 0x0010,
  DPL_SHIFT: 5,
  PRESENT: 0x0080,
  AVAILABLE: 0x1000,
  LONG_MODE: 0x2000,
  DEFAULT_BIG: 0x4000,
  GRANULAR: 0x8000,
} as const;

/** Execute/read, accessed, 64-bit, 4 KiB granular. */
const BOOT_CODE: SegmentDescriptor = { base: 0, limit: 0xfffff, attributes: 0xa09b };
/** Read/write, accessed, 32-bit, 4 KiB granular. */
const BOOT_DATA: SegmentDescriptor = { base: 0, limit: 0xfffff, attributes: 0xc093 };
/** A busy 64-bit TSS of the least size; VM entry demands one, nothing ever reads it. */
const BOOT_TASK: SegmentDescriptor = { base: 0, limit: 0x67, attributes: 0x008b };

export const BOOT_SELECTOR = { CODE: 0x10, DATA: 0x18, TASK: 0x20 } as const;

/** Limit of the boot IDT: half a gate, so that any exception before the kernel has its own IDT ends in a triple fault. */
export const BOOT_IDT_LIMIT = 7;

/** The 8 bytes of a code or data descriptor, or the lower 8 of a system descriptor. */
export function encodeDescriptor({ base, limit, attributes }: SegmentDescriptor): Uint8Array {
  assert(base >= 0 && base < 2 ** 32, 'descriptor base exceeds 32 bits');
  assert(limit >= 0 && limit <= 0xfffff, 'descriptor limit exceeds 20 bits');
  assert((attributes & 0x0f00) === 0, 'attributes overlap the limit');
  return Uint8Array.of(
    limit,
    limit >>> 8,
    base,
    base >>> 8,
    base >>> 16,
    attributes,
    ((attributes >>> 8) & 0xf0) | (limit >>> 16),
    base >>> 24,
  );
}

/** The boot GDT: two null entries, code, data, and the task descriptor with its upper half. */
export function bootGdt(): Uint8Array {
  return concatBytes(
    zeros(16),
    encodeDescriptor(BOOT_CODE),
    encodeDescriptor(BOOT_DATA),
    encodeDescriptor(BOOT_TASK),
    zeros(8),
  );
}

export function bootIdt(): Uint8Array {
  return zeros(BOOT_IDT_LIMIT + 1);
}

/** The segment register as it is after loading `selector` from a table that holds `descriptor` there. */
export function segmentFromDescriptor(selector: number, descriptor: SegmentDescriptor): SegmentRegister {
  const { attributes, base, limit } = descriptor;
  const granular = (attributes & ATTRIBUTE.GRANULAR) !== 0;
  return {
    selector,
    base: BigInt(base),
    limit: granular ? limit * 4096 + 4095 : limit,
    type: attributes & ATTRIBUTE.TYPE_MASK,
    codeOrData: (attributes & ATTRIBUTE.CODE_OR_DATA) !== 0,
    dpl: (attributes >>> ATTRIBUTE.DPL_SHIFT) & 3,
    present: (attributes & ATTRIBUTE.PRESENT) !== 0,
    available: (attributes & ATTRIBUTE.AVAILABLE) !== 0,
    longMode: (attributes & ATTRIBUTE.LONG_MODE) !== 0,
    defaultBig: (attributes & ATTRIBUTE.DEFAULT_BIG) !== 0,
    granular,
    unusable: false,
  };
}

/** A segment register that holds a null selector. */
export function unusableSegment(): SegmentRegister {
  return { ...segmentFromDescriptor(0, { base: 0, limit: 0, attributes: 0 }), unusable: true };
}

export function bootCodeSegment(): SegmentRegister {
  return segmentFromDescriptor(BOOT_SELECTOR.CODE, BOOT_CODE);
}

export function bootDataSegment(): SegmentRegister {
  return segmentFromDescriptor(BOOT_SELECTOR.DATA, BOOT_DATA);
}

export function bootTaskSegment(): SegmentRegister {
  return segmentFromDescriptor(BOOT_SELECTOR.TASK, BOOT_TASK);
}
