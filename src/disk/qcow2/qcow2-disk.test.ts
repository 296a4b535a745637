import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DiskError } from '../disk-file.ts';
import { createQcow2 } from './create.ts';
import { Qcow2Disk } from './qcow2-disk.ts';
import { RequestBuffer } from './testing/buffer.ts';
import { checkImage } from './testing/check-image.ts';
import { MemoryImage } from './testing/memory-image.ts';
import { createScenario, type Shape, seeded } from './testing/scenario.ts';

const SIZE = 200_000;
const STEPS = 250;

/** Random operations on the disk and on plain bytes. */
function runModel(shape: Shape, seed: number): void {
  const random = seeded(seed);
  using buffer = new RequestBuffer(SIZE);
  const { file, model, open } = createScenario(shape, buffer);
  let disk = open();
  for (let step = 0; step < STEPS; step++) {
    const offset = random(model.length);
    const sizeBytes = 1 + random(Math.min(model.length - offset, random(4) === 0 ? SIZE : 3000));
    const kind = random(10);
    if (kind < 5) {
      const bytes = new Uint8Array(sizeBytes).fill(1 + random(255));
      buffer.write(disk, offset, bytes);
      model.set(bytes, offset);
    } else if (kind === 5 || kind === 6) {
      disk.writeZeroes({ offset, sizeBytes }, kind === 5);
      model.fill(0, offset, offset + sizeBytes);
    } else if (kind === 7) {
      disk.discard({ offset, sizeBytes });
      model.set(buffer.read(disk, offset, sizeBytes), offset);
    } else if (kind === 8) disk.flush();
    else if (random(4) === 0) {
      disk[Symbol.dispose]();
      disk = open();
    }
    assert.deepEqual(
      Buffer.compare(buffer.read(disk, offset, sizeBytes), model.subarray(offset, offset + sizeBytes)),
      0,
    );
  }
  disk.flush();
  assert.ok(Buffer.from(buffer.read(disk, 0, model.length)).equals(model), 'the whole disk');
  disk[Symbol.dispose]();
  assert.deepEqual(checkImage(file.content).errors, []);
}

describe('random operations do what they do to plain bytes', () => {
  for (const version of [2, 3] as const) {
    for (const clusterBits of [9, 12, 16]) {
      for (const backingBytes of [undefined, 70_001]) {
        test(`version ${version}, clusters of 2^${clusterBits}, ${backingBytes ? 'on another disk' : 'alone'}`, () => {
          runModel({ sizeBytes: SIZE, version, clusterBits, ...(backingBytes ? { backingBytes } : {}) }, clusterBits);
        });
      }
    }
  }
  for (const refcountOrder of [0, 1, 2, 3, 4, 5, 6]) {
    test(`reference counts of 2^${refcountOrder} bits`, () => {
      runModel({ sizeBytes: SIZE, clusterBits: 9, refcountOrder }, refcountOrder);
    });
  }
});

