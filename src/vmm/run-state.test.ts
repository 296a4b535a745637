import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RunState } from './run-state.ts';

test('a new machine has no outcome and no panic', () => {
  const state = new RunState();
  assert.deepEqual([state.outcome, state.panicked], [undefined, false]);
});

test('the first outcome stays', () => {
  const state = new RunState();
  assert.equal(state.end('reset'), true);
  assert.equal(state.end('power-off'), false);
  assert.equal(state.outcome, 'reset');
});

test('objects over the same words see the same', () => {
  const state = new RunState();
  const other = new RunState(state.words);
  other.end('crash');
  other.notePanic();
  assert.deepEqual([state.outcome, state.panicked], ['crash', true]);
});
