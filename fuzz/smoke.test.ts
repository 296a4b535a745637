import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import type { Clock } from '#util/clock.ts';
import { fuzz } from './engine.ts';
import { Random } from './random.ts';
import { CANARY, loadCanaryOf, loadTarget, targetNames } from './registry.ts';
import { FuzzFailure, inputTarget, shrinkText } from './target.ts';

/** Time that only a test moves. */
class TestClock implements Clock {
  #nowNs = 0;
  nowNs(): number {
    return this.#nowNs;
  }
  wallMs(): number {
    return 0;
  }
  advance(seconds: number): void {
    this.#nowNs += seconds * 1e9;
  }
}

/** For what is found within seconds where nothing else runs. */
const CANARY_SECONDS = 60;
const SMOKE = { seed: 1, cases: 2000, seconds: 3 };

for (const name of targetNames()) {
  test(`smoke: ${name}`, async () => {
    const target = await loadTarget(name);
    assert.ok(target);
    const { cases, failure } = fuzz(target, SMOKE);
    assert.ifError(failure?.error);
    assert.ok(cases > 0);
  });
}

for (const name of targetNames()) {
  const canary = await loadCanaryOf(name);
  if (canary === undefined) continue;
  test(`the canary of ${name} is found`, () => {
    assert.ok(fuzz(canary, { ...SMOKE, seconds: CANARY_SECONDS }).failure);
  });
}

test('the canary is found, and its input is shrunk to the one wrong byte', async () => {
  const canary = await loadTarget(CANARY);
  assert.ok(canary);
  const { failure } = fuzz(canary, SMOKE);
  assert.ok(failure?.error instanceof FuzzFailure);
  assert.match(failure.error.message, /^input (?:c[89a-f]|[d-f].)$/);
});

test('a failing case fails again alone by its seed and number', async () => {
  const canary = await loadTarget(CANARY);
  assert.ok(canary);
  const first = fuzz(canary, SMOKE);
  assert.ok(first.failure);
  const again = fuzz(canary, { ...SMOKE, cases: 1, firstCase: first.failure.caseNumber });
  assert.equal(String(again.failure?.error), String(first.failure.error));
});

test('the command prints how to repeat a failure and exits with 1; unknown targets exit with 2', () => {
  const run = (...parameters: string[]) =>
    spawnSync(process.execPath, [new URL('run.ts', import.meta.url).pathname, ...parameters], { encoding: 'utf8' });
  const failed = run(CANARY, '--seed', '7', '--cases', '1000');
  assert.equal(failed.status, 1);
  const [, repeat = ''] = /repeat with: node fuzz\/run\.ts (canary --seed 7 --case \d+)\n/.exec(failed.stdout) ?? [];
  assert.equal(run(...repeat.split(' ')).status, 1);
  assert.equal(run('nothing').status, 2);
  assert.equal(run('canary', '--seed', '-1').status, 2);
  assert.equal(run().status, 2);
});

test('a case that takes seconds is a failure', () => {
  const clock = new TestClock();
  const slow = { name: 'slow', run: () => clock.advance(6) };
  assert.match(String(fuzz(slow, { seed: 0, cases: 10, seconds: 60 }, clock).failure?.error), /took 6\.0 s/);
});

test('a run ends after its seconds', () => {
  const clock = new TestClock();
  const target = { name: 'second', run: () => clock.advance(1) };
  assert.deepEqual(fuzz(target, { seed: 0, cases: 1000, seconds: 5 }, clock), { cases: 5 });
});

test('shrinking keeps what makes the case fail', () => {
  const target = inputTarget<string>({
    name: 'text',
    generate: () => 'a long text with a needle in it',
    check: (input) => assert.ok(!input.includes('needle')),
    show: JSON.stringify,
    shrink: shrinkText,
  });
  assert.throws(() => target.run(new Random(1), 0), { name: 'FuzzFailure', message: 'input "needle"' });
});

test('the generator is xoshiro128**: equal seeds give equal numbers, cases differ', () => {
  const draw = (random: Random) => Array.from({ length: 8 }, () => random.u32());
  assert.deepEqual(draw(new Random(5, 9)), draw(new Random(5, 9)));
  assert.notDeepEqual(draw(new Random(5, 9)), draw(new Random(5, 10)));
  assert.notDeepEqual(draw(new Random(5, 9)), draw(new Random(6, 9)));
});

test('numbers below a limit reach every value and never the limit', () => {
  const random = new Random(3);
  const seen = new Set(Array.from({ length: 1000 }, () => random.below(10)));
  assert.deepEqual([...seen].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.throws(() => random.pick([]), RangeError);
});
