import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeMismatch, runCampaign } from './campaign.ts';
import { hostMake } from './host-make.ts';
import { NO_LEGACY_CODE, runsLegacyCode } from './legacy-code.ts';
import { HostEngine } from './native/host-engine.ts';
import { SoftwareEngine } from './software-engine.ts';

for (const { compiles, cases: count, how } of [
  { compiles: false, cases: 20_000, how: 'interpreted' },
  { compiles: true, cases: 3000, how: 'compiled' },
]) {
  test(`the software CPU does what the host's processor does, in ${count} random instructions, ${how}`, async (t) => {
    using reference = new HostEngine();
    const hasLegacyCode = await runsLegacyCode(reference);
    if (!hasLegacyCode) t.diagnostic(NO_LEGACY_CODE);
    const world = { reference, subject: new SoftwareEngine({ compiles }), make: hostMake(), hasLegacyCode };
    const options = { ...world, seed: 20_200_131, cases: count, mismatchesMax: 20 };
    const { cases, leftOut, mismatches } = await runCampaign(options);
    assert.equal(mismatches.map(describeMismatch).join('\n'), '');
    assert.equal(cases, options.cases);
    assert.ok(leftOut < cases / 2);
  });
}
