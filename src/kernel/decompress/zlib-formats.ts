import { gunzipSync, type ZlibOptions, type ZstdOptions, zstdDecompressSync } from 'node:zlib';
import { errorMessage } from '#util/errors.ts';
import { CorruptDataError } from './corrupt-data-error.ts';

/** With room for one byte more than expected, zlib neither allocates a second buffer nor copies the first. */
function limits(sizeBytes: number): ZlibOptions & ZstdOptions {
  const zlibChunkMinimum = 64;
  return { maxOutputLength: sizeBytes, chunkSize: Math.max(sizeBytes + 1, zlibChunkMinimum) };
}

function decoded(format: string, sizeBytes: number, decode: () => Uint8Array): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = decode();
  } catch (error) {
    const problem = isTooLarge(error)
      ? `holds more than the ${sizeBytes} bytes it announces`
      : `is corrupt: ${errorMessage(error)}`;
    throw new CorruptDataError(`${format} data ${problem}`, { cause: error });
  }
  if (bytes.length !== sizeBytes) {
    throw new CorruptDataError(`${format} data holds ${bytes.length} bytes, ${sizeBytes} are expected`);
  }
  return bytes;
}

/** Node stopped at `maxOutputLength`. */
function isTooLarge(error: unknown): boolean {
  return error instanceof RangeError && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
}

/** Decodes a gzip member that yields exactly `sizeBytes` bytes, at least 1. Throws CorruptDataError. */
export function decompressGzip(input: Uint8Array, sizeBytes: number): Uint8Array {
  return decoded('gzip', sizeBytes, () => gunzipSync(input, limits(sizeBytes)));
}

/** Decodes a zstd frame that yields exactly `sizeBytes` bytes, at least 1. Throws CorruptDataError. */
export function decompressZstd(input: Uint8Array, sizeBytes: number): Uint8Array {
  return decoded('zstd', sizeBytes, () => zstdDecompressSync(input, limits(sizeBytes)));
}
