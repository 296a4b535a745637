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

test('the model is Nehalem, which has SSE4.2 and POPCNT and neither AVX nor AES, as the features say', () => {
  const [eax, , ecx] = createCpuid({ localApic: true, paravirtualClock: true })(1, 0);
  const [family, model] = [(eax >>> 8) & 15, ((eax >>> 12) & 0xf0) | ((eax >>> 4) & 15)];
  // SDM vol. 4, table 2-1: 0x1a, 0x1e, 0x1f and 0x2e are Nehalem's.
  assert.deepEqual([family, model], [6, 0x1a]);
  const has = (bit: number): boolean => ((ecx >>> bit) & 1) === 1;
  assert.deepEqual(
    { sse42: has(20), popcnt: has(23), avx: has(28), aes: has(25) },
    { sse42: true, popcnt: true, avx: false, aes: false },
  );
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

test('each of several processors tells its id, and how many there are', () => {
  for (const apicId of [0, 2]) {
    const cpuid = createCpuid({ localApic: true, paravirtualClock: true, apicId, count: 3 });
    const [, ebx, , edx] = cpuid(1, 0);
    assert.equal(ebx >>> 24, apicId);
    // Room for ids: a power of two.
    assert.equal((ebx >>> 16) & 0xff, 4);
    assert.equal((edx >>> 28) & 1, 1);
    assert.deepEqual(cpuid(0xb, 0), [0, 1, 1 << 8, apicId]);
    assert.deepEqual(cpuid(0xb, 1), [2, 3, (2 << 8) | 1, apicId]);
    assert.deepEqual(cpuid(0xb, 2), [0, 0, 2, apicId]);
    const sharing = [0, 1, 2, 3].map((subleaf) => ((cpuid(4, subleaf)[0] >>> 14) & 0xfff) + 1);
    assert.deepEqual(sharing, [1, 1, 1, 4]);
    assert.equal((cpuid(4, 0)[0] >>> 26) + 1, 4);
    assert.equal(cpuid(4, 4)[0], 0);
  }
});

test('a processor alone has no siblings', () => {
  const cpuid = createCpuid({ localApic: true, paravirtualClock: true });
  assert.equal((cpuid(1, 0)[3] >>> 28) & 1, 0);
  assert.deepEqual(cpuid(0xb, 1), [0, 1, (2 << 8) | 1, 0]);
});
