import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GiB, MiB } from '#util/bits.ts';
import { E820_TYPE, e820Map } from './e820.ts';
import { memoryRanges } from './layout.ts';

const LOW = [
  { start: 0, sizeBytes: 0x9e800, type: 1 },
  { start: 0x9e800, sizeBytes: 0x61800, type: 2 },
];

const ECAM = { start: 0xf400_0000, sizeBytes: 64 * MiB, type: 2 };

test('64 MiB and 256 MiB are RAM from 1 MiB to their end', () => {
  assert.deepEqual(e820Map(64 * MiB), [...LOW, { start: MiB, sizeBytes: 63 * MiB, type: 1 }, ECAM]);
  assert.deepEqual(e820Map(256 * MiB), [...LOW, { start: MiB, sizeBytes: 255 * MiB, type: 1 }, ECAM]);
});

test('3 GiB still fits below the MMIO hole', () => {
  assert.deepEqual(e820Map(3 * GiB), [...LOW, { start: MiB, sizeBytes: 3 * GiB - MiB, type: 1 }, ECAM]);
});

test('5 GiB go on above 4 GiB', () => {
  assert.deepEqual(e820Map(5 * GiB), [
    ...LOW,
    { start: MiB, sizeBytes: 0xd000_0000 - MiB, type: 1 },
    ECAM,
    { start: 4 * GiB, sizeBytes: 5 * GiB - 0xd000_0000, type: 1 },
  ]);
});

test('every entry but the configuration space has RAM behind it', () => {
  for (const size of [4 * MiB, 64 * MiB, 3 * GiB, 5 * GiB]) {
    const backed = memoryRanges(size).reduce((sum, range) => sum + range.sizeBytes, 0);
    const mapped = e820Map(size)
      .filter(({ start }) => start !== ECAM.start)
      .reduce((sum, entry) => sum + entry.sizeBytes, 0);
    assert.equal(mapped, backed);
    assert.equal(backed, size);
  }
});

test('nothing but RAM and reserved memory is reported', () => {
  const types = new Set(e820Map(5 * GiB).map(({ type }) => type));
  assert.deepEqual(types, new Set([E820_TYPE.RAM, E820_TYPE.RESERVED]));
});
