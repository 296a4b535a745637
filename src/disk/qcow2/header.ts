/** The header of a qcow2 image: read, judged, made. QEMU, docs/interop/qcow2, "Header". */
import { isSize } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { DiskError } from '../disk-file.ts';
import type { ImageFile } from './image-file.ts';
import {
  BACKING_NAME_BYTES_MAX,
  CLUSTER_BITS_MAX,
  CLUSTER_BITS_MIN,
  ENTRY_BYTES,
  Extension,
  HEADER_V2_BYTES,
  HEADER_V3_BYTES,
  HeaderField,
  Incompatible,
  L1_BYTES_MAX,
  MAGIC,
  REFCOUNT_ORDER_MAX,
  REFCOUNT_ORDER_V2,
  REFCOUNT_TABLE_BYTES_MAX,
  readU64,
} from './layout.ts';

export const BACKING_FORMATS = ['raw', 'qcow2'] as const;
export type ImageFormat = (typeof BACKING_FORMATS)[number];

export interface Backing {
  /** As it stands in the image. */
  readonly name: string;
  readonly format: ImageFormat;
}

/** What a header says, once it is known to be true of the file. Offsets and sizes are in bytes. */
export interface Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  sizeBytes: number;
  l1Size: number;
  l1Offset: number;
  refcountTableOffset: number;
  refcountTableClusters: number;
  readonly refcountOrder: number;
  readonly snapshotCount: number;
  incompatible: number;
  /** Any of the 64 bits is set. */
  hasAutoclear: boolean;
  readonly compression: 'deflate' | 'zstd';
  readonly backing: Backing | undefined;
}

const bad = (message: string): DiskError => new DiskError('BAD_IMAGE', `qcow2: ${message}`);
const unsupported = (message: string): DiskError => new DiskError('UNSUPPORTED', `qcow2: not supported: ${message}`);

export function isQcow2(start: Uint8Array): boolean {
  return start.length >= 4 && viewOf(start).getUint32(0) === MAGIC;
}

/** The least number of L1 entries for a disk. */
export function l1SizeFor(sizeBytes: number, clusterBits: number): number {
  return Math.ceil(sizeBytes / 2 ** (2 * clusterBits - 3));
}

/** Reads and judges the header and its extensions. Throws DiskError (BAD_IMAGE, UNSUPPORTED) or SyscallError. */
export function readHeader(file: ImageFile): Header {
  const start = new Uint8Array(HEADER_V3_BYTES + 8);
  file.read(0, start);
  if (!isQcow2(start)) throw bad('the magic number is missing');
  const view = viewOf(start);
  const version = view.getUint32(HeaderField.version);
  if (version !== 2 && version !== 3) throw unsupported(`version ${version}`);
  const clusterBits = view.getUint32(HeaderField.clusterBits);
  if (clusterBits < CLUSTER_BITS_MIN || clusterBits > CLUSTER_BITS_MAX) throw bad(`cluster bits of ${clusterBits}`);
  const crypt = view.getUint32(HeaderField.cryptMethod);
  if (crypt !== 0) throw unsupported('encryption');
  const cluster = new Uint8Array(2 ** clusterBits);
  file.read(0, cluster);
  const features = readFeatures(viewOf(cluster), version);
  const header: Header = {
    version,
    clusterBits,
    sizeBytes: readU64(view, HeaderField.size),
    l1Size: view.getUint32(HeaderField.l1Size),
    l1Offset: readU64(view, HeaderField.l1Offset),
    refcountTableOffset: readU64(view, HeaderField.refcountTableOffset),
    refcountTableClusters: view.getUint32(HeaderField.refcountTableClusters),
    refcountOrder: features.refcountOrder,
    snapshotCount: view.getUint32(HeaderField.snapshotCount),
    incompatible: features.incompatible,
    hasAutoclear: features.hasAutoclear,
    compression: features.compression,
    backing: readBacking(cluster, features.headerLength),
  };
  checkTables(header, file.lengthBytes);
  return header;
}

function readFeatures(view: DataView, version: 2 | 3) {
  if (version === 2) {
    const rest = { incompatible: 0, hasAutoclear: false, compression: 'deflate' as const };
    return { headerLength: HEADER_V2_BYTES, refcountOrder: REFCOUNT_ORDER_V2, ...rest };
  }
  const headerLength = view.getUint32(HeaderField.headerLength);
  if (headerLength < HEADER_V3_BYTES || headerLength % 8 !== 0 || headerLength > view.byteLength)
    throw bad(`a header length of ${headerLength}`);
  const incompatible = view.getUint32(HeaderField.incompatible + 4);
  const { EXTERNAL_DATA, EXTENDED_L2, DIRTY, CORRUPT, COMPRESSION_TYPE } = Incompatible;
  if ((incompatible & EXTERNAL_DATA) !== 0) throw unsupported('an external data file');
  if ((incompatible & EXTENDED_L2) !== 0) throw unsupported('extended L2 entries (subclusters)');
  const unknown = (incompatible & ~(DIRTY | CORRUPT | COMPRESSION_TYPE)) >>> 0;
  const unknownHigh = view.getUint32(HeaderField.incompatible);
  if (unknown !== 0 || unknownHigh !== 0) {
    const bit = unknown !== 0 ? 31 - Math.clz32(unknown & -unknown) : 63 - Math.clz32(unknownHigh & -unknownHigh);
    throw unsupported(`incompatible feature bit ${bit}`);
  }
  const refcountOrder = view.getUint32(HeaderField.refcountOrder);
  if (refcountOrder > REFCOUNT_ORDER_MAX) throw bad(`a refcount order of ${refcountOrder}`);
  const type = headerLength > HeaderField.compressionType ? view.getUint8(HeaderField.compressionType) : 0;
  const hasType = (incompatible & COMPRESSION_TYPE) !== 0;
  if (hasType !== (type !== 0)) throw bad('the compression type contradicts its feature bit');
  if (type > 1) throw unsupported(`compression type ${type}`);
  const hasAutoclear = readU64(view, HeaderField.autoclear) !== 0;
  return {
    headerLength,
    refcountOrder,
    incompatible,
    hasAutoclear,
    compression: type === 1 ? ('zstd' as const) : ('deflate' as const),
  };
}

