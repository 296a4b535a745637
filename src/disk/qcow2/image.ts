import { viewOf } from '#util/struct.ts';
import { DiskError } from '../disk-file.ts';
import type { Header } from './header.ts';
import type { ImageFile } from './image-file.ts';
import { ENTRY_BYTES, HeaderField, Incompatible, writeU64 } from './layout.ts';

/** What the parts of an open image share: file, header, and what is known of its clusters. */
export class Image {
  readonly file: ImageFile;
  readonly header: Header;
  readonly isReadOnly: boolean;
  readonly clusterBytes: number;
  /** Clusters from here on are in no use, and the file has nothing there. */
  endCluster: number;
  /** Damage was found: nothing is written any more. */
  isCorrupt = false;
  /** The clusters of tables, by number. Made before the first write: no data may be written there. */
  readonly metadata = new Set<number>();
  /** From then on damage is marked in the file. */
  isOpen = false;
  #mayWrite = false;

  constructor(file: ImageFile, header: Header, isReadOnly: boolean) {
    this.file = file;
    this.header = header;
    this.isReadOnly = isReadOnly;
    this.clusterBytes = 2 ** header.clusterBits;
    this.endCluster = Math.ceil(file.lengthBytes / this.clusterBytes);
  }

  /** Reports damage. A writable image is marked, so that nobody writes to it before it is mended. */
  fault(message: string): never {
    if (!this.isReadOnly && this.isOpen && !this.isCorrupt) {
      this.isCorrupt = true;
      if (this.header.version === 3) {
        this.header.incompatible |= Incompatible.CORRUPT;
        this.#writeU64(HeaderField.incompatible, this.header.incompatible);
      }
    }
    throw new DiskError('BAD_IMAGE', `qcow2: the image is damaged: ${message}`);
  }

  /** Precedes every change. Autoclear features are of those who know them: their bits go before anything is changed. */
  beginChange(): void {
    if (this.isCorrupt) throw new DiskError('BAD_IMAGE', 'qcow2: the image is damaged: nothing is written to it');
    if (this.#mayWrite) return;
    if (this.header.hasAutoclear) {
      this.#writeU64(HeaderField.autoclear, 0);
      this.file.sync();
      this.header.hasAutoclear = false;
    }
    this.#mayWrite = true;
  }

  /** Moves a table that the header points to. A failure leaves open which one is in force: nothing more is written then. */
  switchTables(move: () => void): void {
    const wasCorrupt = this.isCorrupt;
    this.isCorrupt = true;
    move();
    this.isCorrupt = wasCorrupt;
  }

  /** Reads a table of the header's, checked against the file already. */
  readTable(offset: number, entries: number): DataView<ArrayBuffer> {
    const bytes = new Uint8Array(entries * ENTRY_BYTES);
    if (entries > 0) this.file.read(offset, bytes);
    return viewOf(bytes);
  }

  /** An offset of the image as the number of a cluster of the file. A fault when it can be none. */
  clusterAt(offset: number, what: string): number {
    const cluster = offset / this.clusterBytes;
    if (!Number.isInteger(cluster)) this.fault(`${what} is not at a cluster`);
    if (cluster === 0) this.fault(`${what} overlaps the header`);
    if (cluster >= this.endCluster) this.fault(`${what} leaves the file`);
    return cluster;
  }

  addMetadata(offset: number, clusters: number): void {
    const first = offset / this.clusterBytes;
    for (let cluster = first; cluster < first + clusters; cluster++) this.metadata.add(cluster);
  }

  removeMetadata(offset: number, clusters: number): void {
    const first = offset / this.clusterBytes;
    for (let cluster = first; cluster < first + clusters; cluster++) this.metadata.delete(cluster);
  }

  /** Size and L1 table change together: the fields lie in one sector. */
  writeSizeAndL1(): void {
    const { sizeBytes, l1Size, l1Offset } = this.header;
    const view = new DataView(new ArrayBuffer(HeaderField.refcountTableOffset - HeaderField.size));
    writeU64(view, 0, sizeBytes);
    view.setUint32(HeaderField.l1Size - HeaderField.size, l1Size);
    writeU64(view, HeaderField.l1Offset - HeaderField.size, l1Offset);
    this.file.write(HeaderField.size, new Uint8Array(view.buffer));
  }

  /** The fields lie in one sector. */
  writeRefcountTable(): void {
    const view = new DataView(new ArrayBuffer(12));
    writeU64(view, 0, this.header.refcountTableOffset);
    view.setUint32(8, this.header.refcountTableClusters);
    this.file.write(HeaderField.refcountTableOffset, new Uint8Array(view.buffer));
  }

  #writeU64(at: number, value: number): void {
    const view = new DataView(new ArrayBuffer(8));
    writeU64(view, 0, value);
    this.file.write(at, new Uint8Array(view.buffer));
  }
}
