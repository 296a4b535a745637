import { MemoryMapping } from '#memory/memory-mapping.ts';
import type { VolatileSlice } from '#memory/volatile-slice.ts';
import { assert } from '#util/assert.ts';
import { alignUp, isSize } from '#util/bits.ts';
import { checkGrowth, DiskError, type DiskFile, type DiskRange } from '../disk-file.ts';
import { IoVectors } from '../io-vectors.ts';
import { ClusterMap, createMapping, type Mapping } from './cluster-map.ts';
import { decompressCluster } from './compression.ts';
import { type Header, l1SizeFor, readHeader } from './header.ts';
import { Image } from './image.ts';
import type { ImageFile } from './image-file.ts';
import { ENTRY_BYTES, Incompatible, L1_BYTES_MAX } from './layout.ts';
import { Refcounts } from './refcounts.ts';

export interface Qcow2Options {
  readonly readOnly?: boolean;
  /** What lies below the image: the disk's from here on. Given exactly when the header names one. */
  readonly backing?: DiskFile | undefined;
}

/**
 * A qcow2 image, versions 2 and 3 (QEMU, docs/interop/qcow2). Not supported: encryption, external data, subclusters; writing
 * to an image with internal snapshots, or to one that is marked dirty or corrupt.
 */
export class Qcow2Disk implements DiskFile {
  readonly isReadOnly: boolean;
  onLengthChange: ((lengthBytes: number) => void) | undefined;
  readonly #image: Image;
  readonly #map: ClusterMap;
  readonly #refcounts: Refcounts | undefined;
  readonly #backing: DiskFile | undefined;
  readonly #mapping = createMapping();
  readonly #next = createMapping();
  /** Two clusters of our own: one that is being made, and one of zeros. */
  readonly #mapped: MemoryMapping;
  readonly #own: VolatileSlice;
  readonly #ownVectors: IoVectors;
  /** The part of a request that is transferred at once; of the memory of the requests. */
  #part: IoVectors | undefined;
  #isClosed = false;
  readonly #decompressed = { offset: 0, cluster: new Uint8Array() as Uint8Array };

  /** Takes over file and backing disk. Throws DiskError or SyscallError, and leaves both open then. */
  constructor(file: ImageFile, { readOnly = false, backing }: Qcow2Options = {}) {
    const header = readHeader(file);
    if (!readOnly) checkWritable(header);
    assert((backing !== undefined) === (header.backing !== undefined), 'a backing disk where the header names one');
    this.isReadOnly = readOnly;
    this.#image = new Image(file, header, readOnly);
    this.#refcounts = readOnly ? undefined : new Refcounts(this.#image);
    this.#map = new ClusterMap(this.#image, this.#refcounts);
    this.#backing = backing;
    this.#mapped = MemoryMapping.anonymous(alignUp(2 * this.#clusterBytes, 4096));
    this.#own = this.#mapped.slice(0, 2 * this.#clusterBytes);
    this.#ownVectors = new IoVectors(this.#own, 1);
    this.#image.isOpen = true;
  }

  /** Judges an image as opening it would, and changes nothing. Throws DiskError or SyscallError. */
  static inspect(file: ImageFile, readOnly: boolean): Header {
    const header = readHeader(file);
    if (readOnly) return header;
    checkWritable(header);
    const image = new Image(file, header, readOnly);
    new ClusterMap(image, new Refcounts(image));
    return header;
  }

  get lengthBytes(): number {
    return this.#image.header.sizeBytes;
  }

