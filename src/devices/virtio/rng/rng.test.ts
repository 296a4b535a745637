import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Queue } from '../queue/queue.ts';
import { RecordedInterrupt } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import type { EntropySource } from './entropy-source.ts';
import { rng } from './rng.ts';

/** 1, 2, 3 … */
class Counting implements EntropySource {
  drawn = 0;
  fill(target: Uint8Array): void {
    for (let index = 0; index < target.length; index++) target[index] = ++this.drawn;
  }
  keepFds(): readonly number[] {
    return [77];
  }
}

function create() {
  const memory = createMemory();
  const entropy = new Counting();
  const device = rng.create({ entropy });
  const driver = new MockQueue(memory, { size: 8, start: 0x10_0000 });
  const interrupt = new RecordedInterrupt();
  const event = EventFd.create();
  const queue = new Queue(memory, driver.config({ vector: 5 }), 0n);
  const worker = device.activate(memory, interrupt, [queue], [event]);
  const kick = () => {
    event.write();
    worker.turn(0);
  };
  const dispose = () => {
    worker[Symbol.dispose]();
    event.close();
    memory.close();
  };
  return { entropy, device, driver, interrupt, worker, event, kick, [Symbol.dispose]: dispose };
}

describe('the entropy device', () => {
  test('is what the specification and the policies call it', () => {
    using all = create();
    assert.deepEqual([rng.type, all.device.deviceType, rng.policy], [4, 4, 'rng_device']);
    assert.deepEqual([rng.queueSizes, all.device.queueMaxSizes], [[256], [256]]);
    assert.deepEqual([all.device.features(), all.device.keepFds()], [0n, [77]]);
  });

  test('fills the writable buffers of every request, and interrupts once', () => {
    using all = create();
    const first = all.driver.add({ writableBytes: 3 }, { writableBytes: 5 });
    const second = all.driver.add({ writableBytes: 2 });
    all.kick();
    assert.deepEqual(all.driver.takeUsed(), { head: first.head, length: 8 });
    assert.deepEqual(all.driver.takeUsed(), { head: second.head, length: 2 });
    assert.deepEqual([...all.driver.bytes(first.addresses[1] as number, 5)], [4, 5, 6, 7, 8]);
    assert.deepEqual([...all.driver.bytes(second.addresses[0] as number, 2)], [9, 10]);
    assert.deepEqual(all.interrupt.vectors, [5]);
  });

  test('a request gets at most 64 KiB', () => {
    using all = create();
    all.driver.add({ writableBytes: 0x2_0000 });
    all.kick();
    assert.deepEqual([all.driver.takeUsed()?.length, all.entropy.drawn], [0x1_0000, 0x1_0000]);
  });

  test('a request without room gets nothing and comes back', () => {
    using all = create();
    all.driver.add({ readable: Uint8Array.of(1) });
    all.kick();
    assert.equal(all.driver.takeUsed()?.length, 0);
  });

  test('a driver that goes on adding requests does not keep the worker busy for ever', () => {
    using all = create();
    const { entropy, driver } = all;
    const fill = entropy.fill.bind(entropy);
    entropy.fill = (target) => {
      fill(target);
      driver.makeAvailable(0);
    };
    driver.add({ writableBytes: 1 });
    all.kick();
    assert.equal(entropy.drawn, 8);
    entropy.fill = fill;
    all.worker.turn(0);
    assert.equal(entropy.drawn, 9, 'the rest is done in the next turn without a kick');
  });

  test('a fault asks for a reset once, and tells of what was done before', () => {
    using all = create();
    all.driver.add({ writableBytes: 1 });
    all.driver.makeAvailable(99);
    all.kick();
    all.kick();
    assert.equal(all.driver.takeUsed()?.length, 1);
    assert.deepEqual(all.interrupt.vectors, [5]);
    assert.equal(all.interrupt.resets.length, 1);
    assert.match(all.interrupt.resets[0] ?? '', /^HEAD_OUT_OF_RANGE: a chain begins/);
  });

  test('without its queue it does nothing', () => {
    using all = create();
    using event = EventFd.create(1);
    using memory = createMemory();
    using worker = all.device.activate(memory, all.interrupt, [undefined], [event]);
    worker.turn(0);
  });
});
