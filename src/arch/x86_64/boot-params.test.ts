import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MiB } from '#util/bits.ts';
import { bootParamsPage } from './boot-params.ts';
import { e820Map } from './e820.ts';

const PARAMS = {
  commandLineAddress: 0x20000,
  commandLineSizeBytes: 7,
  e820: e820Map(64 * MiB),
  acpiRsdpAddress: 0xe0000,
};

/** A setup header as a bzImage of protocol 2.15 has it, from 0x1f1 to its end. */
function kernelHeader(change: (header: DataView) => void = () => {}): Uint8Array {
  const file = new DataView(new ArrayBuffer(0x26c));
  file.setUint8(0x1f1, 39); // setup_sects
  file.setUint16(0x1fe, 0xaa55, true);
  file.setUint8(0x201, 0x6a); // ends at 0x26c
  file.setUint32(0x202, 0x5372_6448, true);
  file.setUint16(0x206, 0x020f, true);
  file.setUint8(0x211, 0x01);
  file.setUint32(0x230, 0x0020_0000, true);
  file.setUint32(0x238, 2047, true); // cmdline_size
  file.setUint32(0x260, 0x0123_4000, true); // init_size
  change(file);
  return new Uint8Array(file.buffer, 0x1f1);
}

function page(extra: Partial<Parameters<typeof bootParamsPage>[0]> = {}): DataView {
  return new DataView(bootParamsPage({ ...PARAMS, ...extra }).buffer);
}

test('a kernel without a setup header gets a minimal one', () => {
  const zeroPage = page();
  assert.equal(zeroPage.byteLength, 4096);
  assert.equal(zeroPage.getUint32(0x202, true), 0x5372_6448);
  assert.equal(zeroPage.getUint16(0x1fe, true), 0xaa55);
  assert.equal(zeroPage.getUint16(0x206, true), 0x020f);
  assert.equal(zeroPage.getUint8(0x210), 0xff);
  assert.equal(zeroPage.getUint8(0x211) & 1, 1);
  assert.equal(zeroPage.getUint32(0x230, true), 0x0100_0000);
});

test('the command line, the RSDP and the setup data are pointed to', () => {
  const zeroPage = page({ setupDataAddress: 0x20800 });
  assert.equal(zeroPage.getUint32(0x228, true), 0x20000);
  assert.equal(zeroPage.getUint32(0x0c8, true), 0);
  assert.equal(zeroPage.getUint32(0x238, true), 7);
  assert.equal(zeroPage.getBigUint64(0x070, true), 0xe0000n);
  assert.equal(zeroPage.getBigUint64(0x250, true), 0x20800n);
});

test('a setup header is carried over', () => {
  const zeroPage = page({ setupHeader: kernelHeader() });
  assert.equal(zeroPage.getUint8(0x1f1), 39);
  assert.equal(zeroPage.getUint32(0x230, true), 0x0020_0000);
  assert.equal(zeroPage.getUint32(0x260, true), 0x0123_4000);
  assert.equal(zeroPage.getUint8(0x210), 0xff);
  assert.equal(zeroPage.getUint8(0x1ef), 0); // sentinel: fields before the header are valid
});

test('an initial ramdisk above 4 GiB is split over the extended fields', () => {
  const zeroPage = page({ initrd: { start: 0x2_3456_7000, sizeBytes: 0x1_0000_0abc } });
  assert.equal(zeroPage.getUint32(0x218, true), 0x3456_7000);
  assert.equal(zeroPage.getUint32(0x0c0, true), 2);
  assert.equal(zeroPage.getUint32(0x21c, true), 0x0000_0abc);
  assert.equal(zeroPage.getUint32(0x0c4, true), 1);
});

test('without an initial ramdisk its fields are zero', () => {
  const zeroPage = page({ setupHeader: kernelHeader() });
  assert.deepEqual(
    [0x218, 0x21c, 0x0c0, 0x0c4].map((field) => zeroPage.getUint32(field, true)),
    [0, 0, 0, 0],
  );
});

test('the e820 entries follow each other with 20 bytes each', () => {
  const zeroPage = page();
  assert.equal(zeroPage.getUint8(0x1e8), 4);
  assert.equal(zeroPage.getBigUint64(0x2d0 + 20, true), 0x9e800n);
  assert.equal(zeroPage.getBigUint64(0x2d0 + 28, true), 0x61800n);
  assert.equal(zeroPage.getUint32(0x2d0 + 36, true), 2);
  assert.equal(zeroPage.getBigUint64(0x2d0 + 40, true), 0x10_0000n);
  assert.equal(zeroPage.getBigUint64(0x2d0 + 60, true), 0xf400_0000n);
  assert.equal(zeroPage.getUint32(0x2d0 + 80, true), 0);
});

test('a setup header that would run into what follows it is refused', () => {
  assert.throws(() => page({ setupHeader: new Uint8Array(0x290 - 0x1f1 + 1) }));
});

test('a kernel whose protocol has no setup data keeps its header unchanged there', () => {
  const setupHeader = kernelHeader((file) => file.setUint16(0x206, 0x0208, true));
  assert.equal(page({ setupHeader, setupDataAddress: 0x20800 }).getBigUint64(0x250, true), 0n);
});