  keepFds(): readonly number[] {
    return [...this.#image.file.keepFds(), ...(this.#backing?.keepFds() ?? [])];
  }

  readAt(offset: number, target: IoVectors): void {
    this.#check(offset, target.sizeBytes);
    for (let position = offset; target.sizeBytes > 0; ) {
      const size = this.#lookUpRun(position, target.sizeBytes);
      const part = this.#take(target, size);
      this.#readRun(position, part);
      position += size;
    }
  }

  writeAt(offset: number, source: IoVectors): void {
    this.#beginChange(offset, source.sizeBytes);
    for (let position = offset; source.sizeBytes > 0; ) {
      const size = this.#lookUpRun(position, source.sizeBytes);
      const part = this.#take(source, size);
      if (this.#isOwn(this.#mapping) && this.#mapping.kind === 'standard')
        this.#image.file.writeVectors(this.#mapping.offset + (position % this.#clusterBytes), part);
      else this.#writeNew(position, part);
      position += size;
    }
  }

  flush(): void {
    if (this.isReadOnly) return;
    if (this.#image.isCorrupt)
      throw new DiskError('BAD_IMAGE', 'qcow2: the image is damaged: nothing is written to it');
    this.#map.commit();
  }

  discard(range: DiskRange): void {
    this.#beginChange(range.offset, range.sizeBytes);
    const { version } = this.#image.header;
    // Version 2 cannot say that a cluster hides the one below, so it stays.
    if (this.#backing !== undefined && version === 2) return;
    this.#forEachCluster(range, (position, sizeBytes) => {
      if (!this.#isWhole(position, sizeBytes)) return;
      this.#map.lookUp(position, this.#mapping);
      this.#clear(position, this.#mapping);
    });
  }

  writeZeroes(range: DiskRange, mayUnmap: boolean): void {
    this.#beginChange(range.offset, range.sizeBytes);
    this.#forEachCluster(range, (position, sizeBytes) => {
      const start = position - (position % this.#clusterBytes);
      this.#map.lookUp(start, this.#mapping);
      if (this.#readsAsZero(this.#mapping)) return;
      if (this.#isWhole(position, sizeBytes) && this.#zeroCluster(position, mayUnmap)) return;
      const zeroes = this.#ownVectors;
      zeroes.clear();
      zeroes.push(this.#clusterBytes, sizeBytes);
      this.#writeOwn(position, zeroes);
    });
  }

  grow(lengthBytes: number): void {
    const { header } = this.#image;
    this.#beginChange(0, 0);
    checkGrowth(header.sizeBytes, lengthBytes);
    if (lengthBytes === header.sizeBytes) return;
    const l1Size = l1SizeFor(lengthBytes, header.clusterBits);
    if (l1Size * ENTRY_BYTES > L1_BYTES_MAX) throw new DiskError('FULL', 'qcow2: the disk would be too large');
    const before = header.sizeBytes;
    const backingBytes = this.#backing?.lengthBytes ?? 0;
    if (backingBytes > before && header.version === 2)
      throw new DiskError('UNSUPPORTED', 'qcow2: a longer disk would show more of the backing file');
    // What lies in the last cluster or below behind the old end was no part of the disk.
    const clearEnd = Math.min(lengthBytes, Math.max(backingBytes, alignUp(before, this.#clusterBytes)));
    this.#map.growL1(l1Size);
    header.sizeBytes = lengthBytes;
    try {
      if (clearEnd > before) this.writeZeroes({ offset: before, sizeBytes: clearEnd - before }, true);
      this.#map.commit();
      this.#image.writeSizeAndL1();
      this.#image.file.sync();
    } catch (error) {
      header.sizeBytes = before;
      throw error;
    }
    this.onLengthChange?.(lengthBytes);
  }

  /** Writes what waits in memory, if it can be, and closes file and backing disk. */
  [Symbol.dispose](): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    using stack = new DisposableStack();
    if (this.#backing !== undefined) stack.use(this.#backing);
    stack.use(this.#image.file);
    stack.defer(() => this.#mapped.close());
    if (!this.isReadOnly && !this.#image.isCorrupt) this.#map.commit();
  }

  get #clusterBytes(): number {
    return this.#image.clusterBytes;
  }

  /** Sets the mapping at a position, and returns how much of `sizeBytes` lies in the file or below it in a row. */
  #lookUpRun(position: number, sizeBytes: number): number {
    const clusterBytes = this.#clusterBytes;
    const mapping = this.#mapping;
    this.#map.lookUp(position, mapping);
    let size = Math.min(sizeBytes, clusterBytes - (position % clusterBytes));
    if (mapping.kind !== 'standard') return size;
    const next = this.#next;
    for (let clusters = 1; size < sizeBytes; clusters++) {
      this.#map.lookUp(position + size, next);
      const goesOn = next.kind === 'standard' && next.offset === mapping.offset + clusters * clusterBytes;
      if (!goesOn || next.isCopied !== mapping.isCopied) break;
      size = Math.min(sizeBytes, size + clusterBytes);
    }
    return size;
  }

  /** The memory of requests is one for all, but for our own. */
  #take(source: IoVectors, sizeBytes: number): IoVectors {
    let part = this.#part;
    if (part === undefined || part.memory !== source.memory || part.capacity < source.capacity) {
      part = new IoVectors(source.memory, source.capacity);
      this.#part = part;
    }
    part.takeFrom(source, sizeBytes);
    return part;
  }

  /** `target` is the part that has the mapping which was looked up. */
  #readRun(position: number, target: IoVectors): void {
    const { kind, offset } = this.#mapping;
    const inCluster = position % this.#clusterBytes;
    if (kind === 'standard') this.#image.file.readVectors(offset + inCluster, target);
    else if (kind === 'zero') target.fillZero();
    else if (kind === 'unallocated') this.#readBacking(position, target);
    else {
      const cluster = this.#decompress(this.#mapping);
      target.fillFrom(cluster.subarray(inCluster, inCluster + target.sizeBytes));
    }
  }

  #readBacking(position: number, target: IoVectors): void {
    const available = (this.#backing?.lengthBytes ?? 0) - position;
    if (this.#backing === undefined || available <= 0) target.fillZero();
    else if (available >= target.sizeBytes) this.#backing.readAt(position, target);
    else {
      const below = new IoVectors(target.memory, target.capacity);
      below.takeFrom(target, available);
      this.#backing.readAt(position, below);
      target.fillZero();
    }
  }

  #decompress({ offset, compressedBytes }: Mapping): Uint8Array {
    const cache = this.#decompressed;
    if (cache.offset !== offset) {
      const source = new Uint8Array(compressedBytes);
      this.#image.file.read(offset, source);
      cache.offset = 0;
      cache.cluster = decompressCluster(source, this.#clusterBytes, this.#image.header.compression);
      cache.offset = offset;
    }
    return cache.cluster;
  }

  /** Whether a cluster of the file may be written in place. */
  #isOwn({ kind, offset, isCopied }: Mapping): boolean {
    if (offset === 0 || kind === 'compressed') return false;
    if (isCopied) return true;
    const count = this.#refcounts?.get(offset / this.#clusterBytes);
    return count === 0 ? this.#image.fault('a cluster in use has the reference count 0') : count === 1;
  }

  /** Writes where there is no cluster of the file yet that may be written as it is. `source` may be of several clusters. */
  #writeNew(position: number, source: IoVectors): void {
    const rest = source;
    if (rest.sizeBytes <= this.#clusterBytes - (position % this.#clusterBytes)) {
      this.#writeCluster(position, rest);
      return;
    }
    const one = new IoVectors(rest.memory, rest.capacity);
    for (let at = position; rest.sizeBytes > 0; ) {
      const size = Math.min(rest.sizeBytes, this.#clusterBytes - (at % this.#clusterBytes));
      one.takeFrom(rest, size);
      this.#map.lookUp(at, this.#mapping);
      this.#writeCluster(at, one);
      at += size;
    }
  }

  #writeOwn(position: number, source: IoVectors): void {
    this.#map.lookUp(position, this.#mapping);
    if (this.#mapping.kind === 'standard' && this.#isOwn(this.#mapping))
      this.#image.file.writeVectors(this.#mapping.offset + (position % this.#clusterBytes), source);
    else this.#writeCluster(position, source);
  }

  /** Gives the cluster that was looked up a place of its own: what is around the data is written first, the entry last. */
  #writeCluster(position: number, source: IoVectors): void {
    const { file } = this.#image;
    const clusterBytes = this.#clusterBytes;
    const before = position % clusterBytes;
    const after = before + source.sizeBytes;
    const old = { ...this.#mapping };
    const keepsPlace = old.kind === 'zero' && this.#isOwn(old);
    const refcounts = this.#writableCounts;
    const offset = keepsPlace ? old.offset : refcounts.allocate() * clusterBytes;
    try {
      const isFresh = !keepsPlace && refcounts.isFresh;
      if (source.sizeBytes < clusterBytes && !(isFresh && this.#readsAsZero(old))) {
        this.#mapping.kind = old.kind;
        this.#fillOwn(position - before, old);
        if (before > 0) file.writeVectors(offset, this.#ownPart(0, before));
        if (after < clusterBytes) file.writeVectors(offset + after, this.#ownPart(after, clusterBytes - after));
      }
      file.writeVectors(offset + before, source);
      this.#map.set(position, old, { offset, isZero: false });
    } catch (error) {
      if (!keepsPlace && !this.#image.isCorrupt) refcounts.release(offset / clusterBytes);
      throw error;
    }
  }

  /** The content of a cluster that begins at `start`, in memory of our own. */
  #fillOwn(start: number, mapping: Mapping): void {
    const target = this.#ownPart(0, this.#clusterBytes);
    Object.assign(this.#mapping, mapping);
    this.#readRun(start, target);
  }

  #ownPart(start: number, sizeBytes: number): IoVectors {
    this.#ownVectors.clear();
    this.#ownVectors.push(start, sizeBytes);
    return this.#ownVectors;
  }

  get #writableCounts(): Refcounts {
    assert(this.#refcounts !== undefined, 'an image that is written');
    return this.#refcounts;
  }

  #readsAsZero({ kind }: Mapping): boolean {
    return kind === 'zero' || (kind === 'unallocated' && this.#backing === undefined);
  }

  /** False when the format cannot say it. */
  #zeroCluster(position: number, mayUnmap: boolean): boolean {
    const mapping = this.#mapping;
    const hasFlag = this.#image.header.version === 3;
    if (hasFlag && !mayUnmap && this.#isOwn(mapping)) {
      this.#map.set(position, mapping, { offset: mapping.offset, isZero: true });
      return true;
    }
    if (!hasFlag && (this.#backing !== undefined || !mayUnmap)) return false;
    this.#clear(position, mapping);
    return true;
  }

  /** The cluster reads as zeros and has no place. */
  #clear(position: number, mapping: Mapping): void {
    if (mapping.kind === 'unallocated' && this.#backing === undefined) return;
    if (mapping.kind === 'zero' && mapping.offset === 0) return;
    this.#map.set(position, mapping, { offset: 0, isZero: this.#backing !== undefined });
  }

  /** Whether a part of a cluster is all of it that the disk has. */
  #isWhole(position: number, sizeBytes: number): boolean {
    if (position % this.#clusterBytes !== 0) return false;
    return sizeBytes === Math.min(this.#clusterBytes, this.lengthBytes - position);
  }

  #forEachCluster({ offset, sizeBytes }: DiskRange, visit: (position: number, sizeBytes: number) => void): void {
    const end = offset + sizeBytes;
    for (let position = offset; position < end; ) {
      // Where nothing lies below, a disk of terabytes is passed in large steps.
      const empty = this.#backing === undefined ? this.#map.emptyBytes(position) : 0;
      if (empty > 0) {
        position += empty;
        continue;
      }
      const size = Math.min(end - position, this.#clusterBytes - (position % this.#clusterBytes));
      visit(position, size);
      position += size;
    }
  }

  #check(offset: number, sizeBytes: number): void {
    const length = this.lengthBytes;
    if (isSize(offset) && isSize(sizeBytes) && sizeBytes <= length - offset) return;
    throw new DiskError('OUT_OF_RANGE', `${sizeBytes} bytes at ${offset} leave a disk of ${length}`);
  }

  #beginChange(offset: number, sizeBytes: number): void {
    if (this.isReadOnly) throw new DiskError('READ_ONLY', 'the disk is open for reading');
    this.#check(offset, sizeBytes);
    this.#image.beginChange();
  }
}

function checkWritable({ incompatible, snapshotCount }: Header): void {
  const advice = 'it can be read, or mended with qemu-img check -r all';
  if ((incompatible & Incompatible.CORRUPT) !== 0)
    throw new DiskError('UNSUPPORTED', `qcow2: the image is marked corrupt: ${advice}`);
  if ((incompatible & Incompatible.DIRTY) !== 0)
    throw new DiskError('UNSUPPORTED', `qcow2: the image is marked dirty: ${advice}`);
  if (snapshotCount > 0)
    throw new DiskError('UNSUPPORTED', 'qcow2: the image has internal snapshots: it can only be read');
}
