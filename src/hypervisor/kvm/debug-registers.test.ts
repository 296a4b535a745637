import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Breakpoint } from '../debug.ts';
import { debugRegisters, hitOf, KVM_DEBUG_FEATURES } from './debug-registers.ts';

const BREAKPOINTS: readonly Breakpoint[] = [
  { kind: 'hardware', address: 0xffff_ffff_8100_0000n, sizeBytes: 1 },
  { kind: 'write', address: 0x1000n, sizeBytes: 4 },
  { kind: 'access', address: 0x2000n, sizeBytes: 8 },
  { kind: 'read', address: 0x3002n, sizeBytes: 2 },
];

test('breakpoints take the debug registers in their order, SDM vol. 3 §17.2.4', () => {
  const registers = debugRegisters(BREAKPOINTS);
  assert.deepEqual(
    registers.slice(0, 4),
    BREAKPOINTS.map(({ address }) => address),
  );
  // LEN and R/W of DR3 down to DR0: 01 11, 10 11, 11 01, 00 00; then GE, bit 10, and G3 to G0.
  assert.equal(registers[7], 0b0111_1011_1101_0000_0000_0110_1010_1010n);
});

test('without any the registers are off', () => {
  assert.equal(debugRegisters([])[7], 0n);
});

test('DR6 names the breakpoint that was met', () => {
  assert.equal(hitOf(0xffff_0ff4n, BREAKPOINTS), BREAKPOINTS[2]);
  assert.equal(hitOf(0xffff_4ff0n, BREAKPOINTS), undefined);
});

test('data is watched in aligned parts of 1, 2, 4 and 8 bytes', () => {
  const canWatch = (address: bigint, sizeBytes: number): boolean =>
    KVM_DEBUG_FEATURES.canWatch({ kind: 'write', address, sizeBytes });
  assert.deepEqual(
    [canWatch(8n, 8), canWatch(3n, 1), canWatch(2n, 4), canWatch(0n, 3), canWatch(0n, 16)],
    [true, true, false, false, false],
  );
});
