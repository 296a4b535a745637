import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ascii, byteSum, concatBytes, sealChecksum, u8, u16, u32, u64 } from './table-bytes.ts';

test('fields are little endian', () => {
  const bytes = concatBytes(u8(0x12), u16(0x3456), u32(0x89abcdef), u64(0x1_2345_6789_abcd));
  assert.equal(Buffer.from(bytes).toString('hex'), '12' + '5634' + 'efcdab89' + 'cdab896745230100');
});

test('a value that its field cannot hold is refused', () => {
  assert.throws(() => u8(256));
  assert.throws(() => u16(-1));
  assert.throws(() => u32(2 ** 32));
  assert.throws(() => u64(2 ** 53));
  assert.throws(() => u32(0.5));
});

test('text is filled with blanks and refused when it is too long or not ASCII', () => {
  assert.deepEqual([...ascii('ISA', 6)], [0x49, 0x53, 0x41, 0x20, 0x20, 0x20]);
  assert.throws(() => ascii('TOOLONG', 6));
  assert.throws(() => ascii('é', 6));
});

test('a sealed table sums up to zero whatever stood in its checksum byte', () => {
  const table = Uint8Array.of(200, 100, 77, 255);
  sealChecksum(table, 2);
  assert.deepEqual([...table], [200, 100, 213, 255]);
  assert.equal(byteSum(table), 0);
});
