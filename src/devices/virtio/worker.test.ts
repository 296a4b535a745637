import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { EventWorker } from './worker.ts';
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