describe('space', () => {
  test('the refcount table grows', () => {
    using buffer = new RequestBuffer(1 << 20);
    const { file, open } = createScenario({ sizeBytes: 8 << 20, clusterBits: 9, refcountOrder: 6 }, buffer);
    const before = new DataView(file.content.buffer).getUint32(56);
    const disk = open();
    for (let part = 0; part < 8; part++) buffer.write(disk, part << 20, new Uint8Array(1 << 20).fill(part + 1));
    disk.flush();
    assert.ok(new DataView(file.content.buffer).getUint32(56) > before);
    disk[Symbol.dispose]();
    assert.deepEqual(checkImage(file.content), { errors: [], leaks: 0 });
    using again = open();
    for (let part = 0; part < 8; part++) assert.equal(buffer.read(again, (part << 20) + 5, 1)[0], part + 1);
  });

  test('what is discarded is used again', () => {
    using buffer = new RequestBuffer(1 << 20);
    const { file, open } = createScenario({ sizeBytes: 8 << 20 }, buffer);
    using disk = open();
    for (let turn = 0; turn < 10; turn++) {
      buffer.write(disk, 1 << 20, new Uint8Array(1 << 20).fill(7));
      disk.discard({ offset: 1 << 20, sizeBytes: 1 << 20 });
      disk.flush();
    }
    assert.ok(file.lengthBytes < 3 << 20, `${file.lengthBytes} bytes`);
    assert.equal(checkImage(file.content).errors.length, 0);
  });

  test('a disk grows, and shows nothing of what lies below its old end', () => {
    using buffer = new RequestBuffer(1 << 20);
    const shape = { sizeBytes: 20_000, clusterBits: 9, backingBytes: 60_000 };
    const { file, model, open } = createScenario(shape, buffer);
    const disk = open();
    const lengths: number[] = [];
    disk.onLengthChange = (length) => lengths.push(length);
    disk.grow(500_224);
    disk.grow(500_224);
    for (const length of [499_712, 0, 500_225, Number.NaN])
      assert.throws(() => disk.grow(length), { code: 'BAD_SIZE' });
    assert.deepEqual(lengths, [500_224]);
    assert.ok(Buffer.from(buffer.read(disk, 0, 20_000)).equals(model));
    assert.ok(buffer.read(disk, 20_000, 480_224).every((byte) => byte === 0));
    buffer.write(disk, 499_000, new Uint8Array(1000).fill(3));
    disk[Symbol.dispose]();
    assert.deepEqual(checkImage(file.content).errors, []);
    using again = open();
    assert.equal(again.lengthBytes, 500_224);
    assert.equal(buffer.read(again, 499_999, 1)[0], 3);
  });

  test('a write that finds no room fails, and the next one succeeds', () => {
    using buffer = new RequestBuffer(4096);
    const { file, open } = createScenario({ sizeBytes: SIZE, clusterBits: 12 }, buffer);
    const disk = open();
    file.failAfter = 0;
    assert.throws(() => buffer.write(disk, 100, new Uint8Array(50).fill(1)), /told to fail/);
    assert.throws(() => disk.flush(), /told to fail/);
    file.failAfter = Number.POSITIVE_INFINITY;
    buffer.write(disk, 100, new Uint8Array(50).fill(2));
    disk.flush();
    disk[Symbol.dispose]();
    using again = open();
    assert.deepEqual([...buffer.read(again, 99, 3)], [0, 2, 2]);
    assert.deepEqual(checkImage(file.content).errors, []);
  });
});

describe('damage', () => {
  const L2_ENTRY = 4;
  /** An image with one cluster of data, and a way to change the entry that leads to it. */
  function damaged(buffer: RequestBuffer, high: number, low: number) {
    const { file, open } = createScenario({ sizeBytes: SIZE, clusterBits: 12 }, buffer);
    const disk = open();
    buffer.write(disk, 0, new Uint8Array(10).fill(1));
    disk[Symbol.dispose]();
    const view = new DataView(file.content.buffer);
    const l2 = view.getUint32(view.getUint32(44) + L2_ENTRY);
    view.setUint32(l2, high);
    view.setUint32(l2 + L2_ENTRY, low);
    return { file, disk: open() };
  }

  for (const [name, high, low] of [
    ['a cluster in the refcount table', 0x8000_0000, 0x1000],
    ['a cluster that is not aligned', 0x8000_0000, 0x5200],
    ['a cluster behind the end', 0x8000_0001, 0],
    ['reserved bits', 0x8100_0000, 0x5000],
    ['compressed data in the header', 0x4000_0000, 0x10],
    ['compressed data behind the end', 0x4000_0001, 0],
  ] as const) {
    test(`${name} is an error, is marked, and ends all writing`, () => {
      using buffer = new RequestBuffer(4096);
      const { file, disk } = damaged(buffer, high, low);
      assert.throws(() => buffer.read(disk, 0, 1), { name: 'DiskError', code: 'BAD_IMAGE' });
      assert.equal(file.content[79], 2);
      const before = file.content.slice();
      assert.throws(() => buffer.write(disk, 50_000, new Uint8Array(1)), { code: 'BAD_IMAGE' });
      assert.throws(() => disk.flush(), { code: 'BAD_IMAGE' });
      disk[Symbol.dispose]();
      assert.deepEqual(file.content, before);
      assert.throws(() => new Qcow2Disk(file), { code: 'UNSUPPORTED', message: /marked corrupt/ });
      assert.equal(new Qcow2Disk(file, { readOnly: true }).lengthBytes, SIZE);
    });
  }

  test('compressed data that are none are an error of the one cluster', () => {
    using buffer = new RequestBuffer(4096);
    const { file, disk } = damaged(buffer, 0x4000_0000, 0x5000);
    assert.throws(() => buffer.read(disk, 0, 1), { code: 'BAD_IMAGE', message: /compressed/ });
    assert.equal(buffer.read(disk, 8192, 1)[0], 0);
    assert.equal(file.content[79], 0);
  });

  test('autoclear bits go with the first write', () => {
    using buffer = new RequestBuffer(4096);
    const { file, open } = createScenario({ sizeBytes: SIZE }, buffer);
    file.content[95] = 0x81;
    using disk = open();
    buffer.read(disk, 0, 1);
    assert.equal(file.content[95], 0x81);
    buffer.write(disk, 0, new Uint8Array(1));
    assert.equal(file.content[95], 0);
  });
});

