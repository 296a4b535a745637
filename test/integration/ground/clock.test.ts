import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { clockSince, monotonicNs } from '#util/clock.ts';

test('a clock since an origin is the monotonic clock, to the nanosecond', () => {
  const originNs = monotonicNs();
  const clock = clockSince(originNs);
  for (let i = 0; i < 1000; i++) {
    const before = Number(monotonicNs() - originNs);
    const now = clock.nowNs();
    const after = Number(monotonicNs() - originNs);
    assert.ok(before <= now && now <= after, `${now} ns is not from ${before} to ${after}`);
  }
});

test('a thread that has just begun never reads a time before one that it was told', async () => {
  const originNs = monotonicNs();
  const clock = clockSince(originNs);
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ clockSince }) => {
      const clock = clockSince(workerData.originNs);
      parentPort.once('message', (told) => parentPort.postMessage([told, clock.nowNs()]));
    });`;
  const module = import.meta.resolve('#util/clock.ts');
  const worker = new Worker(source, { eval: true, workerData: { originNs, module } });
  try {
    worker.postMessage(clock.nowNs());
    const [told, read] = await new Promise<[number, number]>((done, fail) => {
      worker.once('message', done);
      worker.once('error', fail);
    });
    const now = clock.nowNs();
    assert.ok(told <= read && read <= now, `${read} ns is not from ${told} to ${now}`);
  } finally {
    await worker.terminate();
  }
});
