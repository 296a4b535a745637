/** Reference counts of clusters, and the allocation that follows from them. QEMU, docs/interop/qcow2, "Host cluster management". */
import { MiB } from '#util/bits.ts';
import { DiskError } from '../disk-file.ts';
import type { Image } from './image.ts';
import { ENTRY_BYTES, REFCOUNT_TABLE_BYTES_MAX, readU64, writeU64 } from './layout.ts';
import { TableCache } from './table-cache.ts';

const CACHE_BYTES = 2 * MiB;
const CACHE_TABLES_MIN = 4;
const CACHE_TABLES_MAX = 512;
/** Empty entries of the table that one allocation steps over while it looks for a free cluster. */
const EMPTY_STEPS_MAX = 64;
/** Behind the end of the file some clusters may be taken by what a crash left. */
const END_STEPS_MAX = 1 << 20;

/** The count at an index of a block whose counts are 2^order bits wide; 2^53 or more reads as the nearest double. */
export function getRefcount(view: DataView, order: number, index: number): number {
  if (order === 6) return readU64(view, index * 8);
  if (order === 5) return view.getUint32(index * 4);
  if (order === 4) return view.getUint16(index * 2);
  if (order === 3) return view.getUint8(index);
  // Narrower counts begin at a byte's least bit.
  const perByteBits = 3 - order;
  const shift = (index & ((1 << perByteBits) - 1)) << order;
  return (view.getUint8(index >> perByteBits) >> shift) & ((1 << (1 << order)) - 1);
}

export function setRefcount(view: DataView, order: number, entry: { index: number; count: number }): void {
  const { index, count } = entry;
  if (order === 6) writeU64(view, index * 8, count);
  else if (order === 5) view.setUint32(index * 4, count);
  else if (order === 4) view.setUint16(index * 2, count);
  else if (order === 3) view.setUint8(index, count);
  else {
    const perByteBits = 3 - order;
    const shift = (index & ((1 << perByteBits) - 1)) << order;
    const mask = ((1 << (1 << order)) - 1) << shift;
    const at = index >> perByteBits;
    view.setUint8(at, (view.getUint8(at) & ~mask) | (count << shift));
  }
}

/**
 * Counts go up at once, in memory; they are on the medium before anything there refers to the cluster. They go down only when
 * nothing on the medium refers to it any more. A crash in between leaves clusters that nobody uses, no worse.
 */
export class Refcounts {
  readonly #image: Image;
  readonly #order: number;
  /** Counts of one block. */
  readonly #perBlock: number;
  readonly #cache: TableCache;
  #table: DataView<ArrayBuffer>;
  /** Entries of the table whose blocks are new. */
  readonly #newEntries = new Set<number>();
  /** Clusters to count down by one each, when the medium agrees. */
  #released: number[] = [];
  /** Below it no cluster is free, as far as is known. */
  #cursor = 1;
  /** The cluster that was allocated last had never been written: it reads as zeros. */
  isFresh = false;

