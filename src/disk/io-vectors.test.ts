import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { IoVectors } from './io-vectors.ts';

const SIZE = 4096;

function create(capacity = 4) {
  const mapping = MemoryMapping.anonymous(SIZE);
  return { vectors: new IoVectors(mapping.slice(0, SIZE), capacity), [Symbol.dispose]: () => mapping.close() };
}

const ranges = (vectors: IoVectors) =>
  Array.from({ length: vectors.count }, (_, index) => [vectors.offsetAt(index), vectors.sizeAt(index)]);

describe('a list of ranges', () => {
  test('counts ranges and bytes, and is empty again after clear', () => {
    using all = create();
    all.vectors.push(0, 10);
    all.vectors.push(100, 20);
    assert.deepEqual([all.vectors.count, all.vectors.sizeBytes], [2, 30]);
    all.vectors.clear();
    assert.deepEqual([all.vectors.count, all.vectors.sizeBytes], [0, 0]);
  });

  test('what was transferred goes away, whole ranges and parts', () => {
    using all = create();
    all.vectors.push(0, 10);
    all.vectors.push(100, 20);
    all.vectors.push(200, 5);
    const before = all.vectors.address;
    all.vectors.advance(3);
    assert.deepEqual(ranges(all.vectors), [
      [3, 7],
      [100, 20],
      [200, 5],
    ]);
    all.vectors.advance(7);
    assert.equal(all.vectors.address, before + 16);
    all.vectors.advance(21);
    assert.deepEqual(ranges(all.vectors), [[201, 4]]);
    all.vectors.advance(4);
    assert.deepEqual([all.vectors.count, all.vectors.sizeBytes], [0, 0]);
  });

  test('a range outside of the memory, or one too many, is a mistake of the program', () => {
    using all = create(1);
    assert.throws(() => all.vectors.push(SIZE - 1, 2));
    assert.throws(() => all.vectors.push(-1, 2));
    assert.throws(() => all.vectors.push(0, 0));
    all.vectors.push(SIZE - 1, 1);
    assert.throws(() => all.vectors.push(0, 1));
    assert.throws(() => all.vectors.advance(2));
  });
});
