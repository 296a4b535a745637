import assert from 'node:assert/strict';
import { test } from 'node:test';
import { identityPageTables } from './page-tables.ts';

/** Walks 4-level tables as Intel SDM vol. 3 §4.5.4 says; undefined where an entry is not present. */
function translate(tables: { address: number; bytes: Uint8Array }, linear: bigint): bigint | undefined {
  const view = new DataView(tables.bytes.buffer);
  let table = BigInt(tables.address);
  for (const shift of [39n, 30n, 21n, 12n]) {
    const entryAddress = table + ((linear >> shift) & 0x1ffn) * 8n;
    const entry = view.getBigUint64(Number(entryAddress) - tables.address, true);
    if ((entry & 1n) === 0n || (entry & 2n) === 0n) return undefined;
    const frame = entry & 0x000f_ffff_ffff_f000n;
    const pageMask = (1n << shift) - 1n;
    if (shift === 12n || (entry & 0x80n) !== 0n) return (frame & ~pageMask) | (linear & pageMask);
    table = frame;
  }
  return undefined;
}

test('every 2 MiB page of the first 4 GiB maps to itself', () => {
  const tables = identityPageTables();
  assert.equal(tables.address, 0x9000);
  for (let linear = 0x1234n; linear < 1n << 32n; linear += 1n << 21n) assert.equal(translate(tables, linear), linear);
  assert.equal(translate(tables, 0xffff_ffffn), 0xffff_ffffn);
});

test('nothing beyond 4 GiB is mapped', () => {
  const tables = identityPageTables();
  for (const linear of [1n << 32n, 1n << 38n, 1n << 39n, 0xffff_8000_0000_0000n]) {
    assert.equal(translate(tables, linear), undefined);
  }
});

test('the tables are six pages with the entry flags of the boot protocol', () => {
  const { bytes } = identityPageTables();
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 6 * 4096);
  assert.equal(view.getBigUint64(0, true), 0xa003n);
  assert.equal(view.getBigUint64(0x1000 + 3 * 8, true), 0xe003n);
  assert.equal(view.getBigUint64(0x2000 + 8, true), 0x20_0083n);
});
