import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { Queue } from './queue/queue.ts';
import { RecordedInterrupt } from './testing/fakes.ts';
import { createMemory } from './testing/memory.ts';
import { MockQueue } from './testing/mock-queue.ts';
import { EventWorker, QueueServer } from './worker.ts';
import { WorkerLoop } from './worker-loop.ts';

function create(log: string[], name: string) {
  const event = EventFd.create();
  const worker = new EventWorker(namedTokens('kick'), [[event, 'kick']], (token) => {
    event.read();
    log.push(`${name} ${token}`);
  });
  const dispose = () => {
    worker[Symbol.dispose]();
    event.close();
  };
  return { event, worker, [Symbol.dispose]: dispose };
}

describe('a loop of workers', () => {
  test('turns those with work, and loops nest', () => {
    const log: string[] = [];
    using first = create(log, 'first');
    using second = create(log, 'second');
    using inner = new WorkerLoop();
    using outer = new WorkerLoop();
    inner.add(first.worker);
    outer.add(inner);
    outer.add(second.worker);
    outer.turn(0);
    assert.deepEqual(log, []);
    first.event.write();
    outer.turn(0);
    second.event.write();
    outer.turn(0);
    assert.deepEqual(log, ['first kick', 'second kick']);
  });

  test('does not turn a worker that was removed, also by another in the same turn', () => {
    const log: string[] = [];
    using loop = new WorkerLoop();
    using victim = create(log, 'victim');
    using event = EventFd.create();
    using killer = new EventWorker(namedTokens('kill'), [[event, 'kill']], () => {
      event.read();
      log.push('kill');
      loop.remove(victim.worker);
    });
    loop.add(killer);
    loop.add(victim.worker);
    event.write();
    victim.event.write();
    loop.turn(0);
    loop.turn(0);
    assert.deepEqual(log, ['kill']);
    assert.throws(() => loop.remove(victim.worker));
  });
});

/** Turns until nothing waits: how many requests each turn answers when every one takes so long. */
function answeredByTurn(requestNs: number, count: number, sizeBytes = 16): number[] {
  using memory = createMemory(0x80_0000);
  using event = EventFd.create();
  const driver = new MockQueue(memory, { size: 64, start: 0x10_0000 });
  const clock = { ns: 0, nowNs: () => clock.ns };
  const queue = new Queue(memory, driver.config(), 0n);
  const server = new QueueServer({ queue, event, interrupt: new RecordedInterrupt(), clock });
  for (let index = 0; index < count; index++) driver.add({ writableBytes: sizeBytes });
  event.write();
  const turns: number[] = [];
  const handle = (): number => {
    clock.ns += requestNs;
    return 0;
  };
  while (event.read() !== undefined) {
    const before = driver.usedIndex;
    event.write();
    server.serve({ handle });
    turns.push(driver.usedIndex - before);
  }
  return turns.filter((count) => count > 0);
}

describe('a turn of a queue', () => {
  test('ends when it has taken too long, and the rest waits for the next', () => {
    assert.deepEqual(answeredByTurn(0.1e6, 60), [60]);
    assert.deepEqual(answeredByTurn(10e6, 40), [8, 8, 8, 8, 8]);
  });

  test('ends after one large request that took too long', () => {
    assert.deepEqual(answeredByTurn(60e6, 3, 0x10_0000), [1, 1, 1]);
  });
});
