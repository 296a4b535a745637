import { gzipSync, zstdCompressSync } from 'node:zlib';
import { BufferSource } from '#kernel/image-source.ts';
import { loadKernelImage } from '#kernel/load-kernel.ts';
import { COMPRESSED_SAMPLES } from '#kernel/testing/compressed-samples.ts';
import { appendSize, buildBzImage, buildElf, storeLz4Legacy } from '#kernel/testing/images.ts';
import { sampleKernel } from '#kernel/testing/sample-kernel.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { inputTarget, showBytes, shrinkBytes } from '../target.ts';
import { checkLoad } from './elf.ts';

/** Fits into the memory of `checkLoad`, which the sample, linked at 16 MiB, does not. */
const kernel = buildElf({
  segments: [{ address: 0x10_0000, data: new Uint8Array(300).fill(0x90), memoryBytes: 5000 }],
});
const sampleBytes = sampleKernel().length;

const payloads: readonly Uint8Array[] = [
  gzipSync(kernel),
  appendSize(zstdCompressSync(kernel), kernel.length),
  appendSize(storeLz4Legacy(kernel), kernel.length),
  ...Object.values(COMPRESSED_SAMPLES).map((packed) => appendSize(packed, sampleBytes)),
  Buffer.from('packed in an unknown way'),
];

function payload(random: Random): Uint8Array {
  const chosen = random.pick(payloads);
  const kept = random.pick([0, 3, 8, chosen.length]);
  if (random.oneIn(8)) return Buffer.concat([chosen.subarray(0, kept), random.bytes(random.below(300))]);
  return random.oneIn(4) ? chosen : mutate(chosen, random);
}

function generate(random: Random): Uint8Array {
  const file = buildBzImage({
    payload: payload(random),
    setupSectors: random.pick([1, 4]),
    kernelAlignment: random.oneIn(8) ? Number(random.boundary(32)) : 0x1000,
    relocatable: random.oneIn(2),
    preferredAddress: random.oneIn(3) ? random.boundary(64) : 0x10_0000n,
    initBytes: random.oneIn(4) ? Number(random.boundary(32)) : 0x1_0000,
    ...(random.oneIn(8) ? { version: random.between(0x200, 0x210) } : {}),
    ...(random.oneIn(8) ? { headerJump: random.below(256) } : {}),
    ...(random.oneIn(8) ? { payloadBytes: Number(random.boundary(32)) } : {}),
    ...(random.oneIn(8) ? { payloadOffset: Number(random.boundary(32)) } : {}),
    ...(random.oneIn(8) ? { paragraphs: Number(random.boundary(32)) } : {}),
  });
  return random.oneIn(4) ? mutate(file, random) : file;
}

export const target = inputTarget<Uint8Array>({
  name: 'bzimage',
  generate,
  check: (file) => checkLoad((ram) => loadKernelImage(new BufferSource('image', file), ram)),
  show: showBytes,
  shrink: shrinkBytes,
});
