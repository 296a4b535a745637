import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { AddressAllocator, type Range } from './address-allocator.ts';
import { NumberAllocator } from './number-allocator.ts';
import { ResourceError } from './resource-error.ts';
import { SystemAllocator } from './system-allocator.ts';

const code =
  (expected: string, message: RegExp) =>
  (error: unknown): boolean =>
    error instanceof ResourceError && error.code === expected && message.test(error.message);

describe('AddressAllocator', () => {
  test('hands out the lowest free range with the alignment', () => {
    const allocator = new AddressAllocator('low MMIO', { start: 0x1001, sizeBytes: 0x10000 });
    assert.deepEqual(allocator.allocate({ sizeBytes: 0x100, alignment: 0x1000, tag: 'a' }), {
      start: 0x2000,
      sizeBytes: 0x100,
    });
    assert.equal(allocator.allocate({ sizeBytes: 0x10, tag: 'b' }).start, 0x1001);
    assert.equal(allocator.allocate({ sizeBytes: 0x1000, alignment: 0x1000, tag: 'c' }).start, 0x3000);
  });

  test('names what ran out, who asked and what is left', () => {
    const allocator = new AddressAllocator('low MMIO', { start: 0x1000, sizeBytes: 0x2000 });
    allocator.allocate({ sizeBytes: 0x1800, tag: 'gpu' });
    assert.throws(
      () => allocator.allocate({ sizeBytes: 0x1000, tag: 'net' }),
      code('EXHAUSTED', /low MMIO is exhausted: net asks for 0x1000 .*0x800 of 0x2000 are free/),
    );
  });

  test("a reserved range is nobody else's, and its owner is named", () => {
    const allocator = new AddressAllocator('I/O ports', { start: 0, sizeBytes: 0x10000 });
    allocator.reserve({ start: 0x3f8, sizeBytes: 8 }, 'serial');
    assert.throws(() => allocator.reserve({ start: 0x3ff, sizeBytes: 1 }, 'x'), code('TAKEN', /serial/));
    assert.equal(allocator.ownerOf(0x3ff), 'serial');
    assert.equal(allocator.ownerOf(0x400), undefined);
  });

  test('a range outside is refused', () => {
    const allocator = new AddressAllocator('low MMIO', { start: 0x1000, sizeBytes: 0x1000 });
    assert.throws(() => allocator.reserve({ start: 0x1fff, sizeBytes: 2 }, 'x'), code('BAD_REQUEST', /outside/));
    assert.throws(() => allocator.allocate({ sizeBytes: 0, tag: 'x' }), code('BAD_REQUEST', /0 bytes/));
  });

  test('what is released is handed out again, and only once', () => {
    const allocator = new AddressAllocator('low MMIO', { start: 0, sizeBytes: 0x100 });
    const range = allocator.allocate({ sizeBytes: 0x100, tag: 'a' });
    allocator.release(range);
    assert.deepEqual(allocator.allocate({ sizeBytes: 0x100, tag: 'b' }), range);
    assert.throws(() => allocator.release({ start: 0, sizeBytes: 1 }));
  });

  test('allocations are aligned, inside and apart, whatever is asked for', () => {
    const request = fc.record({
      sizeBytes: fc.integer({ min: 1, max: 0x400 }),
      alignment: fc.integer({ min: 0, max: 10 }).map((n) => 2 ** n),
      releases: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 40 }), (requests) => {
        const allocator = new AddressAllocator('range', { start: 0x123, sizeBytes: 0x2000 });
        const held: Range[] = [];
        for (const { sizeBytes, alignment, releases } of requests) {
          try {
            held.push(allocator.allocate({ sizeBytes, alignment, tag: 't' }));
            const last = held.at(-1) as Range;
            assert.equal(last.start % alignment, 0);
            assert.ok(last.start >= 0x123 && last.start + sizeBytes <= 0x2123);
          } catch (error) {
            assert.ok(error instanceof ResourceError && error.code === 'EXHAUSTED');
          }
          if (releases && held.length > 0) allocator.release(held.shift() as Range);
        }
        held.sort((a, b) => a.start - b.start);
        held.forEach((range, i) => {
          const next = held[i + 1];
          assert.ok(next === undefined || range.start + range.sizeBytes <= next.start);
        });
        assert.equal(allocator.freeBytes, 0x2000 - held.reduce((sum, range) => sum + range.sizeBytes, 0));
      }),
    );
  });
});

describe('NumberAllocator', () => {
  test('hands out the lowest free number, and says when there is none', () => {
    const allocator = new NumberAllocator('GSIs', { first: 5, count: 3 });
    allocator.reserve(6, 'sci');
    assert.deepEqual([allocator.allocate('a'), allocator.allocate('b')], [5, 7]);
    assert.throws(() => allocator.allocate('c'), code('EXHAUSTED', /GSIs are exhausted: c asks/));
    allocator.release(5);
    assert.equal(allocator.allocate('c'), 5);
  });

  test('refuses numbers that there are not and that are taken', () => {
    const allocator = new NumberAllocator('GSIs', { first: 5, count: 3 });
    allocator.reserve(5, 'a');
    assert.throws(() => allocator.reserve(5, 'b'), code('TAKEN', /a's/));
    assert.throws(() => allocator.reserve(8, 'b'), code('BAD_REQUEST', /8/));
  });
});

test('SystemAllocator keeps the resources of a machine apart', () => {
  const system = new SystemAllocator({
    lowMmio: { start: 0xd000_0000, sizeBytes: 0x2400_0000 },
    highMmio: { start: 0x1_0000_0000, sizeBytes: 2 ** 40 },
    ioPorts: { start: 0xc000, sizeBytes: 0x4000 },
    gsis: { first: 5, count: 19 },
  });
  assert.equal(system.lowMmio.allocate({ sizeBytes: 0x1000, tag: 'x' }).start, 0xd000_0000);
  assert.equal(system.highMmio.allocate({ sizeBytes: 2 ** 33, alignment: 2 ** 33, tag: 'x' }).start, 2 ** 33);
  assert.equal(system.ioPorts.allocate({ sizeBytes: 4, tag: 'x' }).start, 0xc000);
  assert.equal(system.gsis.allocate('x'), 5);
});
