import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { IoVectors } from '#disk/io-vectors.ts';
import { RawDisk, type RawDiskOptions } from '#disk/raw.ts';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { close, OpenFlag, open } from '#sys/file.ts';

const folder = mkdtempSync(join(tmpdir(), 'raw-disk-'));
after(() => rmSync(folder, { recursive: true }));

const SIZE = 1024 * 1024;
let images = 0;

function create(options: RawDiskOptions = {}) {
  const path = join(folder, `disk${images++}.img`);
  writeFileSync(path, Buffer.alloc(SIZE, 0x11));
  const disk = RawDisk.open(path, options);
  const mapping = MemoryMapping.anonymous(SIZE);
  const vectors = new IoVectors(mapping.slice(0, SIZE), 2000);
  const dispose = () => {
    disk.close();
    mapping.close();
  };
  return { path, disk, memory: mapping.bytes, vectors, [Symbol.dispose]: dispose };
}

const code = (expected: string) => (error: unknown) => (error as { code?: unknown }).code === expected;

describe('a raw disk', () => {
  test('reads and writes by ranges of memory', () => {
    using all = create();
    all.memory.set(Buffer.from('hello'), 10);
    all.memory.set(Buffer.from(' world'), 5000);
    all.vectors.push(10, 5);
    all.vectors.push(5000, 6);
    all.disk.writeAt(511, all.vectors);
    assert.equal(all.vectors.sizeBytes, 0);
    assert.equal(readFileSync(all.path).subarray(511, 522).toString(), 'hello world');
    all.vectors.clear();
    all.vectors.push(100, 6);
    all.vectors.push(0, 5);
    all.disk.readAt(511, all.vectors);
    assert.equal(Buffer.from(all.memory.subarray(100, 106)).toString(), 'hello ');
    assert.equal(Buffer.from(all.memory.subarray(0, 5)).toString(), 'world');
    all.disk.flush();
  });

  test('takes more ranges than one call', () => {
    using all = create();
    for (let index = 0; index < 2000; index++) all.vectors.push(index * 2, 1);
    all.disk.readAt(0, all.vectors);
    assert.ok(all.memory.subarray(0, 4000).every((byte, at) => byte === (at % 2 === 0 ? 0x11 : 0)));
  });

  test('refuses what leaves it, before anything is done', () => {
    using all = create();
    for (const offset of [SIZE, SIZE - 1, -1, 2 ** 60, Number.NaN]) {
      all.vectors.clear();
      all.vectors.push(0, 2);
      assert.throws(() => all.disk.readAt(offset, all.vectors), code('OUT_OF_RANGE'));
      assert.throws(() => all.disk.writeAt(offset, all.vectors), code('OUT_OF_RANGE'));
      assert.throws(() => all.disk.discard({ offset, sizeBytes: 2 }), code('OUT_OF_RANGE'));
      assert.throws(() => all.disk.writeZeroes({ offset, sizeBytes: 2 }, false), code('OUT_OF_RANGE'));
    }
    assert.equal(statSync(all.path).size, SIZE);
  });

  test('says so when the file was truncated by somebody', () => {
    using all = create();
    truncateSync(all.path, 4096);
    all.vectors.push(0, 1024);
    assert.throws(() => all.disk.readAt(3584, all.vectors), code('SHORT'));
  });

  test('discards and writes zeros, with and without keeping the space', () => {
    using all = create();
    all.disk.discard({ offset: 0, sizeBytes: 65536 });
    all.disk.writeZeroes({ offset: 131072, sizeBytes: 65536 }, true);
    all.disk.writeZeroes({ offset: 262144 + 100, sizeBytes: 70000 }, false);
    const content = readFileSync(all.path);
    assert.equal(content.length, SIZE);
    const zeros = (from: number, to: number) => content.subarray(from, to).every((byte) => byte === 0);
    assert.ok(zeros(131072, 196608) && zeros(262244, 332244));
    assert.ok(content[131071] === 0x11 && content[196608] === 0x11 && content[262243] === 0x11);
    assert.ok(content[332244] === 0x11);
  });

  test('that is only read refuses all changes', () => {
    using all = create({ readOnly: true });
    all.vectors.push(0, 512);
    assert.throws(() => all.disk.writeAt(0, all.vectors), code('READ_ONLY'));
    assert.throws(() => all.disk.discard({ offset: 0, sizeBytes: 512 }), code('READ_ONLY'));
    assert.throws(() => all.disk.writeZeroes({ offset: 0, sizeBytes: 512 }, false), code('READ_ONLY'));
    assert.throws(() => all.disk.grow(2 * SIZE), code('READ_ONLY'));
    all.disk.readAt(0, all.vectors);
  });

  test('is locked: one writer, or several readers', () => {
    using writer = create();
    assert.throws(() => RawDisk.open(writer.path), code('LOCKED'));
    assert.throws(() => RawDisk.open(writer.path, { readOnly: true }), /disk\d+\.img.*writes to it/);
    RawDisk.open(writer.path, { lock: false }).close();
    using reader = create({ readOnly: true });
    RawDisk.open(reader.path, { readOnly: true }).close();
    assert.throws(() => RawDisk.open(reader.path), code('LOCKED'));
  });

  test('grows, tells its listener, and never becomes smaller', () => {
    using all = create();
    const lengths: number[] = [];
    all.disk.onLengthChange = (length) => lengths.push(length);
    all.disk.grow(2 * SIZE);
    all.disk.grow(2 * SIZE);
    for (const length of [SIZE, 0, 2 * SIZE - 512, 2 * SIZE + 1, -512, Number.NaN, 2 ** 60])
      assert.throws(() => all.disk.grow(length), code('BAD_SIZE'));
    assert.deepEqual([lengths, all.disk.lengthBytes, statSync(all.path).size], [[2 * SIZE], 2 * SIZE, 2 * SIZE]);
  });

  test('is a regular file', () => {
    assert.throws(() => RawDisk.open(folder, { readOnly: true }), code('BAD_IMAGE'));
    assert.throws(() => RawDisk.open('/dev/zero'), code('BAD_IMAGE'));
    assert.throws(() => RawDisk.open(join(folder, 'none')), code('ENOENT'));
    const { reader, writer } = openPipe();
    assert.throws(() => new RawDisk(reader), code('BAD_IMAGE'));
    reader.close();
    writer.close();
  });

  test('a flush that failed once fails for ever: the kernel would say that all is well the second time', () => {
    const path = join(folder, `disk${images++}.img`);
    writeFileSync(path, Buffer.alloc(512));
    const fd = Fd.open(path, OpenFlag.RDWR);
    const disk = new RawDisk(fd, { lock: false });
    // Stands in for a medium that fails once: the descriptor is closed behind the disk's back, and then good again.
    close(fd.fd);
    assert.throws(() => disk.flush(), code('FLUSH_FAILED'));
    assert.equal(open(path, OpenFlag.RDWR), fd.fd);
    assert.throws(() => disk.flush(), code('FLUSH_FAILED'));
    fd.close();
  });
});
