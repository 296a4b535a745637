import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TableMemory, walkPages } from './page-walk.ts';

const PAGES = { cr0: 0x8000_0001n, cr3: 0x1000n, cr4: 0x20n, efer: 0x500n };

/** Memory of 16 pages with these 8-byte words. */
function memoryOf(words: Readonly<Record<number, bigint>>): TableMemory {
  const view = new DataView(new ArrayBuffer(0x10000));
  for (const [address, word] of Object.entries(words)) view.setBigUint64(Number(address), word, true);
  return {
    contains: (address, sizeBytes) => address >= 0 && address + sizeBytes <= view.byteLength,
    readU32: (address) => view.getUint32(address, true),
    readU64: (address) => view.getBigUint64(address, true),
  };
}

test('without paging an address is itself, up to 4 GiB', () => {
  const memory = memoryOf({});
  assert.equal(walkPages({ ...PAGES, cr0: 1n }, memory, 0x1234n), 0x1234);
  assert.equal(walkPages({ ...PAGES, cr0: 1n }, memory, 1n << 32n), undefined);
});

test('four levels map pages of 4 KiB, 2 MiB and 1 GiB', () => {
  const upper = 0x1000 + 8 * 511;
  const memory = memoryOf({
    [upper]: 0x2003n,
    [0x2000 + 8 * 510]: 0x3003n,
    [0x3000]: 0x4003n,
    [0x4000 + 8 * 5]: 0x8000_0000_1234_5063n,
    [0x3000 + 8]: 0x4020_00e3n,
    [0x2000 + 8 * 511]: 0xc000_00e3n,
  });
  assert.equal(walkPages(PAGES, memory, 0xffff_ffff_8000_5678n), 0x1234_5678);
  assert.equal(walkPages(PAGES, memory, 0xffff_ffff_8021_2345n), 0x4021_2345);
  assert.equal(walkPages(PAGES, memory, 0xffff_ffff_c012_3456n), 0xc012_3456);
});

test('nothing is mapped where an entry is absent, a table is no memory, or the address is not canonical', () => {
  const memory = memoryOf({ [0x1000]: 0x7777_0003n, [0x1008]: 0x2000n, [0x1010]: 0x000f_ffff_ffff_f003n });
  for (const address of [0n, 1n << 39n, 2n << 39n, 3n << 39n, 0x0001_0000_0000_0000n, 0xfffe_ffff_ffff_ffffn]) {
    assert.equal(walkPages(PAGES, memory, address), undefined, address.toString(16));
  }
});

test('five levels map what four have no name for', () => {
  const state = { ...PAGES, cr4: 0x1020n };
  const memory = memoryOf({ [0x1008]: 0x2003n, [0x2000]: 0x3003n, [0x3000]: 0x4003n, [0x4000]: 0x60_00e3n });
  assert.equal(walkPages(state, memory, (1n << 48n) + 0x1234n), 0x60_1234);
});

test('PAE paging has four pointers of its own', () => {
  const state = { ...PAGES, cr3: 0x1020n, efer: 0n };
  const memory = memoryOf({ [0x1038]: 0x2001n, [0x2000]: 0x3003n, [0x3008]: 0x5_0000_7003n, [0x2008]: 0xe3n });
  assert.equal(walkPages(state, memory, 0xc000_1abcn), 0x5_0000_7abc);
  assert.equal(walkPages(state, memory, 0xc020_0001n), 1);
  assert.equal(walkPages(state, memory, 0n), undefined);
});

test('32-bit paging has pages of 4 KiB, and of 4 MiB with PSE', () => {
  const memory = memoryOf({ [0x1000]: 0x0080_2083_0000_2003n, [0x2008]: 0x0000_9003n });
  const state = { ...PAGES, cr4: 0x10n, efer: 0n };
  assert.equal(walkPages(state, memory, 0x2abcn), 0x9abc);
  assert.equal(walkPages(state, memory, 0x0040_1234n), 2 ** 32 + 0x80_1234);
});
