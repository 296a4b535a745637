/** The numbers of the qcow2 format: QEMU, docs/interop/qcow2. Everything is big endian. */
import { KiB, MiB } from '#util/bits.ts';

/** `QFI\xfb`. */
export const MAGIC = 0x5146_49fb;

export const HEADER_V2_BYTES = 72;
export const HEADER_V3_BYTES = 104;

/** Offsets of the header's fields. */
export const HeaderField = {
  magic: 0,
  version: 4,
  backingOffset: 8,
  backingSize: 16,
  clusterBits: 20,
  size: 24,
  cryptMethod: 32,
  l1Size: 36,
  l1Offset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  snapshotCount: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  compatible: 80,
  autoclear: 88,
  refcountOrder: 96,
  headerLength: 100,
  compressionType: 104,
} as const;

/** Bits of the incompatible features. */
export const Incompatible = { DIRTY: 1, CORRUPT: 2, EXTERNAL_DATA: 4, COMPRESSION_TYPE: 8, EXTENDED_L2: 16 } as const;

export const Extension = { END: 0, BACKING_FORMAT: 0xe279_2aca } as const;

/** 512 B to 2 MiB: QEMU's limits. */
export const CLUSTER_BITS_MIN = 9;
export const CLUSTER_BITS_MAX = 21;
export const REFCOUNT_ORDER_MAX = 6;
/** Version 2 has 16-bit reference counts. */
export const REFCOUNT_ORDER_V2 = 4;
/** QEMU's limits of the two tables that are held in memory. */
export const L1_BYTES_MAX = 32 * MiB;
export const REFCOUNT_TABLE_BYTES_MAX = 8 * MiB;
export const BACKING_NAME_BYTES_MAX = 1023;
export const ENTRY_BYTES = 8;
export const COMPRESSED_SECTOR_BYTES = 512;
export const HEADER_READ_BYTES = 4 * KiB;

/** In the upper word of an entry of L1 or L2. */
export const COPIED = 0x8000_0000;
export const COMPRESSED = 0x4000_0000;
/** In the lower word of an entry of L2, version 3. */
export const ZERO = 1;

const WORD = 2 ** 32;
/** Bits 56 to 61 of an entry are reserved; bits 62 and 63 are flags. */
const RESERVED_HIGH = 0x3f00_0000;

export const readU64 = (view: DataView, at: number): number => view.getUint32(at) * WORD + view.getUint32(at + 4);

export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / WORD));
  view.setUint32(at + 4, value % WORD);
}

/** The host offset of an entry's words. At most 2^56, so a bounds check must follow. */
export const offsetOf = (high: number, low: number): number => (high & 0x00ff_ffff) * WORD + ((low & ~0x1ff) >>> 0);

export const hasReservedBits = (high: number, low: number, lowReserved: number): boolean =>
  (high & RESERVED_HIGH) !== 0 || (low & lowReserved) !== 0;