/** The extensions lie behind the header, and the backing file's name behind them, all in the first cluster. */
function readBacking(cluster: Uint8Array<ArrayBuffer>, headerLength: number): Backing | undefined {
  const view = viewOf(cluster);
  const nameOffset = readU64(view, HeaderField.backingOffset);
  const end = nameOffset === 0 ? cluster.length : Math.min(nameOffset, cluster.length);
  const format = readBackingFormat(cluster, headerLength, end);
  if (nameOffset === 0) return undefined;
  const size = view.getUint32(HeaderField.backingSize);
  if (size === 0 || size > BACKING_NAME_BYTES_MAX) throw bad(`a backing file name of ${size} bytes`);
  if (nameOffset < headerLength || nameOffset > cluster.length - size)
    throw bad("the backing file's name leaves the first cluster");
  const name = decodeText(cluster.subarray(nameOffset, nameOffset + size));
  if (name === undefined) throw bad("the backing file's name is no text");
  if (format === undefined) throw unsupported('a backing file whose format is not stated');
  const known = BACKING_FORMATS.find((candidate) => candidate === format);
  if (known === undefined) throw unsupported(`a backing file of format ${JSON.stringify(format)}`);
  return { name, format: known };
}

function readBackingFormat(cluster: Uint8Array<ArrayBuffer>, start: number, end: number): string | undefined {
  const view = viewOf(cluster);
  let format: string | undefined;
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at);
    if (type === Extension.END) return format;
    const size = view.getUint32(at + 4);
    if (size > end - at - 8) throw bad(`a header extension of ${size} bytes leaves its place`);
    if (type === Extension.BACKING_FORMAT) {
      if (format !== undefined) throw bad('the format of the backing file is stated twice');
      format = decodeText(cluster.subarray(at + 8, at + 8 + size));
      if (format === undefined) throw bad('the format of the backing file is no text');
    }
    at += 8 + Math.ceil(size / 8) * 8;
  }
  return format;
}

/** Undefined for what is no UTF-8, or has a NUL in it. */
function decodeText(bytes: Uint8Array): string | undefined {
  const text = Buffer.from(bytes).toString('utf8');
  return Buffer.from(text).equals(bytes) && !text.includes('\0') ? text : undefined;
}

function checkTables(header: Header, fileBytes: number): void {
  const clusterBytes = 2 ** header.clusterBits;
  const { sizeBytes, l1Size, l1Offset, refcountTableOffset, refcountTableClusters } = header;
  if (!isSize(sizeBytes)) throw bad('a size of 2^53 bytes or more');
  const l1Bytes = l1Size * ENTRY_BYTES;
  if (l1Bytes > L1_BYTES_MAX) throw bad(`an L1 table of ${l1Size} entries`);
  if (l1Size < l1SizeFor(sizeBytes, header.clusterBits)) throw bad('the L1 table is too short for the size');
  const refcountBytes = refcountTableClusters * clusterBytes;
  if (refcountTableClusters === 0 || refcountBytes > REFCOUNT_TABLE_BYTES_MAX)
    throw bad(`a refcount table of ${refcountTableClusters} clusters`);
  const fileEnd = Math.ceil(fileBytes / clusterBytes) * clusterBytes;
  checkTable('L1 table', { offset: l1Offset, sizeBytes: l1Bytes, clusterBytes, fileEnd });
  checkTable('refcount table', { offset: refcountTableOffset, sizeBytes: refcountBytes, clusterBytes, fileEnd });
  const apart = l1Offset + l1Bytes <= refcountTableOffset || refcountTableOffset + refcountBytes <= l1Offset;
  if (l1Bytes > 0 && !apart) throw bad('the L1 table and the refcount table overlap');
}

function checkTable(
  name: string,
  table: { offset: number; sizeBytes: number; clusterBytes: number; fileEnd: number },
): void {
  const { offset, sizeBytes, clusterBytes, fileEnd } = table;
  if (sizeBytes === 0) return;
  if (!isSize(offset) || offset % clusterBytes !== 0) throw bad(`the ${name} is not at a cluster`);
  if (offset < clusterBytes) throw bad(`the ${name} overlaps the header`);
  if (sizeBytes > fileEnd - offset) throw bad(`the ${name} leaves the file`);
}
