import { inflateRawSync, zstdDecompressSync } from 'node:zlib';
import { errorMessage } from '#util/errors.ts';
import { viewOf } from '#util/struct.ts';
import { DiskError } from '../disk-file.ts';
import type { Header } from './header.ts';

/** Makes a cluster of what is stored of it; what follows the stream in its last sector is ignored. Throws DiskError (BAD_IMAGE). */
export function decompressCluster(
  source: Uint8Array,
  clusterBytes: number,
  compression: Header['compression'],
): Uint8Array {
  let cluster: Uint8Array;
  try {
    const options = { maxOutputLength: clusterBytes };
    if (compression === 'deflate') cluster = inflateRawSync(source, options);
    else cluster = zstdDecompressSync(source.subarray(0, zstdFrameBytes(source)), options);
  } catch (error) {
    throw new DiskError('BAD_IMAGE', `qcow2: a compressed cluster: ${errorMessage(error)}`, { cause: error });
  }
  if (cluster.length === clusterBytes) return cluster;
  throw new DiskError('BAD_IMAGE', `qcow2: a compressed cluster of ${cluster.length} bytes`);
}

const ZSTD_HEADER_BYTES = 5;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;
const RLE_BLOCK = 1;

/** The length of the frame that `source` begins with, RFC 8878 §3.1.1: the decompressor takes what follows for another one. */
function zstdFrameBytes(source: Uint8Array): number {
  if (source.length < ZSTD_HEADER_BYTES) return source.length;
  const view = viewOf(source);
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  let at = ZSTD_HEADER_BYTES + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]!;
  at += sizeFlag === 0 && isSingleSegment ? 1 : CONTENT_SIZE_BYTES[sizeFlag]!;
  while (at + 3 <= source.length) {
    const header = view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
    at += 3 + (((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3);
    if ((header & 1) !== 0) return Math.min(source.length, at + ((descriptor & 4) !== 0 ? 4 : 0));
  }
  return source.length;
}
