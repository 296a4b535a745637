/** vCPU threads that die without reaching their own last words: Node ends them, and their machine must not wait for ever. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { code, TinyGuest } from './tiny-guest.ts';

const DYING = join(import.meta.dirname, 'dying-thread.ts');
const limit = { timeout: 30_000 };
const NO_MEMORY = 'vCPU 0: Worker terminated due to reaching memory limit: JS heap out of memory';
/** The control loop looks twice a second; the rest is for a busy host. */
const NOTICE_LIMIT_MS = 5000;

describe("a vCPU's thread that dies", limit, () => {
  for (const { way, output, message } of [
    { way: 'out of memory at its start', output: '', message: NO_MEMORY },
    { way: 'out of memory at its first sleep', output: 'upup', message: NO_MEMORY },
    { way: 'ended at its first sleep', output: 'upup', message: 'vCPU 0: its thread ended with status 3' },
    { way: 'not to be loaded', output: '', message: 'vCPU 0: Error [ERR_MODULE_NOT_FOUND]: Cannot find module' },
  ]) {
    test(`${way}: the machine ends with a host error, and no descriptor or child is left`, limit, async () => {
      await using guest = new TinyGuest([code.print('up'), code.haltForever], ['--disable-sandbox'], [DYING, way]);
      const ended = await guest.end();
      assert.deepEqual([ended.status, ended.signal, ended.output], [EXIT_CODES['host-error'], null, output]);
      assert.equal(ended.errors.split(`crosvm: ${message}`).length - 1, 2, ended.errors);
      const { before, after } = JSON.parse(ended.errors.trimEnd().split('\n').at(-1) ?? '');
      assert.deepEqual(after, before);
      assert.deepEqual(after.children, []);
    });
  }

  test('is noticed at once, behind the walls of the main process', limit, async (t) => {
    await using guest = new TinyGuest([code.print('up'), code.haltForever], [], [DYING, 'ended at its first sleep']);
    await guest.printed('up');
    const started = performance.now();
    const ended = await guest.end();
    assert.deepEqual([ended.status, ended.signal], [EXIT_CODES['host-error'], null], ended.errors);
    const ms = performance.now() - started;
    t.diagnostic(`noticed after ${ms.toFixed(0)} ms`);
    assert.ok(ms < NOTICE_LIMIT_MS, `${ms} ms`);
  });
});
