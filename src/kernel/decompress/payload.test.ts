import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { COMPRESSED_SAMPLES } from '../testing/compressed-samples.ts';
import { appendSize, storeLz4Legacy } from '../testing/images.ts';
import { sampleKernel } from '../testing/sample-kernel.ts';
import { CorruptDataError } from './corrupt-data-error.ts';
import { announcedSize, decodePayload, PAYLOAD_FORMATS, payloadFormat } from './payload.ts';

const sample = sampleKernel();
const packed = {
  gzip: gzipSync(sample),
  zstd: zstdCompressSync(sample),
  xz: COMPRESSED_SAMPLES.xz,
  lzma: COMPRESSED_SAMPLES.lzma,
  lz4: COMPRESSED_SAMPLES.lz4,
  bzip2: COMPRESSED_SAMPLES.bzip2,
};
/** As they stand in a bzImage: gzip's own last word is the size. */
const payloads = Object.entries(packed).map(([name, data]) => ({
  name,
  payload: name === 'gzip' ? data : appendSize(data, sample.length),
}));

function decode(payload: Uint8Array, sizeBytes = announcedSize(payload)): Uint8Array {
  const format = payloadFormat(payload);
  assert.ok(format);
  return decodePayload(format, payload, sizeBytes);
}

test('every format of the table has a sample here', () => {
  assert.deepEqual(PAYLOAD_FORMATS.map(({ name }) => name).sort(), Object.keys(packed).sort());
});

for (const { name, payload } of payloads) {
  test(`${name}: the payload is recognised and decodes to the kernel`, () => {
    assert.equal(payloadFormat(payload)?.name, name);
    assert.equal(announcedSize(payload), sample.length);
    assert.deepEqual(Buffer.from(decode(payload)), Buffer.from(sample));
  });

  test(`${name}: an output longer or shorter than announced is refused`, () => {
    assert.throws(() => decode(payload, sample.length - 1), CorruptDataError);
    assert.throws(() => decode(payload, sample.length + 1), CorruptDataError);
    assert.throws(() => decode(payload, 1), CorruptDataError);
  });

  test(`${name}: a payload cut anywhere is refused`, () => {
    const data = packed[name as keyof typeof packed];
    const format = payloadFormat(payload);
    assert.ok(format);
    for (let length = 0; length < data.length; length++) {
      const cut = data.subarray(0, length);
      assert.throws(() => format.decode(cut, sample.length), CorruptDataError, `cut to ${length} bytes`);
    }
  });

  test(`${name}: a payload with any one byte changed gives an error or as many bytes as announced`, () => {
    const format = payloadFormat(payload);
    assert.ok(format);
    for (let at = 0; at < packed[name as keyof typeof packed].length; at++) {
      const broken = Uint8Array.from(packed[name as keyof typeof packed]);
      broken[at] = (broken[at] as number) ^ 0x55;
      let length = sample.length;
      try {
        length = format.decode(broken, sample.length).length;
      } catch (error) {
        assert.ok(error instanceof CorruptDataError, `byte ${at}: ${error}`);
      }
      assert.equal(length, sample.length);
    }
  });
}

test('lz4: literals longer than a block and a repeated magic decode', () => {
  const large = new Uint8Array(9 * 2 ** 20).fill(0x5a);
  assert.deepEqual(decode(appendSize(storeLz4Legacy(large), large.length)).length, large.length);
  const frame = storeLz4Legacy(sample);
  const twice = Buffer.concat([frame.subarray(0, 4), frame]);
  assert.deepEqual(Buffer.from(decode(appendSize(twice, sample.length))), Buffer.from(sample));
});

test('lz4: a match that reaches back before its block is refused', () => {
  const block = Buffer.from([0x10, 0x41, 0x02, 0x00]);
  const frame = Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18, block.length, 0, 0, 0]), block]);
  assert.throws(() => decode(appendSize(frame, 100)), /reaches outside/);
});

test('a decompression bomb stops at the announced size', () => {
  const bomb = new Uint8Array(4 * 2 ** 20);
  const refused = (format: string) => ({
    name: 'CorruptDataError',
    message: `${format} data holds more than the 4096 bytes it announces`,
  });
  assert.throws(() => decode(appendSize(zstdCompressSync(bomb), 4096)), refused('zstd'));
  assert.throws(() => decode(gzipSync(bomb), 4096), refused('gzip'));
});

test('an empty announcement and a payload of less than a word are refused', () => {
  assert.throws(() => announcedSize(new Uint8Array(8)), CorruptDataError);
  assert.throws(() => announcedSize(new Uint8Array(3)), CorruptDataError);
});

test('data of no known format has none', () => {
  assert.equal(payloadFormat(Buffer.from([0x89, 0x4c, 0x5a, 0x4f])), undefined);
  assert.equal(payloadFormat(new Uint8Array(0)), undefined);
});
