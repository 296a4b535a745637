import assert from 'node:assert/strict';
import { test } from 'node:test';
import { byteSum } from '../table-bytes.ts';
import { acpiTables, type PlacedTable } from './acpi-tables.ts';

function table(signature: string, cpuCount = 2): PlacedTable & { view: DataView } {
  const found = acpiTables(cpuCount).find((placed) => placed.signature === signature);
  assert.ok(found);
  return { ...found, view: new DataView(found.bytes.buffer) };
}

test('every description table has the header of the specification and sums up to zero', () => {
  for (const signature of ['DSDT', 'FACP', 'APIC', 'XSDT']) {
    const { bytes, view } = table(signature);
    assert.equal(Buffer.from(bytes.subarray(0, 4)).toString(), signature);
    assert.equal(view.getUint32(4, true), bytes.length);
    assert.equal(byteSum(bytes), 0);
  }
});

test('the RSDP comes first, with both checksums, and leads to every table', () => {
  const root = table('RSD PTR ');
  assert.equal(root.address, 0xe0000);
  assert.equal(Buffer.from(root.bytes.subarray(0, 8)).toString(), 'RSD PTR ');
  assert.equal(root.bytes.length, 36);
  assert.equal(root.bytes[15], 2);
  assert.equal(byteSum(root.bytes.subarray(0, 20)), 0);
  assert.equal(byteSum(root.bytes), 0);

  const xsdt = table('XSDT');
  assert.equal(root.view.getBigUint64(24, true), BigInt(xsdt.address));
  assert.equal(xsdt.bytes.length, 36 + 2 * 8);
  assert.equal(xsdt.view.getBigUint64(36, true), BigInt(table('FACP').address));
  assert.equal(xsdt.view.getBigUint64(44, true), BigInt(table('APIC').address));

  const { view: fadt } = table('FACP');
  assert.equal(fadt.getUint32(36, true), table('FACS').address);
  assert.equal(fadt.getUint32(40, true), table('DSDT').address);
  assert.equal(fadt.getBigUint64(140, true), BigInt(table('DSDT').address));
});

test('the tables lie apart inside their area, also for the most processors', () => {
  const tables = acpiTables(255);
  let previousEnd = 0xe0000;
  for (const { address, bytes } of tables) {
    assert.ok(address >= previousEnd);
    assert.equal(address % 64, 0);
    previousEnd = address + bytes.length;
  }
  assert.ok(previousEnd <= 0xf0000);
});

test('the FADT names the power management block, the SCI and the reset register', () => {
  const { bytes, view } = table('FACP');
  assert.equal(bytes.length, 276);
  assert.deepEqual([bytes[8], bytes[131]], [6, 3]);
  assert.equal(view.getUint16(46, true), 9);
  assert.deepEqual(
    [56, 64, 76].map((field) => view.getUint32(field, true)),
    [0x600, 0x604, 0x608],
  );
  assert.deepEqual([...bytes.subarray(88, 96)], [4, 2, 0, 4, 0, 0, 0, 0]);
  assert.equal(bytes[108], 0x32);
  assert.equal(view.getUint16(109, true), 0b10101);
  assert.equal(view.getUint32(112, true), 0x565);
  const gas = (offset: number): string => Buffer.from(bytes.subarray(offset, offset + 12)).toString('hex');
  assert.equal(gas(116), '01080001' + 'f90c000000000000');
  assert.equal(bytes[128], 6);
  assert.equal(gas(148), '01200002' + '0006000000000000');
  assert.equal(gas(172), '01100002' + '0406000000000000');
  assert.equal(gas(208), '01200003' + '0806000000000000');
});

test('the FACS has 64 bytes and version 2', () => {
  const { bytes, view } = table('FACS');
  assert.equal(bytes.length, 64);
  assert.equal(view.getUint32(4, true), 64);
  assert.equal(bytes[32], 2);
});

test('the MADT lists processors, I/O APIC, the override of the SCI and the NMI input', () => {
  const { bytes, view } = table('APIC');
  assert.equal(view.getUint32(36, true), 0xfee0_0000);
  assert.equal(view.getUint32(40, true), 1);
  const entries: string[] = [];
  for (let offset = 44; offset < bytes.length; offset += bytes[offset + 1] ?? bytes.length) {
    entries.push(Buffer.from(bytes.subarray(offset, offset + (bytes[offset + 1] ?? 0))).toString('hex'));
  }
  assert.deepEqual(entries, [
    '0008' + '0000' + '01000000',
    '0008' + '0101' + '01000000',
    '010c' + '0000' + '0000c0fe' + '00000000',
    '020a' + '0009' + '09000000' + '0f00',
    '0406' + 'ff' + '0000' + '01',
  ]);
});

/** What a compiler makes of \_S5 and \_SB.COM1 as this machine has them. */
const S5 = '085c5f53355f' + '120804' + '0a050a050000';
const COM1 = [
  '5b8232' + '434f4d31',
  '085f484944' + '0c41d00501',
  '085f554944' + '01',
  '085f535441' + '0a0f',
  '085f435253' + '1110' + '0a0d' + '4701f803f8030108' + '221000' + '7900',
].join('');

test('the DSDT holds the S5 state and the first serial port as a compiler would write them', () => {
  const code = Buffer.from(table('DSDT').bytes.subarray(36)).toString('hex');
  assert.ok(code.startsWith(S5));
  assert.ok(code.includes(COM1));
});
