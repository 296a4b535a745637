import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mpConfigurationTable, mpFloatingPointer } from './mp-table.ts';
import { byteSum } from './table-bytes.ts';

const ENTRY_SIZES = [20, 8, 8, 8, 8];

/** The entries of a configuration table, each as its bytes. */
function entries(table: Uint8Array): number[][] {
  const found: number[][] = [];
  for (let offset = 44; offset < table.length; ) {
    const sizeBytes = ENTRY_SIZES[table[offset] ?? -1];
    assert.ok(sizeBytes, `entry type ${table[offset]} at ${offset}`);
    found.push([...table.subarray(offset, offset + sizeBytes)]);
    offset += sizeBytes;
  }
  return found;
}

test('the floating pointer names the table and is as in the specification', () => {
  const pointer = mpFloatingPointer();
  assert.equal(Buffer.from(pointer).toString('hex'), '5f4d505f' + '00e80900' + '0104' + 'af' + '0000000000');
  assert.equal(byteSum(pointer), 0);
});

test('the header counts its entries and bytes and the checksum is right', () => {
  const table = mpConfigurationTable(2);
  const view = new DataView(table.buffer);
  assert.equal(Buffer.from(table.subarray(0, 4)).toString(), 'PCMP');
  assert.equal(view.getUint16(4, true), table.length);
  assert.equal(view.getUint8(6), 4);
  assert.equal(view.getUint16(34, true), entries(table).length);
  assert.equal(view.getUint32(36, true), 0xfee0_0000);
  assert.equal(byteSum(table), 0);
});

test('processors come first; the first of them is the boot processor', () => {
  const processors = entries(mpConfigurationTable(3)).slice(0, 3);
  assert.deepEqual(
    processors.map((entry) => entry.slice(0, 4)),
    [
      [0, 0, 0x14, 3],
      [0, 1, 0x14, 1],
      [0, 2, 0x14, 1],
    ],
  );
});

test('every ISA interrupt but the cascade arrives at the pin of its number, the SCI as level active low', () => {
  const interrupts = entries(mpConfigurationTable(1)).filter(([type, , , , bus]) => type === 3 && bus === 1);
  const expected = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
  assert.deepEqual(
    interrupts,
    expected.map((irq) => [3, 0, irq === 9 ? 0xf : 0, 0, 1, irq, 0, irq]),
  );
});

test('INTA of every PCI device but the host bridge arrives at one of four pins', () => {
  const interrupts = entries(mpConfigurationTable(1)).filter(([type, , , , bus]) => type === 3 && bus === 0);
  assert.equal(interrupts.length, 31);
  assert.deepEqual(
    [interrupts[0], interrupts[3], interrupts[30]],
    [
      [3, 0, 0, 0, 0, 1 << 2, 0, 17],
      [3, 0, 0, 0, 0, 4 << 2, 0, 16],
      [3, 0, 0, 0, 0, 31 << 2, 0, 19],
    ],
  );
});

test('buses, I/O APIC and local interrupts are those of a PC in virtual wire mode', () => {
  const all = entries(mpConfigurationTable(1));
  assert.deepEqual(all[1], [1, 0, 0x50, 0x43, 0x49, 0x20, 0x20, 0x20]);
  assert.deepEqual(all[2], [1, 1, 0x49, 0x53, 0x41, 0x20, 0x20, 0x20]);
  assert.deepEqual(all[3], [2, 0, 0x20, 1, 0, 0, 0xc0, 0xfe]);
  assert.deepEqual(all.slice(-2), [
    [4, 3, 0, 0, 1, 0, 0, 0],
    [4, 1, 0, 0, 1, 0, 0xff, 1],
  ]);
});

test('the most processors fit, more are refused', () => {
  assert.equal(entries(mpConfigurationTable(255)).length, 255 + 2 + 1 + 15 + 31 + 2);
  assert.throws(() => mpConfigurationTable(256));
  assert.throws(() => mpConfigurationTable(0));
});
