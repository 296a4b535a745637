import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { BufferSource } from './image-source.ts';
import type { KernelLoadErrorCode } from './kernel-load-error.ts';
import { loadKernelImage } from './load-kernel.ts';
import type { LoadedKernel } from './loaded-kernel.ts';
import { COMPRESSED_SAMPLES } from './testing/compressed-samples.ts';
import { FakeRam } from './testing/fake-ram.ts';
import { appendSize, buildBzImage, buildElf, type TestBzImage } from './testing/images.ts';
import { SAMPLE_ADDRESS, sampleKernel } from './testing/sample-kernel.ts';

const MIB = 2 ** 20;
const sample = sampleKernel();
const payload = appendSize(zstdCompressSync(sample), sample.length);
/** LZO, which is not decoded here. */
const unknown = Buffer.from('\x89LZO and so on', 'latin1');

function ram(): FakeRam {
  return new FakeRam({ guestAddress: 0, sizeBytes: 20 * MIB });
}

function load(image: TestBzImage, memory = ram()): LoadedKernel {
  return loadKernelImage(new BufferSource('bzImage', buildBzImage(image)), memory);
}

function refused(code: KernelLoadErrorCode): object {
  return { name: 'KernelLoadError', code, path: 'bzImage', message: /^kernel "bzImage": [^\n]+$/ };
}

const packedPayloads: readonly [string, Uint8Array][] = [
  ['gzip', gzipSync(sample)],
  ['zstd', payload],
  ['xz', appendSize(COMPRESSED_SAMPLES.xz, sample.length)],
  ['lzma', appendSize(COMPRESSED_SAMPLES.lzma, sample.length)],
  ['lz4', appendSize(COMPRESSED_SAMPLES.lz4, sample.length)],
  ['bzip2', appendSize(COMPRESSED_SAMPLES.bzip2, sample.length)],
];
for (const [name, packed] of packedPayloads) {
  test(`the kernel packed with ${name} is unpacked and placed as the ELF image it is`, () => {
    const memory = ram();
    const kernel = load({ payload: packed, initrdAddressMax: 0x1234_5fff }, memory);
    assert.equal(kernel.protocol, 'bzimage-payload');
    assert.equal(kernel.entry, SAMPLE_ADDRESS);
    assert.equal(kernel.kernelStart, SAMPLE_ADDRESS);
    assert.equal(kernel.kernelEnd, SAMPLE_ADDRESS + 0x1100);
    assert.equal(kernel.initrdAddressMax, 0x1234_5fff);
    assert.equal(Buffer.from(memory.bytes(SAMPLE_ADDRESS + 0x1000, 5)).toString('latin1'), 'data\0');
  });
}

test('relocations behind the ELF image in the payload are ignored', () => {
  const withRelocations = Buffer.concat([sample, new Uint8Array(4000).fill(7)]);
  const packed = appendSize(zstdCompressSync(withRelocations), withRelocations.length);
  assert.equal(load({ payload: packed }).entry, SAMPLE_ADDRESS);
});

test('bytes behind the protected-mode part, such as a signature, are ignored', () => {
  const file = Buffer.concat([buildBzImage({ payload }), new Uint8Array(3000)]);
  assert.equal(loadKernelImage(new BufferSource('bzImage', file), ram()).entry, SAMPLE_ADDRESS);
});

test('the setup header is handed on from 0x1f1 to its end', () => {
  const image = { payload, setupSectors: 39 };
  const { setupHeader } = load(image);
  assert.deepEqual(setupHeader, buildBzImage(image).slice(0x1f1, 0x202 + 0x6a));
});

test('a setup header that claims more room than boot_params has is cut', () => {
  assert.equal(load({ payload, headerJump: 0xff }).setupHeader?.length, 0x290 - 0x1f1);
});

test('a setup_sects of 0 means 4', () => {
  const file = buildBzImage({ payload, setupSectors: 4 });
  file[0x1f1] = 0;
  assert.equal(loadKernelImage(new BufferSource('bzImage', file), ram()).entry, SAMPLE_ADDRESS);
});

test('a payload packed in an unknown way is loaded whole at its preferred address and entered at +0x200', () => {
  const memory = ram();
  const kernel = load({ payload: unknown }, memory);
  assert.equal(kernel.protocol, 'bzimage');
  assert.equal(kernel.entry, 16 * MIB + 0x200);
  assert.equal(kernel.kernelStart, 16 * MIB);
  assert.equal(kernel.kernelEnd, 17 * MIB);
  assert.equal(memory.bytes(kernel.entry, 1)[0], 0xf4);
  assert.equal(memory.bytes(16 * MIB + 0x401, 3).toString(), Buffer.from('LZO').join(','));
});

