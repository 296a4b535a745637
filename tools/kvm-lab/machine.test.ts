import assert from 'node:assert/strict';
import { test } from 'node:test';
import { labStatus, withoutHeartbeats } from './machine.ts';
import { HEARTBEAT } from './script.ts';

test("the status of the lab is that of init's last line, whatever else is on the console", () => {
  assert.equal(labStatus('crosvm-ts: init\r\ncrosvm-ts: exit status 7\r\n'), 7);
  assert.equal(labStatus(`crosvm-ts: exit status 124\n[   12.0] reboot: Power down\n`), 124);
});

test("a console that ends before init's last line has no status", () => {
  assert.equal(labStatus('crosvm-ts: init\r\nKernel panic - not syncing'), undefined);
  assert.equal(labStatus('said crosvm-ts: exit status 0'), undefined);
});

test('heartbeats are no part of what the kernel said', () => {
  assert.equal(withoutHeartbeats(`one\r\n${HEARTBEAT}\r\ntwo\r\n`), 'one\ntwo\n');
});
