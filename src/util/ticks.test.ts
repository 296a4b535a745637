import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nsOfTicks, ticksOfNs } from './ticks.ts';

/** Of the clock chip's crystal, the PIT and the power management timer. */
const frequency = fc.constantFrom(32_768, 1_193_182, 3_579_545);

test('ticks are those of exact arithmetic', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), frequency, (ns, hz) => {
      assert.equal(BigInt(ticksOfNs(ns, hz)), (BigInt(ns) * BigInt(hz)) / 1_000_000_000n);
    }),
  );
});

test('a tick has come at its time and not a nanosecond before', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), frequency, (ns, hz) => {
      const ticks = ticksOfNs(ns, hz);
      const startNs = nsOfTicks(ticks, hz);
      assert.ok(startNs <= ns);
      assert.deepEqual([ticksOfNs(startNs, hz), ticksOfNs(startNs - 1, hz)], [ticks, ticks - 1]);
    }),
  );
});
