import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as aml from './aml.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('integers take their shortest form', () => {
  const forms = [0, 1, 2, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff].map((value) => hex(aml.integer(value)));
  assert.deepEqual(forms, ['00', '01', '0a02', '0aff', '0b0001', '0bffff', '0c00000100', '0cffffffff']);
});

test('name paths are prefixed by the number of their segments', () => {
  assert.equal(hex(aml.namePath('COM1')), '434f4d31');
  assert.equal(hex(aml.namePath('\\_SB')), '5c5f53425f');
  assert.equal(hex(aml.namePath('_SB.PCI0')), '2e5f53425f50434930');
  assert.equal(hex(aml.namePath('_SB.PCI0.S0')), '2f035f53425f5043493053305f5f');
  assert.throws(() => aml.namePath('lower'));
  assert.throws(() => aml.namePath('TOOLONG'));
});

test('package lengths grow from one byte to four with the contents', () => {
  const length = (bytes: number): string => hex(aml.scope('ABCD', new Uint8Array(bytes)).subarray(1, 5));
  assert.equal(length(0x3f - 5), '3f414243');
  assert.equal(length(0x40 - 5), '41044142'); // 0x41 = 2 length bytes + 4 of the name + 0x3b
  assert.equal(length(0xfff - 6), '4fff4142');
  assert.equal(length(0x1000 - 6), '81000141'); // 0x1001
  assert.equal(length(0xf_ffff - 7), '8fffff41');
  assert.equal(length(0x10_0000 - 7), 'c1000001'); // 0x100001
});

test('EISA identifiers are compressed as the specification shows', () => {
  assert.equal(hex(aml.eisaId('PNP0501')), '0c41d00501');
  assert.equal(hex(aml.eisaId('PNP0C0A')), '0c41d00c0a');
  assert.equal(hex(aml.eisaId('PNP0000')), '0b41d0');
  assert.throws(() => aml.eisaId('ACPI0007'));
});

test('a resource template is a buffer of its descriptors and the end tag', () => {
  const template = aml.resourceTemplate(aml.ioPorts(0x3f8, 8), aml.isaIrq(4));
  assert.equal(hex(template), '1110' + '0a0d' + '4701f803f8030108' + '221000' + '7900');
});

test('address windows are descriptors of three widths', () => {
  assert.equal(hex(aml.busNumbers(0, 1)), '880d00' + '020c00' + '0000' + '0000' + '0000' + '0000' + '0100');
  assert.equal(
    hex(aml.memory32Fixed({ start: 0xf400_0000, sizeBytes: 0x400_0000 })),
    '86090001' + '000000f4' + '00000004',
  );
  const range = { start: 0xd000_0000, sizeBytes: 0x1000 };
  assert.equal(hex(aml.memoryWindow32(range)).slice(12, 28), '00000000' + '000000d0');
  assert.equal(aml.memoryWindow64({ start: 2 ** 32, sizeBytes: 2 ** 39 }).length, 46);
  assert.throws(() => aml.ioWindow({ start: 0xc000, sizeBytes: 0x1_0000 }));
});

test('devices, scopes, names and packages nest', () => {
  const bytes = aml.scope('\\_SB', aml.device('DEV', aml.name('_UID', aml.packageOf(aml.integer(0), aml.integer(5)))));
  assert.equal(hex(bytes), '1018' + '5c5f53425f' + '5b8210' + '4445565f' + '085f554944' + '12050200' + '0a05');
});
