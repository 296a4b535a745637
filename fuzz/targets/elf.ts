import assert from 'node:assert/strict';
import { loadElf } from '#kernel/elf.ts';
import { BufferSource } from '#kernel/image-source.ts';
import { KernelLoadError } from '#kernel/kernel-load-error.ts';
import { FakeRam } from '#kernel/testing/fake-ram.ts';
import { buildElf } from '#kernel/testing/images.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import { inputTarget, showBytes, shrinkBytes } from '../target.ts';

/** One page of it lies below 1 MiB, where nothing may be written; less than that is outside RAM, which FakeRam refuses. */
const RAM_REGIONS = [
  { guestAddress: 0xf_f000, sizeBytes: 0x2_1000 },
  { guestAddress: 0x14_0000, sizeBytes: 0x1_0000 },
];

/** A file whose fields are drawn one by one, most of them valid. */
function generated(random: Random): Uint8Array {
  const segments = Array.from({ length: random.between(1, 4) }, () => {
    const data = random.bytes(random.below(200));
    return {
      address: random.oneIn(5) ? random.boundary(64) : 0x10_0000 + random.below(0x5_0000),
      data,
      memoryBytes: random.oneIn(5) ? random.boundary(64) : data.length + random.below(0x2000),
      ...(random.oneIn(8) ? { fileBytes: random.boundary(64) } : {}),
      ...(random.oneIn(8) ? { offset: random.boundary(64) } : {}),
      ...(random.oneIn(8) ? { type: random.below(8) } : {}),
    };
  });
  return buildElf({
    segments,
    ...(random.oneIn(8) ? { entry: random.boundary(64) } : {}),
    ...(random.oneIn(8) ? { programHeaders: Number(random.boundary(16)) } : {}),
    ...(random.oneIn(8) ? { programHeaderOffset: random.boundary(64) } : {}),
  });
}

function generate(random: Random): Uint8Array {
  const file = generated(random);
  if (random.oneIn(10)) file.set(random.bytes(file.length - 4), 4);
  return random.oneIn(3) ? file : mutate(file, random);
}

/** A load either succeeds with a kernel inside RAM and above 1 MiB, or throws a KernelLoadError of one line. */
export function checkLoad(load: (ram: FakeRam) => { entry: number; kernelStart: number; kernelEnd: number }): void {
  const ram = new FakeRam(...RAM_REGIONS);
  try {
    const { entry, kernelStart, kernelEnd } = load(ram);
    assert.ok(kernelStart >= 0x10_0000 && entry >= kernelStart && entry < kernelEnd);
    assert.ok(ram.contains(entry, 1) && ram.contains(kernelStart, 1) && ram.contains(kernelEnd - 1, 1));
  } catch (error) {
    if (!(error instanceof KernelLoadError)) throw error;
    assert.doesNotMatch(error.message, /\n/);
    assert.match(error.message, /^kernel "image": /);
  }
  assert.ok(ram.bytes(0xf_f000, 0x1000).every((byte) => byte === 0xcc));
}

export const target = inputTarget<Uint8Array>({
  name: 'elf',
  generate,
  check: (file) => checkLoad((ram) => loadElf(new BufferSource('image', file), ram)),
  show: showBytes,
  shrink: shrinkBytes,
});
