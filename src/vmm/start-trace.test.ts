import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StartTrace } from './start-trace.ts';

test('a trace tells of each step when it ended and how long it took', () => {
  let nowMs = 40.06;
  const trace = new StartTrace(() => nowMs);
  trace.mark('the command line is read');
  nowMs = 52.3;
  trace.mark('the machine is built');
  nowMs = 1252.3;
  trace.mark('rng is in its jail');
  assert.deepEqual(trace.lines(), [
    'start:     40.1 ms    +40.1  the command line is read',
    'start:     52.3 ms    +12.2  the machine is built',
    'start:   1252.3 ms  +1200.0  rng is in its jail',
  ]);
});
