import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { KICKER, KICKER_END, type KickerData } from './kicker.ts';
import { SmallVm, skip } from './small-vm.ts';

/** jmp $ */
const LOOP = [0xeb, 0xfe];
/** hlt with interrupts off; jmp back */
const HALT = [0xf4, 0xeb, 0xfd];
const ROUNDS = 300;

test('a kick before run ends the next run, and no other', { skip }, () => {
  using vm = new SmallVm([0xe6, 0xf4, ...LOOP]);
  vm.vm.kick(0);
  assert.deepEqual(vm.vcpu.run(), { reason: 'kicked' });
  assert.deepEqual(vm.bus.accesses, []);
  vm.runTo('out f4 00');
});

for (const [what, code] of [
  ['computes', LOOP],
  ['halts with interrupts off', HALT],
] as const) {
  test(`${ROUNDS} kicks of another thread end as many runs of a guest that ${what}`, { skip }, async () => {
    using vm = new SmallVm(code);
    const words = new Int32Array(new SharedArrayBuffer(KICKER.WORDS * Int32Array.BYTES_PER_ELEMENT));
    const workerData: KickerData = { vm: vm.vm.describe(), words };
    const kicker = new Worker(new URL('./kicker.ts', import.meta.url), { workerData });
    const ended = new Promise((resolve) => kicker.once('exit', resolve));
    for (let round = 1; round <= ROUNDS; round++) {
      Atomics.store(words, KICKER.ASKED, round);
      Atomics.notify(words, KICKER.ASKED);
      assert.deepEqual(vm.vcpu.run(), { reason: 'kicked' });
      Atomics.store(words, KICKER.RETURNED, round);
      Atomics.notify(words, KICKER.RETURNED);
    }
    Atomics.store(words, KICKER.ASKED, KICKER_END);
    Atomics.notify(words, KICKER.ASKED);
    assert.equal(await ended, 0);
    assert.equal(words[KICKER.LOST], 0);
  });
}
