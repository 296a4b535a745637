import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SoftwareIrqChip } from './irq-chip.ts';
import { KvmClock } from './kvm-clock.ts';
import type { LocalApic } from './local-apic.ts';
import { SoftwareMsrs } from './msr-bus.ts';

function createMsrs(): { msrs: SoftwareMsrs; localApic: LocalApic } {
  const clock = { nowNs: () => 0, wallMs: () => 0 };
  const chip = new SoftwareIrqChip(new Int32Array(SoftwareIrqChip.stateWords(1)), {
    vcpuCount: 1,
    clock,
    tscToNs: (_vcpu, ticks) => ticks,
  });
  const localApic = chip.localApics[0] as LocalApic;
  const noMemory = { contains: () => false, readU32: () => 0, write: () => undefined };
  const kvmClock = new KvmClock(clock, noMemory);
  return { msrs: new SoftwareMsrs({ localApic, kvmClock, clock }), localApic };
}

test('an MSR that does not exist is refused, read and written', () => {
  const { msrs } = createMsrs();
  assert.equal(msrs.read(0x12345), null);
  assert.equal(msrs.write(0x12345, 0, 0), false);
});

test('fast strings are on in IA32_MISC_ENABLE, which holds what is written', () => {
  const { msrs } = createMsrs();
  assert.deepEqual(msrs.read(0x1a0), [1, 0]);
  assert.equal(msrs.write(0x1a0, 0x801, 4), true);
  assert.deepEqual(msrs.read(0x1a0), [0x801, 4]);
});

test('IA32_ARCH_CAPABILITIES denies Meltdown and cannot be written', () => {
  const { msrs } = createMsrs();
  assert.equal((msrs.read(0x10a)?.[0] ?? 0) & 1, 1);
  assert.equal(msrs.write(0x10a, 0, 0), false);
});

test('IA32_SPEC_CTRL takes its defined bits only', () => {
  const { msrs } = createMsrs();
  assert.equal(msrs.write(0x48, 0x401, 0), true);
  assert.deepEqual(msrs.read(0x48), [0x401, 0]);
  assert.equal(msrs.write(0x48, 0x8, 0), false);
  assert.equal(msrs.write(0x48, 0, 1), false);
});

test('IA32_PRED_CMD takes IBPB and cannot be read', () => {
  const { msrs } = createMsrs();
  assert.equal(msrs.write(0x49, 1, 0), true);
  assert.equal(msrs.write(0x49, 2, 0), false);
  assert.equal(msrs.read(0x49), null);
});

test('the microcode revision survives the write that kernels clear it with', () => {
  const { msrs } = createMsrs();
  assert.equal(msrs.write(0x8b, 0, 0), true);
  assert.deepEqual(msrs.read(0x8b), [0, 1]);
});

test("the local APIC's registers are reached", () => {
  const { msrs, localApic } = createMsrs();
  assert.equal(msrs.write(0x1b, 0xfee0_0d00 | 0, 0), true);
  assert.equal(localApic.inbox.isX2apic(), true);
  // x2APIC spurious-interrupt vector.
  assert.equal(msrs.write(0x80f, 0x1ff, 0), true);
  assert.deepEqual(msrs.read(0x80f), [0x1ff, 0]);
});

test("the paravirtual clock's registers are reached", () => {
  const { msrs } = createMsrs();
  assert.equal(msrs.write(0x4b564d01, 0x5001, 0), true);
  assert.deepEqual(msrs.read(0x4b564d01), [0x5001, 0]);
});

test('firmware settings of registers that this processor does not have are passed over', () => {
  const { msrs } = createMsrs();
  msrs.set([
    { index: 0x2ff, value: 6n },
    { index: 0x1a0, value: 0x1_0000_0001n },
  ]);
  assert.equal(msrs.read(0x2ff), null);
  assert.deepEqual(msrs.read(0x1a0), [1, 1]);
});
