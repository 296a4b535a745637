import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createCpuid } from './cpuid.ts';

/** The registers as text, a byte a character. */
const text = (...registers: number[]): string => Buffer.from(Int32Array.from(registers).buffer).toString('latin1');

test('a guest finds that it has a hypervisor, which is KVM, and its clock', () => {
  const cpuid = createCpuid({ localApic: true, paravirtualClock: true });
  assert.equal(cpuid(1, 0)[2] >>> 31, 1);
  const [max, ...signature] = cpuid(0x40000000, 0);
  assert.equal(max, 0x40000001);
  assert.equal(text(...signature), 'KVMKVMKVM\0\0\0');
  // NOP_IO_DELAY, CLOCKSOURCE2 and CLOCKSOURCE_STABLE.
  assert.deepEqual(cpuid(0x40000001, 0), [(1 << 1) | (1 << 3) | (1 << 24), 0, 0, 0]);
});

test('without a clock there is no leaf of features', () => {
  const cpuid = createCpuid({ localApic: true, paravirtualClock: false });
  assert.equal(cpuid(0x40000000, 0)[0], 0x40000000);
  assert.deepEqual(cpuid(0x40000001, 0), [0, 0, 0, 0]);
});

test('the TSC is invariant and its frequency is known: 1 GHz', () => {
  const cpuid = createCpuid({ localApic: true, paravirtualClock: true });
  assert.equal((cpuid(0x80000007, 0)[3] >>> 8) & 1, 1);
  const [denominator, numerator, crystalHz] = cpuid(0x15, 0);
  assert.equal((crystalHz * numerator) / denominator, 1e9);
});
