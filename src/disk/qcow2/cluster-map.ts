/** Where the disk's clusters lie in the file: L1 and L2 tables. QEMU, docs/interop/qcow2, "Cluster mapping". */
import { MiB } from '#util/bits.ts';
import type { Image } from './image.ts';
import { COMPRESSED, COMPRESSED_SECTOR_BYTES, COPIED, ENTRY_BYTES, hasReservedBits, offsetOf, ZERO } from './layout.ts';
import type { Refcounts } from './refcounts.ts';
import { type Table, TableCache } from './table-cache.ts';

const CACHE_BYTES = 4 * MiB;
const CACHE_TABLES_MIN = 4;
const CACHE_TABLES_MAX = 1024;
/** Clusters that wait to be freed; more of them bring about a commit. */
const RELEASED_MAX = 4096;
const WORD = 2 ** 32;

export type MappingKind = 'unallocated' | 'zero' | 'standard' | 'compressed';

/** Where one cluster of the disk lies. Refilled by each look-up. */
export interface Mapping {
  kind: MappingKind;
  /** Bytes in the file; 0 for none. A cluster that reads as zeros may have a place all the same. */
  offset: number;
  /** The reference count is known to be 1. */
  isCopied: boolean;
  /** Of a compressed cluster. */
  compressedBytes: number;
}

export const createMapping = (): Mapping => ({ kind: 'unallocated', offset: 0, isCopied: false, compressedBytes: 0 });

/**
 * Changes stay in memory until a commit writes them, in an order that a crash may cut anywhere: counts that went up and data;
 * then L2; then L1; then counts that went down.
 */
export class ClusterMap {
  readonly #image: Image;
  readonly #refcounts: Refcounts | undefined;
  readonly #cache: TableCache;
  readonly #entriesPerTable: number;
  #l1: DataView<ArrayBuffer>;
  /** Entries of L1 whose tables are new. */
  readonly #newTables = new Set<number>();
  readonly #compressedOffsetBits: number;

