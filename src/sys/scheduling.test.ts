import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { currentAffinity, HOST_CPUS_MAX, possibleAffinity, setAffinity } from './scheduling.ts';
import { SyscallError } from './syscall-error.ts';

describe('the processors of a thread', () => {
  test('what is set is read, and does not bound what can be set', () => {
    const before = currentAffinity();
    const possible = possibleAffinity();
    assert.deepEqual(currentAffinity(), before);
    assert.ok(before.length > 0 && before.every((cpu) => possible.includes(cpu)), `${before} of ${possible}`);
    try {
      setAffinity(before.slice(0, 1));
      assert.deepEqual(currentAffinity(), before.slice(0, 1));
      assert.deepEqual(possibleAffinity(), possible);
      assert.deepEqual(currentAffinity(), before.slice(0, 1));
    } finally {
      setAffinity(before);
    }
  });

  test('a processor that the host does not have cannot be set alone', () => {
    const before = currentAffinity();
    assert.throws(
      () => setAffinity([HOST_CPUS_MAX - 1]),
      (error) => error instanceof SyscallError && error.message.includes('sched_setaffinity'),
    );
    assert.deepEqual(currentAffinity(), before);
  });
});
