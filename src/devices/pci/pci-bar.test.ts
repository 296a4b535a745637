import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SystemAllocator } from '#resources/system-allocator.ts';
import { allocateBars, type PciBar } from './pci-bar.ts';

const resources = {
  lowMmio: { start: 0xd000_0000, sizeBytes: 0x2400_0000 },
  highMmio: { start: 2 ** 32, sizeBytes: 2 ** 36 },
  ioPorts: { start: 0xc000, sizeBytes: 0x4000 },
  gsis: { first: 24, count: 1 },
};

test('64-bit BARs are high, others low, and memory BARs share no page', () => {
  const allocator = new SystemAllocator(resources);
  const bars: PciBar[] = [
    { index: 0, kind: 'memory32', sizeBytes: 0x10 },
    { index: 1, kind: 'memory32', sizeBytes: 0x10 },
    { index: 2, kind: 'memory64', sizeBytes: 2 ** 33 },
    { index: 4, kind: 'io', sizeBytes: 0x40 },
    { index: 5, kind: 'io', sizeBytes: 0x4 },
  ];
  const addresses = allocateBars(bars, allocator, 'x').map(({ address }) => address);
  assert.deepEqual(addresses, [0xd000_0000, 0xd000_1000, 2 ** 33, 0xc000, 0xc040]);
  assert.equal(allocator.lowMmio.ownerOf(0xd000_1000), 'x BAR 1');
});

test('a 64-bit BAR is low where there is no high MMIO', () => {
  const allocator = new SystemAllocator({ ...resources, highMmio: { start: 2 ** 40, sizeBytes: 0 } });
  const [bar] = allocateBars([{ index: 0, kind: 'memory64', sizeBytes: 0x4000 }], allocator, 'x');
  assert.equal(bar?.address, 0xd000_0000);
});

test('what does not fit is refused by name', () => {
  const bars: PciBar[] = [{ index: 2, kind: 'memory32', sizeBytes: 2 ** 30 }];
  assert.throws(() => allocateBars(bars, new SystemAllocator(resources), 'gpu'), {
    code: 'EXHAUSTED',
    message: /gpu BAR 2/,
  });
});

test('BARs of any sizes are aligned to them, inside their windows and apart', () => {
  const kind = fc.constantFrom('io' as const, 'memory32' as const, 'memory64' as const);
  fc.assert(
    fc.property(fc.array(fc.record({ kind, bits: fc.nat(4) }), { maxLength: 20 }), (wanted) => {
      const allocator = new SystemAllocator(resources);
      const placed = wanted.flatMap((bar) =>
        allocateBars([{ index: 0, kind: bar.kind, sizeBytes: 2 ** (bar.bits + 4) }], allocator, 'x'),
      );
      placed.sort((a, b) => a.address - b.address);
      placed.forEach(({ kind: space, address, sizeBytes }, i) => {
        const window = { io: resources.ioPorts, memory32: resources.lowMmio, memory64: resources.highMmio }[space];
        assert.equal(address % sizeBytes, 0);
        assert.ok(address >= window.start && address + sizeBytes <= window.start + window.sizeBytes);
        assert.ok(address + sizeBytes <= (placed[i + 1]?.address ?? Number.POSITIVE_INFINITY));
      });
    }),
  );
});
