import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { describeMismatch, runCampaign, shrink } from './campaign.ts';
import { type CaseResult, type Engine, FLAG, type TestCase, userState } from './case.ts';
import { NO_LEGACY_CODE, runsLegacyCode } from './legacy-code.ts';
import { HostEngine } from './native/host-engine.ts';

const reference = new HostEngine();
after(() => reference.close());
const hasLegacyCode = await runsLegacyCode(reference);

/** The host's processor with a mistake: what `change` does to a copy of each state that ends without an exception. */
function wrongEngine(change: (testCase: TestCase, result: CaseResult) => void): Engine {
  return {
    name: 'wrong',
    async run(cases) {
      const results = await reference.run(cases);
      return results.map((result, i) => {
        const copy = { ...result, state: userState(result.state.bytes.slice()) };
        if (!copy.exception) change(cases[i] as TestCase, copy);
        return copy;
      });
    },
  };
}

test('the host agrees with itself, in two processes', async (t) => {
  using subject = new HostEngine();
  if (!hasLegacyCode) t.diagnostic(NO_LEGACY_CODE);
  const { cases, mismatches } = await runCampaign({ reference, subject, hasLegacyCode, seed: 11, cases: 5000 });
  assert.deepEqual(mismatches.map(describeMismatch), []);
  assert.equal(cases, 5000);
});

test('a carry that one instruction gets wrong is found, named and made simple', async () => {
  const subject = wrongEngine(({ mnemonic }, { state }) => {
    if (mnemonic === 'SBB') state.control[1] = (state.control[1] as bigint) ^ BigInt(FLAG.CF);
  });
  const { mismatches } = await runCampaign({ reference, subject, seed: 12, cases: 2000 });
  assert(mismatches.length > 10);
  assert(mismatches.every(({ testCase }) => testCase.mnemonic === 'SBB'));
  const simple = await shrink(mismatches[0] as (typeof mismatches)[number], { reference, subject });
  assert.deepEqual(simple.testCase.patches, []);
  assert.match(
    describeMismatch(simple),
    /^seed 12 case \d+: (legacy )?SBB .*\n {2}begins: .*\n(.*\n)* {2}rflags: expected/,
  );
});

test('wrong registers, memory, vectors and exceptions are found', async () => {
  const wrong: readonly [RegExp, (result: CaseResult) => CaseResult][] = [
    [/r11: expected/, ({ state, ...rest }) => ({ ...rest, state: changed(state, 8 * 11) })],
    [/xmm3: expected/, ({ state, ...rest }) => ({ ...rest, state: changed(state, 192 + 160 + 48) })],
    [/mxcsr: expected/, ({ state, ...rest }) => ({ ...rest, state: changed(state, 192 + 24) })],
    [/\[0x70100005\]: expected/, (result) => ({ ...result, changes: [{ offset: 5, bytes: Uint8Array.of(1) }] })],
    [/expected .*, got exception 6/, (r) => ({ ...r, exception: { vector: 6, errorCode: 0, address: 0n } })],
    [/failed: on purpose/, (result) => ({ ...result, failure: 'on purpose' })],
  ];
  for (const [report, make] of wrong) {
    const subject: Engine = { name: 'wrong', run: async (cases) => (await reference.run(cases)).map(make) };
    const { mismatches } = await runCampaign({ reference, subject, seed: 13, cases: 50 });
    assert(mismatches.length > 25, String(report));
    assert(
      mismatches.some((mismatch) => report.test(describeMismatch(mismatch))),
      String(report),
    );
  }
});

function changed(state: CaseResult['state'], at: number): CaseResult['state'] {
  const bytes = state.bytes.slice();
  bytes[at] = (bytes[at] as number) ^ 1;
  return userState(bytes);
}

test('a campaign stops at its limit of mismatches', async () => {
  const subject = wrongEngine((_testCase, { state }) => {
    state.gpr[15] = (state.gpr[15] as bigint) ^ 1n;
  });
  const { cases } = await runCampaign({ reference, subject, seed: 14, cases: 100_000, mismatchesMax: 10 });
  assert(cases <= 1000);
});
