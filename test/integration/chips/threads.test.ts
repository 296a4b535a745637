import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { SerialInput } from '#arch/x86_64/board.ts';
import { createBoard, createShared, DONE, READY } from './shared-board.ts';

const TEXT_BYTES = 100_000;

test('input that one thread gives a serial port and another reads on interrupts arrives whole and in order', async () => {
  const shared = createShared();
  const { board } = createBoard(shared);
  const worker = new Worker(new URL('./guest-thread.ts', import.meta.url), {
    workerData: { shared, sizeBytes: TEXT_BYTES },
  });
  const result = once(worker, 'message') as Promise<[{ errors: number; interrupts: number }]>;
  const exited = once(worker, 'exit');
  const [port] = board.serialInputs as readonly [SerialInput];
  Atomics.wait(shared.control, READY, 0, 10_000);
  // The next byte is the one before it plus one, and chunks have all lengths.
  let next = 0;
  // A reader that missed an interrupt gives up and says so.
  const ended = (): boolean => Atomics.load(shared.control, DONE) === 1;
  for (let round = 0; next < TEXT_BYTES && !ended(); round++) {
    const chunk = Uint8Array.from({ length: Math.min(1 + (round % 29), TEXT_BYTES - next) }, (_, i) => next + i);
    for (let done = 0; done < chunk.length && !ended(); ) {
      const count = port.enqueue(chunk.subarray(done)) ?? 0;
      done += count;
      if (count === 0) {
        const seen = Atomics.load(shared.control, 2);
        if (port.space() === 0) Atomics.wait(shared.control, 2, seen, 1000);
      }
    }
    next += chunk.length;
  }
  const [{ errors, interrupts }] = await result;
  assert.equal(errors, 0, `after ${interrupts} interrupts`);
  assert.ok(interrupts > 0);
  assert.equal(Atomics.load(shared.control, DONE), 1);
  await exited;
});
