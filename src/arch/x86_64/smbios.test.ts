import assert from 'node:assert/strict';
import { test } from 'node:test';
import { smbiosTables } from './smbios.ts';
import { byteSum } from './table-bytes.ts';

test('the entry point is that of SMBIOS 3 and names the structures behind it', () => {
  const block = smbiosTables('1.2.3');
  const view = new DataView(block.buffer);
  assert.equal(Buffer.from(block.subarray(0, 5)).toString(), '_SM3_');
  assert.equal(view.getUint8(6), 0x18);
  assert.equal(byteSum(block.subarray(0, 0x18)), 0);
  assert.equal(view.getBigUint64(16, true), 0xf0020n);
  assert.equal(view.getUint32(12, true), block.length - 0x20);
});

test('the structures are firmware, system and end, with their strings', () => {
  const block = smbiosTables('1.2.3');
  const found: [number, number, string[]][] = [];
  for (let offset = 0x20; offset < block.length; ) {
    const type = block[offset] ?? -1;
    const length = block[offset + 1] ?? 0;
    let end = offset + length;
    while (block[end] !== 0 || block[end + 1] !== 0) end++;
    const strings = Buffer.from(block.subarray(offset + length, end))
      .toString()
      .split('\0');
    found.push([type, length, strings]);
    offset = end + 2;
  }
  assert.deepEqual(found, [
    [0, 0x1a, ['crosvm-ts', '1.2.3', '01/01/2020']],
    [1, 0x1b, ['crosvm-ts', 'crosvm-ts']],
    [127, 4, ['']],
  ]);
});
