import assert from 'node:assert/strict';
import { test } from 'node:test';
import { highMmioRange } from '../layout.ts';
import { byteSum } from '../table-bytes.ts';
import { acpiTables, type PlacedTable } from './acpi-tables.ts';

const HIGH_MMIO = highMmioRange(2 ** 28, 40);

function table(signature: string, cpuCount = 2): PlacedTable & { view: DataView } {
  const found = acpiTables({ cpuCount, highMmio: HIGH_MMIO }).find((placed) => placed.signature === signature);
  assert.ok(found);
  return { ...found, view: new DataView(found.bytes.buffer) };
}

test('every description table has the header of the specification and sums up to zero', () => {
  for (const signature of ['DSDT', 'FACP', 'APIC', 'MCFG', 'XSDT']) {
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
  assert.equal(xsdt.bytes.length, 36 + 3 * 8);
  assert.equal(xsdt.view.getBigUint64(36, true), BigInt(table('FACP').address));
  assert.equal(xsdt.view.getBigUint64(44, true), BigInt(table('APIC').address));
  assert.equal(xsdt.view.getBigUint64(52, true), BigInt(table('MCFG').address));

  const { view: fadt } = table('FACP');
  assert.equal(fadt.getUint32(36, true), table('FACS').address);
  assert.equal(fadt.getUint32(40, true), table('DSDT').address);
  assert.equal(fadt.getBigUint64(140, true), BigInt(table('DSDT').address));
});

test('the tables lie apart inside their area, also for the most processors', () => {
  const tables = acpiTables({ cpuCount: 255, highMmio: HIGH_MMIO });
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

test('the MCFG names the enhanced configuration space of segment 0 with its 64 buses', () => {
  const { bytes } = table('MCFG');
  assert.equal(
    Buffer.from(bytes.subarray(36)).toString('hex'),
    '0000000000000000' + '000000f400000000' + '0000003f00000000',
  );
});

/** What a compiler makes of the beginning of \_SB.PCI0 and of its resources. */
const PCI0 = [
  '50434930',
  '085f484944' + '0c41d00a03',
  '085f554944' + '00',
  '085f534547' + '00',
  '085f42424e' + '00',
].join('');
const PCI0_RESOURCES = [
  '880d00' + '020c00' + '00000000' + '3f0000004000',
  '4701f80cf80c0108',
  '880d00' + '010c03' + '000000c0' + 'ffff00000040',
  '871700' + '000c01' + '00000000' + '000000d0' + 'fffffff3' + '00000000' + '00000024',
  '8a2b00' +
    '000c01' +
    '0000000000000000' +
    '0000000001000000' +
    'ffffffffff000000' +
    '0000000000000000' +
    '00000000ff000000',
  '7900',
].join('');

test('the DSDT holds the PCI bus, its windows, and a route for every pin of every device', () => {
  const code = Buffer.from(table('DSDT').bytes.subarray(36)).toString('hex');
  assert.ok(code.includes(PCI0));
  assert.ok(code.includes(PCI0_RESOURCES));
  const routes = [...code.matchAll(/12[0-9a-f]{2}040cffff(..)00(0[01]|0a0[23])000a(1[0-3])/g)];
  assert.equal(routes.length, 31 * 4);
  assert.deepEqual(routes[0]?.slice(1), ['01', '00', '11']);
  assert.deepEqual(routes.at(-1)?.slice(1), ['1f', '0a03', '12']);
});

test('without high MMIO the bus has no such window', () => {
  const tables = acpiTables({ cpuCount: 1, highMmio: { start: 2 ** 40, sizeBytes: 0 } });
  const dsdt = tables.find(({ signature }) => signature === 'DSDT');
  assert.ok(dsdt && !Buffer.from(dsdt.bytes).toString('hex').includes('8a2b00'));
});
