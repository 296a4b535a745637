import { isSize } from '#util/bits.ts';
import { DiskError } from '../disk-file.ts';
import { type Backing, l1SizeFor } from './header.ts';
import type { ImageFile } from './image-file.ts';
import {
  BACKING_NAME_BYTES_MAX,
  ENTRY_BYTES,
  Extension,
  HEADER_V2_BYTES,
  HEADER_V3_BYTES,
  HeaderField,
  L1_BYTES_MAX,
  MAGIC,
  REFCOUNT_ORDER_V2,
  writeU64,
} from './layout.ts';
import { setRefcount } from './refcounts.ts';

export interface NewImage {
  readonly sizeBytes: number;
  readonly backing?: Backing | undefined;
  /** 3 by default. */
  readonly version?: 2 | 3;
  /** 16 by default: clusters of 64 KiB. */
  readonly clusterBits?: number;
  /** 4 by default: 16-bit reference counts. */
  readonly refcountOrder?: number;
}

/** Writes an empty image into an empty file: header, refcount table, its blocks, L1. Throws DiskError (FULL) or SyscallError. */
export function createQcow2(file: ImageFile, image: NewImage): void {
  const { sizeBytes, backing, version = 3, clusterBits = 16, refcountOrder = REFCOUNT_ORDER_V2 } = image;
  const clusterBytes = 2 ** clusterBits;
  const l1Size = Math.max(1, l1SizeFor(sizeBytes, clusterBits));
  if (!isSize(sizeBytes) || l1Size * ENTRY_BYTES > L1_BYTES_MAX)
    throw new DiskError('FULL', 'qcow2: the disk would be too large');
  const l1Clusters = Math.ceil((l1Size * ENTRY_BYTES) / clusterBytes);
  const perBlock = (clusterBytes * 8) / 2 ** refcountOrder;
  let blocks = 1;
  let tableClusters = 1;
  const total = (): number => 1 + tableClusters + blocks + l1Clusters;
  while (total() > blocks * perBlock || blocks * ENTRY_BYTES > tableClusters * clusterBytes) {
    blocks = Math.ceil(total() / perBlock);
    tableClusters = Math.ceil((blocks * ENTRY_BYTES) / clusterBytes);
  }
  const bytes = new Uint8Array(total() * clusterBytes);
  const view = new DataView(bytes.buffer);
  const set = (field: keyof typeof HeaderField, value: number): void => view.setUint32(HeaderField[field], value);
  set('magic', MAGIC);
  set('version', version);
  set('clusterBits', clusterBits);
  writeU64(view, HeaderField.size, sizeBytes);
  set('l1Size', l1Size);
  writeU64(view, HeaderField.l1Offset, (1 + tableClusters + blocks) * clusterBytes);
  writeU64(view, HeaderField.refcountTableOffset, clusterBytes);
  set('refcountTableClusters', tableClusters);
  if (version === 3) {
    set('refcountOrder', refcountOrder);
    set('headerLength', HEADER_V3_BYTES);
  }
  if (backing !== undefined) writeBacking(bytes, { backing, clusterBytes, version });
  for (let block = 0; block < blocks; block++) {
    const offset = (1 + tableClusters + block) * clusterBytes;
    writeU64(view, clusterBytes + block * ENTRY_BYTES, offset);
    const counts = new DataView(bytes.buffer, offset, clusterBytes);
    const used = Math.min(perBlock, total() - block * perBlock);
    for (let index = 0; index < used; index++) setRefcount(counts, refcountOrder, { index, count: 1 });
  }
  file.write(0, bytes);
  file.sync();
}

function writeBacking(
  bytes: Uint8Array<ArrayBuffer>,
  place: { backing: Backing; clusterBytes: number; version: 2 | 3 },
): void {
  const { backing, clusterBytes, version } = place;
  const view = new DataView(bytes.buffer);
  const format = Buffer.from(backing.format);
  const name = Buffer.from(backing.name);
  const start = version === 3 ? HEADER_V3_BYTES : HEADER_V2_BYTES;
  view.setUint32(start, Extension.BACKING_FORMAT);
  view.setUint32(start + 4, format.length);
  bytes.set(format, start + 8);
  // An extension is padded to 8 bytes, and the end of the list is 8 zeros.
  const nameOffset = start + 8 + Math.ceil(format.length / 8) * 8 + 8;
  if (name.length === 0 || name.length > BACKING_NAME_BYTES_MAX || nameOffset + name.length > clusterBytes)
    throw new DiskError('FULL', `qcow2: the backing file's name has ${name.length} bytes`);
  bytes.set(name, nameOffset);
  writeU64(view, HeaderField.backingOffset, nameOffset);
  view.setUint32(HeaderField.backingSize, name.length);
}
