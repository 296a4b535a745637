import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootMsrs, bootRegisters } from './boot-registers.ts';

test('the kernel is entered in long mode with paging on and interrupts off', () => {
  const { general, special } = bootRegisters(0x100_0000);
  assert.equal(general.rip, 0x100_0000n);
  assert.equal(general.rsi, 0x7000n);
  assert.equal(general.rsp, 0x8000n);
  assert.equal(general.rbp, 0x8000n);
  assert.equal(general.rflags, 2n);
  assert.equal(special.cr0, 0x8000_0031n);
  assert.equal(special.cr3, 0x9000n);
  assert.equal(special.cr4, 0x20n);
  assert.equal(special.efer, 0x500n);
  assert.equal(special.apicBase, 0xfee0_0900n);
});

test('the segment registers hold the selectors of the boot protocol', () => {
  const { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt } = bootRegisters(0x100_0000).special;
  assert.equal(cs.selector, 0x10);
  assert.deepEqual(
    [ds, es, fs, gs, ss].map(({ selector }) => selector),
    [0x18, 0x18, 0x18, 0x18, 0x18],
  );
  assert.equal(tr.selector, 0x20);
  assert.equal(ldt.unusable, true);
  assert.deepEqual(gdt, { base: 0x1500n, limit: 0x2f });
  assert.deepEqual(idt, { base: 0x1530n, limit: 7 });
});

test('the floating-point control words are those after FNINIT and reset', () => {
  assert.deepEqual(bootRegisters(0x100_0000).fpu, { fcw: 0x37f, mxcsr: 0x1f80 });
});

test('the MTRRs make the hole below 4 GiB uncacheable and the rest write-back', () => {
  const msrs = new Map(bootMsrs(40).map(({ index, value }) => [index, value]));
  assert.equal(msrs.get(0x200), 0xd000_0000n);
  assert.equal(msrs.get(0x201), 0xff_f000_0800n);
  assert.equal(msrs.get(0x202), 0xe000_0000n);
  assert.equal(msrs.get(0x203), 0xff_e000_0800n);
  assert.equal(msrs.get(0x2ff), 0x806n);
  assert.equal(msrs.get(0x1a0), 1n);
  assert.equal(msrs.size, 6);
});
