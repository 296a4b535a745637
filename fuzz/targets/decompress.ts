import assert from 'node:assert/strict';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { CorruptDataError } from '#kernel/decompress/corrupt-data-error.ts';
import { PAYLOAD_FORMATS } from '#kernel/decompress/payload.ts';
import { COMPRESSED_SAMPLES } from '#kernel/testing/compressed-samples.ts';
import { sampleKernel } from '#kernel/testing/sample-kernel.ts';
import { withXzHeaderChecks } from '#kernel/testing/xz-container.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { inputTarget, showBytes, shrinkBytes } from '../target.ts';

interface Input {
  readonly format: string;
  readonly data: Uint8Array;
  readonly sizeBytes: number;
}

const sample = sampleKernel();
const samples: readonly { readonly format: string; readonly data: Uint8Array }[] = [
  { format: 'gzip', data: gzipSync(sample) },
  { format: 'zstd', data: zstdCompressSync(sample) },
  { format: 'xz', data: COMPRESSED_SAMPLES.xz },
  { format: 'xz', data: COMPRESSED_SAMPLES.xzBlocks },
  { format: 'lzma', data: COMPRESSED_SAMPLES.lzma },
  { format: 'lz4', data: COMPRESSED_SAMPLES.lz4 },
  { format: 'bzip2', data: COMPRESSED_SAMPLES.bzip2 },
];

function generate(random: Random): Input {
  const { format, data } = random.pick(samples);
  const sizeBytes = random.oneIn(3) ? random.between(1, 5000) : sample.length;
  if (random.oneIn(8)) return { format, data: random.bytes(random.below(300)), sizeBytes };
  const mutated = random.oneIn(10) ? data : mutate(data, random);
  // With wrong checks nothing behind the xz headers would ever be read.
  return { format, data: format === 'xz' && random.oneIn(2) ? withXzHeaderChecks(mutated) : mutated, sizeBytes };
}

/** A decoder yields exactly as many bytes as it was asked for, or throws CorruptDataError. */
function check({ format, data, sizeBytes }: Input): void {
  const decoder = PAYLOAD_FORMATS.find(({ name }) => name === format);
  assert.ok(decoder);
  try {
    assert.equal(decoder.decode(data, sizeBytes).length, sizeBytes);
  } catch (error) {
    if (!(error instanceof CorruptDataError)) throw error;
  }
}

export const target = inputTarget<Input>({
  name: 'decompress',
  generate,
  check,
  show: ({ format, data, sizeBytes }) => `${format}, ${sizeBytes} bytes from ${showBytes(data)}`,
  *shrink(input) {
    for (const data of shrinkBytes(input.data)) yield { ...input, data };
  },
});