  /** `refcounts` of an image that may be written. */
  constructor(image: Image, refcounts: Refcounts | undefined) {
    this.#image = image;
    this.#refcounts = refcounts;
    const { header, clusterBytes, file } = image;
    this.#entriesPerTable = clusterBytes / ENTRY_BYTES;
    this.#compressedOffsetBits = 62 - (header.clusterBits - 8);
    this.#l1 = image.readTable(header.l1Offset, header.l1Size);
    this.#cache = new TableCache({
      file,
      tableBytes: clusterBytes,
      capacity: Math.min(CACHE_TABLES_MAX, Math.max(CACHE_TABLES_MIN, CACHE_BYTES / clusterBytes)),
      relieve: () => this.commit(),
    });
    if (refcounts !== undefined) this.#addMetadata();
  }

  /** Fills `mapping` for the cluster that begins at `position` of the disk. A fault for an entry that can be no true one. */
  lookUp(position: number, mapping: Mapping): void {
    const table = this.#table(position);
    mapping.kind = 'unallocated';
    mapping.offset = 0;
    mapping.isCopied = false;
    mapping.compressedBytes = 0;
    if (table === undefined) return;
    const at = this.#entryAt(position);
    const high = table.view.getUint32(at);
    const low = table.view.getUint32(at + 4);
    if ((high & COMPRESSED) !== 0) this.#decodeCompressed(high, low, mapping);
    else this.#decodeStandard(high, low, mapping);
  }

  /**
   * Maps the cluster at `position` to one of the file that is its own, or to none. The old one is released unless it is the
   * same. The data must be written already.
   */
  set(position: number, old: Mapping, to: { offset: number; isZero: boolean }): void {
    // Before the entry is changed: whoever sees this fail may take the new cluster back.
    if (this.#counts.releasedCount > RELEASED_MAX) this.commit();
    const table = this.#ownTable(position);
    const at = this.#entryAt(position);
    const high = to.offset === 0 ? 0 : Math.floor(to.offset / WORD) + COPIED;
    table.view.setUint32(at, high);
    table.view.setUint32(at + 4, (to.offset % WORD) + (to.isZero ? ZERO : 0));
    this.#cache.markDirty(table);
    if (old.offset !== 0 && old.offset !== to.offset) this.#release(old);
  }

  /** How much of the disk from `position` on has no table: 0 when it has one. */
  emptyBytes(position: number): number {
    if (this.#l1Offset(this.#l1Index(position)) !== 0) return 0;
    const tableBytes = this.#entriesPerTable * this.#image.clusterBytes;
    return tableBytes - (position % tableBytes);
  }

  /** Returns when everything is on the medium. */
  commit(): void {
    const { file, header } = this.#image;
    if (this.#refcounts === undefined) return;
    if (!this.#refcounts.hasDirty && !this.#cache.hasDirty && this.#newTables.size === 0) {
      file.sync();
      return;
    }
    this.#refcounts.writeOut();
    file.sync();
    this.#cache.writeDirty();
    if (this.#newTables.size > 0) {
      file.sync();
      for (const index of this.#newTables) {
        const at = index * ENTRY_BYTES;
        file.write(header.l1Offset + at, new Uint8Array(this.#l1.buffer, at, ENTRY_BYTES));
      }
    }
    file.sync();
    this.#newTables.clear();
    this.#refcounts.applyReleases();
    // Without a barrier: should it be lost, clusters leak.
    this.#refcounts.writeOut();
  }

  /** Makes room for a disk of so many L1 entries. In force at once; the header's size is not changed. */
  growL1(entries: number): void {
    const { header, clusterBytes, file } = this.#image;
    if (entries <= header.l1Size) return;
    const clusters = Math.ceil((entries * ENTRY_BYTES) / clusterBytes);
    const first = this.#counts.allocateRun(clusters);
    this.commit();
    const bytes = new Uint8Array(clusters * clusterBytes);
    bytes.set(new Uint8Array(this.#l1.buffer));
    file.write(first * clusterBytes, bytes);
    file.sync();
    const old = { offset: header.l1Offset, clusters: Math.ceil((header.l1Size * ENTRY_BYTES) / clusterBytes) };
    this.#image.switchTables(() => {
      header.l1Offset = first * clusterBytes;
      header.l1Size = entries;
      this.#image.writeSizeAndL1();
      file.sync();
    });
    this.#l1 = new DataView(bytes.buffer, 0, entries * ENTRY_BYTES);
    this.#image.addMetadata(header.l1Offset, clusters);
    if (old.clusters === 0) return;
    this.#image.removeMetadata(old.offset, old.clusters);
    for (let index = 0; index < old.clusters; index++) this.#counts.release(old.offset / clusterBytes + index);
  }

  get #counts(): Refcounts {
    if (this.#refcounts === undefined) throw new Error('the image is only read');
    return this.#refcounts;
  }

  #addMetadata(): void {
    const { header, clusterBytes, metadata } = this.#image;
    const l1Clusters = Math.ceil((header.l1Size * ENTRY_BYTES) / clusterBytes);
    for (let index = 0; index < l1Clusters; index++) {
      if (metadata.has(header.l1Offset / clusterBytes + index))
        this.#image.fault('the L1 table overlaps another table');
    }
    this.#image.addMetadata(header.l1Offset, l1Clusters);
    for (let index = 0; index < header.l1Size; index++) {
      const offset = this.#l1Offset(index);
      if (offset === 0) continue;
      const cluster = this.#image.clusterAt(offset, 'an L2 table');
      if (metadata.has(cluster)) this.#image.fault('an L2 table overlaps another table');
      metadata.add(cluster);
    }
  }

  #entryAt(position: number): number {
    return (Math.floor(position / this.#image.clusterBytes) % this.#entriesPerTable) * ENTRY_BYTES;
  }

  #l1Index(position: number): number {
    return Math.floor(position / this.#image.clusterBytes / this.#entriesPerTable);
  }

  #l1Offset(index: number): number {
    const high = this.#l1.getUint32(index * ENTRY_BYTES);
    const low = this.#l1.getUint32(index * ENTRY_BYTES + 4);
    if ((high & COMPRESSED) !== 0 || hasReservedBits(high, low, 0x1ff))
      this.#image.fault('reserved bits of an L1 entry');
    return offsetOf(high, low);
  }

  #table(position: number): Table | undefined {
    const offset = this.#l1Offset(this.#l1Index(position));
    if (offset === 0) return undefined;
    this.#image.clusterAt(offset, 'an L2 table');
    return this.#cache.get(offset);
  }

  /** The table of a position, made when there is none. Without snapshots each is in use once. */
  #ownTable(position: number): Table {
    const index = this.#l1Index(position);
    const known = this.#table(position);
    if (known !== undefined) {
      const isCopied = this.#l1.getUint32(index * ENTRY_BYTES) >= COPIED;
      if (isCopied || this.#counts.get(known.offset / this.#image.clusterBytes) === 1) return known;
      return this.#image.fault('an L2 table is not in use exactly once');
    }
    const cluster = this.#counts.allocate();
    const offset = cluster * this.#image.clusterBytes;
    const table = this.#cache.create(offset);
    this.#image.metadata.add(cluster);
    this.#l1.setUint32(index * ENTRY_BYTES, Math.floor(offset / WORD) + COPIED);
    this.#l1.setUint32(index * ENTRY_BYTES + 4, offset % WORD);
    this.#newTables.add(index);
    return table;
  }

  #decodeStandard(high: number, low: number, mapping: Mapping): void {
    if (hasReservedBits(high, low, this.#image.header.version === 3 ? 0x1fe : 0x1ff))
      this.#image.fault('reserved bits of an L2 entry');
    const offset = offsetOf(high, low);
    if (offset !== 0) {
      const cluster = this.#image.clusterAt(offset, 'a cluster of data');
      if (this.#image.metadata.has(cluster)) this.#image.fault('a table is in use as data');
    }
    mapping.offset = offset;
    mapping.isCopied = high >= COPIED;
    if ((low & ZERO) !== 0) mapping.kind = 'zero';
    else if (offset !== 0) mapping.kind = 'standard';
  }

  #decodeCompressed(high: number, low: number, mapping: Mapping): void {
    const highBits = this.#compressedOffsetBits - 32;
    const offset = (high & (2 ** highBits - 1)) * WORD + low;
    const sectors = (high & 0x3fff_ffff) >>> highBits;
    const { clusterBytes, endCluster } = this.#image;
    if (offset < clusterBytes) this.#image.fault('compressed data overlap the header');
    if (offset >= endCluster * clusterBytes) this.#image.fault('compressed data leave the file');
    const size = (sectors + 1) * COMPRESSED_SECTOR_BYTES - (offset % COMPRESSED_SECTOR_BYTES);
    mapping.kind = 'compressed';
    mapping.offset = offset;
    // The last sectors may be behind the end of the file.
    mapping.compressedBytes = Math.min(size, endCluster * clusterBytes - offset);
  }

  #release(old: Mapping): void {
    const { clusterBytes } = this.#image;
    const first = Math.floor(old.offset / clusterBytes);
    const size = Math.max(1, old.compressedBytes);
    const last = Math.floor((old.offset + size - 1) / clusterBytes);
    for (let cluster = first; cluster <= last; cluster++) this.#counts.release(cluster);
  }
}