test('a relocatable image whose preferred address has no room goes to the lowest aligned address', () => {
  const kernel = load({ payload: unknown, initBytes: 8 * MIB });
  assert.equal(kernel.kernelStart, 2 * MIB);
  assert.equal(kernel.kernelEnd, 10 * MIB);
});

test('an image without payload fields is loaded whole', () => {
  assert.equal(load({ payload, payloadBytes: 0 }).protocol, 'bzimage');
});

const outside = { payload: unknown, initBytes: 8 * MIB, relocatable: false };
const elf32 = buildElf({ class: 1, segments: [{ address: SAMPLE_ADDRESS, data: new Uint8Array(8) }] });
const text = Buffer.from('no ELF image at all, but text');
const cases: readonly [string, KernelLoadErrorCode, TestBzImage][] = [
  ['boot protocol 2.05', 'KERNEL_OLD_PROTOCOL', { payload, version: 0x0205 }],
  ['a zImage', 'KERNEL_OLD_PROTOCOL', { payload, loadFlags: 0 }],
  ['a 32-bit kernel', 'KERNEL_WRONG_ARCHITECTURE', { payload, extendedLoadFlags: 0 }],
  [
    'a 32-bit kernel of an old protocol',
    'KERNEL_WRONG_ARCHITECTURE',
    { payload: appendSize(zstdCompressSync(elf32), elf32.length), version: 0x020b },
  ],
  ['an unknown format before protocol 2.12', 'KERNEL_OLD_PROTOCOL', { payload: unknown, version: 0x020b }],
  ['a header shorter than its version', 'KERNEL_BAD_HEADER', { payload, headerJump: 0x40 }],
  ['an alignment that is no power of two', 'KERNEL_BAD_HEADER', { payload, kernelAlignment: 3 }],
  ['an alignment of 0', 'KERNEL_BAD_HEADER', { payload, kernelAlignment: 0 }],
  ['a syssize of 0', 'KERNEL_BAD_HEADER', { payload, paragraphs: 0 }],
  ['a syssize past the end of the file', 'KERNEL_TRUNCATED', { payload, paragraphs: 0xffff_ffff }],
  ['a payload outside the image', 'KERNEL_BAD_HEADER', { payload, payloadOffset: 0xffff_ffff }],
  ['a payload longer than the image', 'KERNEL_BAD_HEADER', { payload, payloadBytes: 0xffff_ffff }],
  ['setup code past the end of the file', 'KERNEL_TRUNCATED', { payload, paragraphs: 100_000 }],
  [
    'a payload that announces more than init_size',
    'KERNEL_PAYLOAD_TOO_LARGE',
    { payload: appendSize(payload, MIB + 1) },
  ],
  [
    'a payload that announces more than RAM',
    'KERNEL_PAYLOAD_TOO_LARGE',
    { payload: appendSize(payload, 0xffff_ffff), initBytes: 0xffff_ffff },
  ],
  [
    'a decompression bomb',
    'KERNEL_PAYLOAD_CORRUPT',
    { payload: appendSize(zstdCompressSync(new Uint8Array(64 * MIB)), MIB) },
  ],
  ['a payload that announces nothing', 'KERNEL_PAYLOAD_CORRUPT', { payload: appendSize(payload, 0) }],
  [
    'a payload that is no ELF image',
    'KERNEL_PAYLOAD_CORRUPT',
    { payload: appendSize(zstdCompressSync(text), text.length) },
  ],
  ['a fixed image outside RAM', 'KERNEL_OUTSIDE_RAM', outside],
  ['a relocatable image larger than RAM', 'KERNEL_OUTSIDE_RAM', { ...outside, relocatable: true, initBytes: 19 * MIB }],
  ['a preferred address that wraps', 'KERNEL_OUTSIDE_RAM', { ...outside, preferredAddress: 2n ** 64n - 1n }],
  ['a preferred address below 1 MiB', 'KERNEL_BELOW_1MIB', { ...outside, preferredAddress: 0n }],
];
for (const [what, code, image] of cases) {
  test(`${what} is refused with ${code}`, () => {
    assert.throws(() => load(image), refused(code));
  });
}

test('a corrupt payload names the format and the file', () => {
  const broken = Buffer.from(payload);
  broken.fill(0xff, 8, 40);
  assert.throws(() => load({ payload: broken }), {
    code: 'KERNEL_PAYLOAD_CORRUPT',
    message: /^kernel "bzImage": cannot unpack the kernel \(zstd\): /,
  });
});

test('a file cut anywhere is refused, with no other error than a KernelLoadError', () => {
  const file = buildBzImage({ payload });
  const memory = ram();
  for (let length = 1; length < file.length - 16; length++) {
    const source = new BufferSource('bzImage', file.subarray(0, length));
    assert.throws(() => loadKernelImage(source, memory), { name: 'KernelLoadError' }, `${length} bytes`);
  }
});
