import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadElf } from './elf.ts';
import { BufferSource } from './image-source.ts';
import type { KernelLoadErrorCode } from './kernel-load-error.ts';
import { FakeRam } from './testing/fake-ram.ts';
import { buildElf, type TestElf } from './testing/images.ts';

const MIB = 2 ** 20;
const code = Uint8Array.from({ length: 300 }, (_, i) => i % 251);
const valid: TestElf = {
  segments: [
    { address: 2 * MIB, data: code, memoryBytes: 1000 },
    { address: 3 * MIB, data: Buffer.from('data') },
  ],
};

function ram(): FakeRam {
  return new FakeRam({ guestAddress: 0, sizeBytes: 4 * MIB }, { guestAddress: 8 * MIB, sizeBytes: MIB });
}

function load(file: Uint8Array, memory = ram()): ReturnType<typeof loadElf> {
  return loadElf(new BufferSource('vmlinux', file), memory);
}

function refused(code: KernelLoadErrorCode): object {
  return { name: 'KernelLoadError', code, path: 'vmlinux', message: /^kernel "vmlinux": [^\n]+$/ };
}

test('segments are placed at their physical addresses and zero-filled to their memory size', () => {
  const memory = ram();
  const kernel = load(buildElf({ ...valid, entry: 2 * MIB + 5 }), memory);
  assert.deepEqual(kernel, {
    entry: 2 * MIB + 5,
    kernelStart: 2 * MIB,
    kernelEnd: 3 * MIB + 4,
    protocol: 'elf',
    initrdAddressMax: 0x37ff_ffff,
    commandLineMaxBytes: 2047,
  });
  assert.deepEqual(memory.bytes(2 * MIB, 300), code);
  assert.deepEqual(memory.bytes(2 * MIB + 300, 700), new Uint8Array(700));
  assert.equal(memory.bytes(2 * MIB + 1000, 1)[0], 0xcc);
  assert.equal(Buffer.from(memory.bytes(3 * MIB, 4)).toString(), 'data');
});

test('ET_DYN is loaded like ET_EXEC', () => {
  assert.equal(load(buildElf({ ...valid, type: 3 })).entry, 2 * MIB);
});

test('bytes behind the last segment, such as relocations, are ignored', () => {
  assert.equal(load(Buffer.concat([buildElf(valid), new Uint8Array(5000)])).entry, 2 * MIB);
});

test('segments of other types and segments without memory are not loaded', () => {
  const note = { address: 0, data: Buffer.from('note'), type: 4 };
  const empty = { address: 0, data: new Uint8Array(0) };
  assert.equal(load(buildElf({ entry: 2 * MIB, segments: [note, empty, ...valid.segments] })).kernelStart, 2 * MIB);
});

test('segments that touch do not overlap, whatever their order in the table', () => {
  const segments = [
    { address: 2 * MIB + 300, data: code },
    { address: 2 * MIB, data: code },
  ];
  assert.equal(load(buildElf({ segments })).kernelEnd, 2 * MIB + 600);
});

const oneSegment = (segment: object): TestElf => ({
  entry: 2 * MIB,
  segments: [{ address: 2 * MIB, data: code, ...segment }],
});
const badHeaders: readonly [string, KernelLoadErrorCode, TestElf][] = [
  ['a 32-bit image', 'KERNEL_WRONG_ARCHITECTURE', { ...valid, class: 1 }],
  ['a big-endian image', 'KERNEL_WRONG_ARCHITECTURE', { ...valid, byteOrder: 2 }],
  ['an aarch64 image', 'KERNEL_WRONG_ARCHITECTURE', { ...valid, machine: 183 }],
  ['a relocatable object', 'KERNEL_BAD_HEADER', { ...valid, type: 1 }],
  ['program headers of another size', 'KERNEL_BAD_HEADER', { ...valid, programHeaderBytes: 32 }],
  ['no program headers', 'KERNEL_BAD_HEADER', { ...valid, programHeaders: 0 }],
  ['the escape value for the number of program headers', 'KERNEL_BAD_HEADER', { ...valid, programHeaders: 0xffff }],
  ['more program headers than the file holds', 'KERNEL_TRUNCATED', { ...valid, programHeaders: 100 }],
  ['a program header table far outside', 'KERNEL_TRUNCATED', { ...valid, programHeaderOffset: 2n ** 64n - 1n }],
  ['an entry outside the segments', 'KERNEL_BAD_ENTRY', { ...valid, entry: 2 * MIB - 1 }],
  ['an entry in zero-filled memory', 'KERNEL_BAD_ENTRY', { ...valid, entry: 2 * MIB + 300 }],
  ['an entry at the end of the address space', 'KERNEL_BAD_ENTRY', { ...valid, entry: 2n ** 64n - 1n }],
  ['no loadable segment', 'KERNEL_BAD_HEADER', { segments: [{ address: 2 * MIB, data: code, type: 4 }] }],
];
const badSegments: readonly [string, KernelLoadErrorCode, TestElf][] = [
  ['less memory than file', 'KERNEL_BAD_SEGMENT', oneSegment({ memoryBytes: 299 })],
  ['data past the end of the file', 'KERNEL_TRUNCATED', oneSegment({ fileBytes: 301, memoryBytes: 301 })],
  ['an offset that wraps', 'KERNEL_TRUNCATED', oneSegment({ offset: 2n ** 64n - 100n })],
  [
    'a file size that wraps',
    'KERNEL_TRUNCATED',
    oneSegment({ fileBytes: 2n ** 64n - 1n, memoryBytes: 2n ** 64n - 1n }),
  ],
  ['an address that wraps', 'KERNEL_OUTSIDE_RAM', oneSegment({ address: 2n ** 64n - 100n })],
  ['a memory size that wraps', 'KERNEL_OUTSIDE_RAM', oneSegment({ memoryBytes: 2n ** 64n - 2n * BigInt(MIB) })],
  ['memory behind the end of RAM', 'KERNEL_OUTSIDE_RAM', oneSegment({ memoryBytes: 2 * MIB + 1 })],
  ['memory that spans a hole', 'KERNEL_OUTSIDE_RAM', oneSegment({ memoryBytes: 6.5 * MIB })],
  ['an address in a hole', 'KERNEL_OUTSIDE_RAM', oneSegment({ address: 5 * MIB })],
  ['an address below 1 MiB', 'KERNEL_BELOW_1MIB', oneSegment({ address: MIB - 1 })],
];

for (const [what, expected, elf] of [...badHeaders, ...badSegments]) {
  test(`${what} is refused with ${expected}`, () => {
    assert.throws(() => load(buildElf(elf)), refused(expected));
  });
}

test('overlapping segments are refused, also where only the zero-filled part overlaps', () => {
  const segments = [
    { address: 2 * MIB + 400, data: code },
    { address: 2 * MIB, data: code, memoryBytes: 401 },
  ];
  assert.throws(() => load(buildElf({ segments })), refused('KERNEL_SEGMENTS_OVERLAP'));
});

test('a file cut anywhere is refused as truncated', () => {
  const file = buildElf(valid);
  for (let length = 4; length < file.length; length++) {
    assert.throws(() => load(file.subarray(0, length)), refused('KERNEL_TRUNCATED'), `${length} bytes`);
  }
});
