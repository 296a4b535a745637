import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CpuidEntry, guestCpuid, physicalAddressBits } from './cpuid.ts';

const entry = (leaf: number, values: Partial<CpuidEntry> = {}): CpuidEntry => ({
  function: leaf,
  index: 0,
  flags: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...values,
});

/** What KVM says of a host with 64 processors in the places that are a vCPU's own. */
const SUPPORTED: readonly CpuidEntry[] = [
  entry(0x0, { eax: 0x1f, ebx: 0x756e_6547 }),
  entry(0x1, { eax: 0x6_06a6, ebx: 0x1740_0800, ecx: 0x76fa_3203, edx: 0x1f8b_fbff }),
  // Levels 1 and 3: of 2 threads and of 64.
  entry(0x4, { index: 0, flags: 1, eax: 0x7c00_4121 }),
  entry(0x4, { index: 3, flags: 1, eax: 0x7c0f_c163 }),
  entry(0x4, { index: 4, flags: 1 }),
  entry(0x6, { eax: 4, ecx: 9 }),
  entry(0xb, { flags: 1 }),
  entry(0x1f, { flags: 1 }),
  entry(0x8000_0008, { eax: 0x3034, ecx: 0x703f }),
  entry(0x8000_001d, { index: 3, flags: 1, eax: 0x1_c163 }),
  entry(0x8000_001e, { eax: 77, ebx: 0x1ff }),
];

const cpuidOf = (vcpuIndex: number, vcpuCount: number, tscDeadline = true): CpuidEntry[] =>
  guestCpuid(SUPPORTED, { vcpuIndex, vcpuCount, tscDeadline });
const leaf = (entries: readonly CpuidEntry[], number: number, index = 0): CpuidEntry => {
  const found = entries.find((each) => each.function === number && each.index === index);
  assert.ok(found !== undefined, `leaf ${number.toString(16)}`);
  return found;
};

describe("a guest's CPUID", () => {
  test('has the APIC id, the number of vCPUs and a cache line of 64 bytes in leaf 1', () => {
    assert.equal(leaf(cpuidOf(2, 3), 1).ebx, 0x0204_0800);
    assert.equal(leaf(cpuidOf(0, 1), 1).ebx, 0x0001_0800);
    assert.equal(leaf(cpuidOf(200, 255), 1).ebx, 0xc8ff_0800);
  });

  test('tells of a hypervisor and of an x2APIC, and of deadlines where KVM has them', () => {
    const HYPERVISOR_X2APIC = 0x8020_0000;
    const DEADLINE = 0x0100_0000;
    assert.equal(leaf(cpuidOf(0, 1), 1).ecx, (0x76fa_3203 | HYPERVISOR_X2APIC | DEADLINE) >>> 0);
    assert.equal(leaf(cpuidOf(0, 1, false), 1).ecx, (0x76fa_3203 | HYPERVISOR_X2APIC) >>> 0);
  });

  test('tells of several processors in a package only where there are several', () => {
    const HTT = 1 << 28;
    assert.equal(leaf(cpuidOf(0, 1), 1).edx & HTT, 0);
    assert.equal(leaf(cpuidOf(0, 2), 1).edx & HTT, HTT);
  });

  test('gives each vCPU its own first-level cache and all of them the last', () => {
    const entries = cpuidOf(1, 4);
    const cores = 3 << 26;
    assert.equal(leaf(entries, 4, 0).eax, (cores | 0x121) >>> 0);
    assert.equal(leaf(entries, 4, 3).eax, (cores | (3 << 14) | 0x163) >>> 0);
    assert.equal(leaf(entries, 4, 4).eax, 0, 'the end of the list');
    assert.equal(leaf(entries, 0x8000_001d, 3).eax, (3 << 14) | 0x163);
  });

  test('has as many cores of one thread each as there are vCPUs, in both ways to say it', () => {
    for (const number of [0xb, 0x1f]) {
      const levels = [0, 1, 2].map((index) => leaf(cpuidOf(5, 6), number, index));
      const shown = levels.map(({ flags, eax, ebx, ecx, edx }) => ({ flags, eax, ebx, ecx, edx }));
      assert.deepEqual(shown, [
        { flags: 1, eax: 0, ebx: 1, ecx: 0x100, edx: 5 },
        { flags: 1, eax: 3, ebx: 6, ecx: 0x201, edx: 5 },
        { flags: 1, eax: 0, ebx: 0, ecx: 2, edx: 5 },
      ]);
    }
    const amd = cpuidOf(5, 6);
    assert.equal(leaf(amd, 0x8000_0008).ecx, (3 << 12) | 5);
    assert.deepEqual(leaf(amd, 0x8000_001e), entry(0x8000_001e, { eax: 5, ebx: 5 }));
  });

  test('has no leaves that KVM does not have, and the others as they are', () => {
    const few = guestCpuid(SUPPORTED.slice(0, 2), { vcpuIndex: 0, vcpuCount: 2, tscDeadline: false });
    assert.deepEqual(
      few.map((each) => each.function),
      [0, 1],
    );
    assert.deepEqual(few[0], SUPPORTED[0]);
  });

  test('has no energy-performance bias, whose register KVM does not keep', () => {
    assert.equal(leaf(cpuidOf(0, 1), 6).ecx, 1);
  });
});

test('a guest has as many address bits as leaf 0x80000008 says, and 36 where there is none', () => {
  assert.equal(physicalAddressBits(SUPPORTED), 0x34);
  assert.equal(physicalAddressBits([]), 36);
});