  constructor(image: Image) {
    this.#image = image;
    const { header, clusterBytes, file } = image;
    this.#order = header.refcountOrder;
    this.#perBlock = (clusterBytes * 8) / 2 ** header.refcountOrder;
    const entries = (header.refcountTableClusters * clusterBytes) / ENTRY_BYTES;
    this.#table = image.readTable(header.refcountTableOffset, entries);
    this.#cache = new TableCache({
      file,
      tableBytes: clusterBytes,
      capacity: Math.min(CACHE_TABLES_MAX, Math.max(CACHE_TABLES_MIN, CACHE_BYTES / clusterBytes)),
      // Counts that went up early are leaks at worst.
      relieve: () => this.#cache.writeDirty(),
    });
    image.addMetadata(0, 1);
    image.addMetadata(header.refcountTableOffset, header.refcountTableClusters);
    for (let index = 0; index < entries; index++) {
      const offset = this.#blockOffset(index);
      if (offset !== 0) this.#addBlock(offset);
    }
  }

  get hasDirty(): boolean {
    return this.#cache.hasDirty || this.#newEntries.size > 0 || this.#released.length > 0;
  }

  get releasedCount(): number {
    return this.#released.length;
  }

  get(cluster: number): number {
    const index = Math.floor(cluster / this.#perBlock);
    if (index >= this.#entries) return 0;
    const offset = this.#blockOffset(index);
    if (offset === 0) return 0;
    return getRefcount(this.#cache.get(offset).view, this.#order, cluster % this.#perBlock);
  }

  /** The number of a cluster that is the caller's, count 1. Throws DiskError (FULL, BAD_IMAGE). */
  allocate(): number {
    const cluster = this.#findFree() ?? this.#takeEnd();
    this.#set(cluster, 1);
    return cluster;
  }

  /** The first of as many clusters in a row, which were never written. */
  allocateRun(count: number): number {
    for (let first = this.#takeEnd(), found = 1; ; ) {
      if (found === count) {
        for (let cluster = first; cluster < first + count; cluster++) this.#set(cluster, 1);
        return first;
      }
      const next = this.#takeEnd();
      if (next === first + found) found += 1;
      else {
        first = next;
        found = 1;
      }
    }
  }

  /** Counts a cluster down by one, once that is safe. */
  release(cluster: number): void {
    if (this.#image.metadata.has(cluster)) this.#image.fault('a table is in use as data');
    this.#released.push(cluster);
  }

  /** Writes the counts that went up. They are on the medium after the next sync, and not before. */
  writeOut(): void {
    this.#cache.writeDirty();
    if (this.#newEntries.size === 0) return;
    // An entry must not point to a block that is not there yet.
    this.#image.file.sync();
    const { refcountTableOffset } = this.#image.header;
    for (const index of this.#newEntries) {
      const at = index * ENTRY_BYTES;
      this.#image.file.write(refcountTableOffset + at, new Uint8Array(this.#table.buffer, at, ENTRY_BYTES));
    }
    this.#newEntries.clear();
  }

  /** Nothing on the medium refers to the released clusters any more. */
  applyReleases(): void {
    const released = this.#released;
    this.#released = [];
    for (const cluster of released) {
      const count = this.get(cluster);
      if (count === 0) this.#image.fault('a cluster in use has the reference count 0');
      this.#set(cluster, count - 1);
      if (count > 1) continue;
      this.#cursor = Math.min(this.#cursor, cluster);
      this.#image.file.punch(cluster * this.#image.clusterBytes, this.#image.clusterBytes);
    }
  }

  get #entries(): number {
    return this.#table.byteLength / ENTRY_BYTES;
  }

  #blockOffset(index: number): number {
    return readU64(this.#table, index * ENTRY_BYTES);
  }

  #addBlock(offset: number): void {
    const cluster = this.#image.clusterAt(offset, 'a refcount block');
    if (this.#image.metadata.has(cluster)) this.#image.fault('a refcount block overlaps another table');
    this.#image.metadata.add(cluster);
  }

  #set(cluster: number, count: number): void {
    const table = this.#cache.get(this.#blockOffset(Math.floor(cluster / this.#perBlock)));
    setRefcount(table.view, this.#order, { index: cluster % this.#perBlock, count });
    this.#cache.markDirty(table);
  }

  /** A free cluster inside of the file. Looks at one block at most: the search goes on with the next allocation. */
  #findFree(): number | undefined {
    const end = Math.min(this.#image.endCluster, this.#entries * this.#perBlock);
    for (let steps = 0; this.#cursor < end && steps < EMPTY_STEPS_MAX; steps++) {
      const index = Math.floor(this.#cursor / this.#perBlock);
      const start = index * this.#perBlock;
      const blockEnd = Math.min(end, start + this.#perBlock);
      const offset = this.#blockOffset(index);
      if (offset === 0) {
        this.#cursor = blockEnd;
        continue;
      }
      const { view } = this.#cache.get(offset);
      while (this.#cursor < blockEnd && getRefcount(view, this.#order, this.#cursor - start) !== 0) this.#cursor++;
      if (this.#cursor === blockEnd) return undefined;
      const cluster = this.#cursor++;
      if (this.#image.metadata.has(cluster)) this.#image.fault('a table has the reference count 0');
      this.isFresh = false;
      return cluster;
    }
    return undefined;
  }

  /** The next cluster behind the end that has a block to be counted in, and the count 0. */
  #takeEnd(): number {
    this.isFresh = true;
    for (let steps = 0; steps < END_STEPS_MAX; steps++) {
      const cluster = this.#image.endCluster;
      const index = Math.floor(cluster / this.#perBlock);
      if (index >= this.#entries) {
        this.#growTable();
        continue;
      }
      this.#image.endCluster += 1;
      if (this.#blockOffset(index) === 0) this.#createBlock(index, cluster);
      else if (this.get(cluster) === 0) return cluster;
    }
    return this.#image.fault('reference counts far behind the end of the file');
  }

  /** A new block counts itself, so that block and count come into force with one entry of the table. */
  #createBlock(index: number, cluster: number): void {
    const offset = cluster * this.#image.clusterBytes;
    const { view } = this.#cache.create(offset);
    setRefcount(view, this.#order, { index: cluster % this.#perBlock, count: 1 });
    writeU64(this.#table, index * ENTRY_BYTES, offset);
    this.#newEntries.add(index);
    this.#image.metadata.add(cluster);
  }

  /** A longer table behind the end, with the blocks that count it and themselves; the header's switch brings all into force. */
  #growTable(): void {
    const { header, clusterBytes, file, endCluster: base } = this.#image;
    const firstBlock = Math.floor(base / this.#perBlock);
    const { blocks, tableClusters } = this.#sizesOfGrowth(base);
    const old = { offset: header.refcountTableOffset, clusters: header.refcountTableClusters };
    const bytes = new Uint8Array(tableClusters * clusterBytes);
    bytes.set(new Uint8Array(this.#table.buffer));
    const table = new DataView(bytes.buffer);
    const end = base + blocks + tableClusters;
    this.#image.endCluster = end;
    this.#image.switchTables(() => {
      for (let block = 0; block < blocks; block++) {
        const offset = (base + block) * clusterBytes;
        const start = (firstBlock + block) * this.#perBlock;
        const { view } = this.#cache.create(offset);
        for (let cluster = Math.max(start, base); cluster < Math.min(end, start + this.#perBlock); cluster++)
          setRefcount(view, this.#order, { index: cluster - start, count: 1 });
        writeU64(table, (firstBlock + block) * ENTRY_BYTES, offset);
      }
      this.#cache.writeDirty();
      file.write((base + blocks) * clusterBytes, bytes);
      file.sync();
      header.refcountTableOffset = (base + blocks) * clusterBytes;
      header.refcountTableClusters = tableClusters;
      this.#image.writeRefcountTable();
      file.sync();
    });
    this.#table = table;
    this.#newEntries.clear();
    this.#image.addMetadata(base * clusterBytes, blocks + tableClusters);
    this.#image.removeMetadata(old.offset, old.clusters);
    for (let index = 0; index < old.clusters; index++) this.release(old.offset / clusterBytes + index);
  }

  /** A table at least twice as long, and the blocks for the clusters from `base` on that both take. */
  #sizesOfGrowth(base: number): { blocks: number; tableClusters: number } {
    const { header, clusterBytes } = this.#image;
    const firstBlock = Math.floor(base / this.#perBlock);
    let tableClusters = 2 * header.refcountTableClusters;
    let blocks = 1;
    for (;;) {
      if (tableClusters * clusterBytes > REFCOUNT_TABLE_BYTES_MAX)
        throw new DiskError('FULL', 'qcow2: the refcount table cannot grow any more');
      const blocksNeeded = Math.floor((base + blocks + tableClusters - 1) / this.#perBlock) - firstBlock + 1;
      const tableNeeded = Math.ceil(((firstBlock + blocks) * ENTRY_BYTES) / clusterBytes);
      if (blocksNeeded <= blocks && tableNeeded <= tableClusters) return { blocks, tableClusters };
      blocks = Math.max(blocks, blocksNeeded);
      tableClusters = Math.max(tableClusters, tableNeeded);
    }
  }
}
