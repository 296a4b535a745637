import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOOT_SELECTOR, bootCodeSegment, bootDataSegment, bootGdt, bootTaskSegment, encodeDescriptor } from './gdt.ts';
import { GDT_ADDRESS, IDT_ADDRESS } from './layout.ts';

test('the boot GDT holds the flat segments of the boot protocol at their selectors', () => {
  const gdt = new DataView(bootGdt().buffer);
  assert.equal(gdt.byteLength, IDT_ADDRESS - GDT_ADDRESS);
  assert.equal(gdt.getBigUint64(0, true), 0n);
  assert.equal(gdt.getBigUint64(BOOT_SELECTOR.CODE, true), 0x00af_9b00_0000_ffffn);
  assert.equal(gdt.getBigUint64(BOOT_SELECTOR.DATA, true), 0x00cf_9300_0000_ffffn);
  assert.equal(gdt.getBigUint64(BOOT_SELECTOR.TASK, true), 0x0000_8b00_0000_0067n);
  assert.equal(gdt.getBigUint64(BOOT_SELECTOR.TASK + 8, true), 0n);
});

test('base and limit are spread over a descriptor as the manual draws it', () => {
  const bytes = encodeDescriptor({ base: 0x1234_5678, limit: 0xabcde, attributes: 0xc0f3 });
  assert.equal(new DataView(bytes.buffer).getBigUint64(0, true), 0x12ca_f334_5678_bcden);
});

test('fields that a descriptor cannot hold are refused', () => {
  assert.throws(() => encodeDescriptor({ base: 2 ** 32, limit: 0, attributes: 0 }));
  assert.throws(() => encodeDescriptor({ base: 0, limit: 0x100000, attributes: 0 }));
  assert.throws(() => encodeDescriptor({ base: 0, limit: 0, attributes: 0xf00 }));
});

test('hidden segment parts agree with the descriptors', () => {
  const flat = { base: 0n, limit: 0xffff_ffff, codeOrData: true, dpl: 0, present: true, available: false };
  assert.deepEqual(bootCodeSegment(), {
    ...flat,
    selector: 0x10,
    type: 0xb,
    longMode: true,
    defaultBig: false,
    granular: true,
    unusable: false,
  });
  assert.deepEqual(bootDataSegment(), {
    ...flat,
    selector: 0x18,
    type: 3,
    longMode: false,
    defaultBig: true,
    granular: true,
    unusable: false,
  });
  assert.deepEqual(
    [bootTaskSegment().type, bootTaskSegment().codeOrData, bootTaskSegment().limit, bootTaskSegment().granular],
    [0xb, false, 0x67, false],
  );
});
