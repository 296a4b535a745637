import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Signal } from '#sys/signal.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { statusText } from './forked-process.ts';
import { idMapText } from './jail.ts';
import { BASE_JAIL, NAMESPACES } from './jail-config.ts';
import { JailError, jailStep } from './jail-error.ts';

test('an id map is a line for each range, as /proc/PID/uid_map takes it', () => {
  const map = [
    { inside: 0, outside: 1000, count: 1 },
    { inside: 1, outside: 100_000, count: 65_536 },
  ];
  assert.equal(idMapText(map), '0 1000 1\n1 100000 65536\n');
});

test('a step that fails says which it was and with what errno', () => {
  const work = () => {
    throw new SyscallError('mount', 13, { path: '/proc' });
  };
  const check = (error: unknown) =>
    error instanceof JailError &&
    error.refusal.step === 'empty root' &&
    error.refusal.errno === 13 &&
    error.message === 'jail: empty root: mount "/proc": permission denied (EACCES)';
  assert.throws(() => jailStep('empty root', work), check);
});

test("a step's result is its work's", () =>
  assert.equal(
    jailStep('limits', () => 5),
    5,
  ));

test('a status in words', () => {
  assert.equal(statusText({ exitCode: 101 }), 'exit status 101');
  assert.equal(statusText({ signal: Signal.SIGSYS }), 'killed by SIGSYS');
  assert.equal(statusText({ signal: 64 }), 'killed by signal 64');
});

test('the base jail leaves nothing of the host in', () => {
  assert.deepEqual(BASE_JAIL.namespaces, NAMESPACES);
  assert.deepEqual([BASE_JAIL.root, BASE_JAIL.dumpable], ['empty', false]);
});
