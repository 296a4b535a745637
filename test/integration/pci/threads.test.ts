import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { BAR_ADDRESS, BAR_BYTES, createRoot, createShared, FUNCTION_NUMBER, WORD } from './shared-bus.ts';

const THREADS = 3;
const ROUNDS = 20_000;

test('threads that use one function at once are in it one after the other, while its BAR moves', async () => {
  const shared = createShared();
  const root = createRoot(shared);
  root.writeConfig(FUNCTION_NUMBER, 4, Uint8Array.of(2, 0));
  const workers = Array.from(
    { length: THREADS },
    (_, index) =>
      new Worker(new URL('./bus-thread.ts', import.meta.url), { workerData: { shared, index, rounds: ROUNDS } }),
  );
  const counts = await Promise.all(workers.map((worker) => once(worker, 'message') as Promise<[number]>));
  const expected = counts.reduce((sum, [count]) => sum + count, 1);
  assert.equal(shared.device[WORD.COLLISIONS], 0);
  assert.equal(shared.device[WORD.ACCESSES], expected);
  // The last round of the thread that moves it.
  const data = new Uint8Array(1);
  root.memory.read(BAR_ADDRESS + ((ROUNDS - 1) % 4) * BAR_BYTES, data);
  assert.equal(data[0], 0);
});