describe('what an image must not have', () => {
  const image = (change: (view: DataView) => void): MemoryImage => {
    const file = new MemoryImage();
    createQcow2(file, { sizeBytes: SIZE, backing: { name: 'b', format: 'raw' } });
    change(new DataView(file.content.buffer));
    return file;
  };
  for (const [name, change, message] of [
    ['magic', (view) => view.setUint8(0, 0), /magic/],
    ['version 4', (view) => view.setUint32(4, 4), /version 4/],
    ['cluster bits', (view) => view.setUint32(20, 22), /cluster bits of 22/],
    ['small clusters', (view) => view.setUint32(20, 8), /cluster bits of 8/],
    ['encryption', (view) => view.setUint32(32, 1), /encryption/],
    ['external data', (view) => view.setUint8(79, 4), /external data file/],
    ['subclusters', (view) => view.setUint8(79, 16), /extended L2/],
    ['bit 5', (view) => view.setUint8(79, 32), /feature bit 5$/],
    ['bit 63', (view) => view.setUint8(72, 128), /feature bit 63$/],
    ['refcount order', (view) => view.setUint32(96, 7), /refcount order of 7/],
    ['header length', (view) => view.setUint32(100, 100), /header length of 100/],
    ['compression', (view) => view.setUint8(79, 8), /compression type/],
    ['L1 in the header', (view) => view.setUint32(44, 0), /L1 table overlaps the header/],
    ['L1 not aligned', (view) => view.setUint32(44, 0x30008), /L1 table is not at a cluster/],
    ['L1 behind the end', (view) => view.setUint32(40, 1), /L1 table leaves the file/],
    ['L1 too short', (view) => view.setUint32(36, 0), /too short/],
    ['L1 too long', (view) => view.setUint32(36, 0xffff_ffff), /L1 table of 4294967295/],
    ['size', (view) => view.setUint32(24, 0xffff_ffff), /2\^53/],
    ['no refcount table', (view) => view.setUint32(56, 0), /refcount table of 0/],
    ['overlap', (view) => view.setUint32(52, 0x30000), /overlap/],
    ['name too long', (view) => view.setUint32(16, 1024), /name of 1024/],
    ['name outside', (view) => view.setUint32(12, 0xffff), /leaves the first|name/],
    ['format not stated', (view) => view.setUint32(104, 1), /not stated/],
    ['format unknown', (view) => view.setUint8(112, 0x78), /of format "xaw"/],
    ['extension too long', (view) => view.setUint32(108, 0xffff_fff0), /extension/],
  ] as readonly (readonly [string, (view: DataView) => void, RegExp])[]) {
    test(`${name} is refused`, () => {
      assert.throws(
        () => new Qcow2Disk(image(change), { readOnly: true }),
        (error) => error instanceof DiskError && message.test(error.message),
      );
    });
  }

  for (const [name, change, message] of [
    ['marked dirty', (view) => view.setUint8(79, 1), /dirty/],
    ['with snapshots', (view) => view.setUint32(60, 1), /snapshots/],
    ['with a refcount block in the header', (view) => view.setUint32(0x10004, 1), /refcount block/],
    ['whose L1 entry leads to the L1 table', (view) => view.setUint32(0x30004, 0x30000), /overlaps/],
  ] as readonly (readonly [string, (view: DataView) => void, RegExp])[]) {
    test(`an image ${name} is not opened for writing`, () => {
      const file = new MemoryImage();
      createQcow2(file, { sizeBytes: SIZE });
      change(new DataView(file.content.buffer));
      const before = file.content.slice();
      assert.throws(() => new Qcow2Disk(file), { name: 'DiskError', message });
      assert.deepEqual(file.content, before);
    });
  }
});
