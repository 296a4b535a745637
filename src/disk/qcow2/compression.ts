import { inflateRawSync, zstdDecompressSync } from 'node:zlib';
import { errorMessage } from '#util/errors.ts';
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
    cluster = compression === 'zstd' ? zstdDecompressSync(source, options) : inflateRawSync(source, options);
  } catch (error) {
    throw new DiskError('BAD_IMAGE', `qcow2: a compressed cluster: ${errorMessage(error)}`, { cause: error });
  }
  if (cluster.length === clusterBytes) return cluster;
  throw new DiskError('BAD_IMAGE', `qcow2: a compressed cluster of ${cluster.length} bytes`);
}
