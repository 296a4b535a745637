import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BRANCHES_XZ, COMPRESSED_SAMPLES, RANDOM_XZ } from '../testing/compressed-samples.ts';
import { branchBytes, randomBytes, sampleKernel } from '../testing/sample-kernel.ts';
import { withXzHeaderChecks } from '../testing/xz-container.ts';
import { CorruptDataError } from './corrupt-data-error.ts';
import { decompressXz } from './xz.ts';

const sample = sampleKernel();

function decode(container: Uint8Array, sizeBytes: number): Buffer {
  const output = Buffer.alloc(sizeBytes);
  decompressXz(container, output);
  return output;
}

/** The sample with some bytes replaced, and the header's checks made right. */
function patched(bytes: Readonly<Record<number, number>>): Uint8Array {
  const container = Uint8Array.from(COMPRESSED_SAMPLES.xz);
  for (const [at, byte] of Object.entries(bytes)) container[Number(at)] = byte;
  return withXzHeaderChecks(container);
}

test('several blocks with SHA-256 and without a branch filter decode', () => {
  assert.deepEqual(decode(COMPRESSED_SAMPLES.xzBlocks, sample.length), Buffer.from(sample));
});

test('the branch filter is undone where opcodes stand within operands', () => {
  assert.deepEqual(decode(BRANCHES_XZ, 1000), Buffer.from(branchBytes()));
});

test('a chunk that is stored decodes', () => {
  assert.deepEqual(decode(RANDOM_XZ, 300), Buffer.from(randomBytes()));
});

test('a stored chunk longer than the output is refused', () => {
  assert.throws(() => decode(RANDOM_XZ, 299), CorruptDataError);
});

test('every byte of the container is covered by a check', () => {
  for (let at = 0; at < COMPRESSED_SAMPLES.xz.length; at++) {
    const broken = Uint8Array.from(COMPRESSED_SAMPLES.xz);
    broken[at] = (broken[at] as number) ^ 0x01;
    assert.throws(() => decode(broken, sample.length), CorruptDataError, `byte ${at}`);
  }
});

/** Stream header: flags at 6. Block header at 12: size, flags, filter 4 of 0 property bytes, filter 0x21 of 1, padding. */
const refusals: readonly [string, Readonly<Record<number, number>>, RegExp][] = [
  ['the check CRC64', { 7: 0x04 }, /stream flags 0x4 are not supported/],
  ['reserved block flags', { 13: 0x05 }, /reserved flags/],
  ['a filter that is not known', { 14: 0x07 }, /filter chain 7, 33 is not supported/],
  ['a chain that does not end with LZMA2', { 16: 0x22 }, /filter chain 4, 34 is not supported/],
  ['LZMA2 alone where two filters are announced', { 13: 0x00 }, /filter chain 4 is not supported/],
  ['properties that reach past the header', { 17: 0x7f }, /block header is malformed/],
  ['a branch filter that starts at an offset', { 15: 0x04, 16: 0x21 }, /starts at an offset/],
  ['an integer with a superfluous byte', { 14: 0x80, 15: 0x00 }, /integer is malformed/],
  ['padding that is not zero', { 19: 0x01 }, /block header is malformed/],
  ['LZMA data before the dictionary is reset', { 24: 0x80 }, /control byte 0x80 may not stand here/],
  ['a control byte that is not defined', { 24: 0x7f }, /control byte 0x7f may not stand here/],
  ['LZMA properties out of range', { 29: 0xff }, /LZMA properties byte is 255/],
  ['LZMA2 properties with too many literal bits', { 29: 4 * 9 + 8 }, /LZMA2 properties are out of range/],
  ['a chunk of a wrong size', { 28: 0xff }, /LZMA2 chunk has a wrong size|truncated/],
];
for (const [what, bytes, message] of refusals) {
  test(`${what} is refused`, () => {
    assert.throws(() => decode(patched(bytes), sample.length), { name: 'CorruptDataError', message });
  });
}
