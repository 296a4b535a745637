import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PausableClock } from '#util/clock.ts';
import { RunState } from './run-state.ts';
import { SUSPEND_LIMIT_MS, Suspension } from './suspension.ts';

/** A machine of two vCPUs whose threads are the test's to play, and time that it moves. */
function machine() {
  let nowNs = 1000;
  let kicks = 0;
  const host = { nowNs: () => nowNs, wallMs: () => 0 };
  const clock = new PausableClock(host);
  const runState = new RunState();
  const standing = { fd: -1, read: () => undefined };
  const kick = (): void => {
    kicks++;
  };
  const suspension = new Suspension({ runState, standing, clock, vcpuCount: 2, kick, hostClock: host });
  const answers: (string | undefined)[] = [];
  return {
    suspension,
    clock,
    runState,
    answers,
    kicks: () => kicks,
    pass: (ns: number) => {
      nowNs += ns;
    },
    suspend: () => suspension.suspend((error) => void answers.push(error?.code)),
    /** A vCPU's thread: it stands, and is let go at once by what `during` does. */
    stand: (during: () => void) => new RunState(runState.words).standStill(during),
  };
}

describe('a suspension', () => {
  test('is over when every vCPU stands, and from then on the clock too', () => {
    const { suspension, clock, runState, answers, kicks, pass, suspend, stand } = machine();
    suspend();
    assert.deepEqual([suspension.state, kicks(), runState.wantsStandstill], ['suspending', 1, true]);
    stand(() => {
      suspension.turn();
      pass(10);
      assert.deepEqual([suspension.state, clock.nowNs(), answers], ['suspending', 1010, []]);
      stand(() => {
        suspension.turn();
        pass(1e12);
        assert.deepEqual([suspension.state, clock.nowNs(), answers], ['suspended', 1010, [undefined]]);
        suspend();
        assert.deepEqual(answers, [undefined, undefined]);
        suspension.resume();
      });
    });
    pass(5);
    assert.deepEqual([suspension.state, clock.nowNs(), runState.wantsStandstill], ['running', 1015, false]);
  });

  test('that takes too long is given up, and the clock has gone on', () => {
    const { suspension, clock, runState, answers, pass, suspend, stand } = machine();
    suspend();
    suspend();
    assert.equal(suspension.timeoutMs, SUSPEND_LIMIT_MS);
    stand(() => {
      pass(SUSPEND_LIMIT_MS * 1e6);
      assert.equal(suspension.timeoutMs, 0);
      suspension.turn();
    });
    assert.deepEqual(answers, ['TOO_LATE', 'TOO_LATE']);
    assert.deepEqual([suspension.state, suspension.timeoutMs, runState.wantsStandstill], ['running', undefined, false]);
    assert.equal(clock.nowNs(), 1000 + SUSPEND_LIMIT_MS * 1e6);
  });

  test('is given up by a resume', () => {
    const { suspension, answers, suspend, runState } = machine();
    suspend();
    suspension.resume();
    assert.deepEqual([answers, suspension.state, runState.wantsStandstill], [['WRONG_STATE'], 'running', false]);
  });

  test('of a machine that runs, a resume does nothing', () => {
    const { suspension, clock, kicks, pass } = machine();
    pass(5);
    suspension.resume();
    assert.deepEqual([suspension.state, clock.nowNs(), kicks()], ['running', 1005, 0]);
  });
});

describe('a standstill', () => {
  test('of a machine that is to run or end is none', () => {
    const state = new RunState();
    const never = (): void => assert.fail('it stands');
    state.standStill(never);
    state.askEnd();
    state.standStill(never);
    assert.equal(state.wantsEnd, true);
  });

  test('is counted for itself: who still stands in the one before does not count', () => {
    const state = new RunState();
    state.askStandstill();
    state.standStill(() => {
      assert.equal(state.standing, 1);
      state.askRun();
      state.askStandstill();
      assert.equal(state.standing, 0);
    });
  });

  test('ends with the machine', () => {
    const state = new RunState();
    state.askStandstill();
    state.standStill(() => state.askEnd());
    assert.equal(state.wantsEnd, true);
  });
});
