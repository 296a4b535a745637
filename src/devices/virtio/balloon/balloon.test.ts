import assert from 'node:assert/strict';
import { fstatSync } from 'node:fs';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { MiB } from '#util/bits.ts';
import type { Log } from '#util/log.ts';
import { Queue } from '../queue/queue.ts';
import { DescriptorFlag } from '../queue/ring-layout.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory, HOLE } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { balloon } from './balloon.ts';
import { ACTUAL_OFFSET, BalloonConfig, BalloonFeature, PAGE_BYTES, Stat } from './constants.ts';

const { STATS_VQ, DEFLATE_ON_OOM, PAGE_REPORTING } = BalloonFeature;
const HIGH_BYTES = 4 * MiB;
/** The queues lie in the last MiB; the pages of the tests below it. */
const RINGS = HOLE.end + 3 * MiB;
const RING_BYTES = 0x2_0000;
const CONTENT = 0x55;
const PAGES = HOLE.end / PAGE_BYTES;

function create(features = STATS_VQ | PAGE_REPORTING) {
  const memory = createMemory(HIGH_BYTES);
  // So that all of it is the host's: what changes afterwards is the balloon.
  memory.fill(HOLE.end, RINGS - HOLE.end, CONTENT);
  memory.fill(RINGS, HOLE.end + HIGH_BYTES - RINGS, 0);
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (message) => void warnings.push(message) };
  const device = balloon.create({ log, ramSizeBytes: HOLE.start + HIGH_BYTES });
  device.ackFeatures(features);
  const drivers = device.queueMaxSizes.map((_, index) => {
    const start = RINGS + index * RING_BYTES;
    return new MockQueue(memory, { size: 8, start, end: start + RING_BYTES });
  });
  const interrupt = new RecordedInterrupt();
  const events = drivers.map(() => EventFd.create());
  const queues = drivers.map((driver, vector) => new Queue(memory, driver.config({ vector }), 0n));
  const worker = device.activate(memory, interrupt, queues, events);
  const kick = (queue: number): void => {
    events[queue]?.write();
    worker.turn(0);
  };
  const [inflate, deflate, third, fourth] = drivers as [MockQueue, MockQueue, MockQueue, MockQueue];
  const dispose = (): void => {
    worker[Symbol.dispose]();
    for (const event of events) event.close();
    memory.close();
  };
  const hostBytes = (): number => fstatSync(memory.fd).blocks * 512;
  return {
    memory,
    device,
    inflate,
    deflate,
    third,
    fourth,
    interrupt,
    kick,
    turn: () => worker.turn(0),
    warnings,
    hostBytes,
    [Symbol.dispose]: dispose,
  };
}

const numbers = (...pages: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(pages).buffer);

function stats(...pairs: readonly (readonly [number, bigint])[]): Uint8Array {
  return new Uint8Array(Buffer.concat(pairs.map(([tag, value]) => Stat.encode({ tag, value }))));
}

function actualOf(all: ReturnType<typeof create>): number {
  return all.device.state().actualBytes;
}

function u32(value: number): Uint8Array {
  return numbers(value);
}

describe('the balloon', () => {
  test('is what the specification and the policies call it', () => {
    using all = create();
    assert.deepEqual([balloon.type, all.device.deviceType, balloon.policy], [5, 5, 'balloon_device']);
    assert.equal(all.device.features(), STATS_VQ | DEFLATE_ON_OOM | PAGE_REPORTING);
  });

  test('pages that the guest gives up return to the host and read as zeros, and no others', () => {
    using all = create();
    const before = all.hostBytes();
    // Upwards, downwards, apart, and twice.
    const given = [16, 17, 18, 31, 30, 29, 40, 16];
    all.inflate.add({ readable: numbers(...given.map((page) => PAGES + page)) });
    all.kick(0);
    assert.equal(before - all.hostBytes(), 7 * PAGE_BYTES);
    assert.deepEqual(all.inflate.takeUsed()?.length, 0);
    for (let page = 14; page < 43; page++) {
      assert.equal(all.memory.readU8(HOLE.end + page * PAGE_BYTES), given.includes(page) ? 0 : CONTENT, `page ${page}`);
    }
    assert.deepEqual(all.interrupt.vectors, [0]);
  });

  test('pages that are no RAM are left out and told of; half a number is none', () => {
    using all = create();
    const before = all.hostBytes();
    const list = numbers(PAGES + 1, HOLE.start / PAGE_BYTES, 0xffff_ffff, PAGES + 2, PAGES + 3);
    all.inflate.add({ readable: list.subarray(0, list.length - 1) });
    all.kick(0);
    assert.equal(before - all.hostBytes(), 2 * PAGE_BYTES);
    assert.equal(all.memory.readU8(HOLE.end + 3 * PAGE_BYTES), CONTENT);
    assert.deepEqual(all.warnings, [
      'the driver gives page 0x10, which is no RAM',
      'the driver gives page 0xffffffff, which is no RAM',
    ]);
    assert.deepEqual(all.interrupt.resets, []);
  });

  test('a list of many pages is taken as a whole', () => {
    using all = create();
    const before = all.hostBytes();
    all.inflate.add({ readable: numbers(...Array.from({ length: 500 }, (_, page) => PAGES + page)) });
    all.kick(0);
    assert.equal(before - all.hostBytes(), 500 * PAGE_BYTES);
  });

  test('of a list that is longer than any driver needs the beginning is taken', () => {
    using all = create();
    const address = PAGES * PAGE_BYTES;
    const lists = [0, 1].map((page) => ({
      address,
      length: 8 * 1024 * 4,
      flags: DescriptorFlag.NEXT,
      next: page + 1,
    }));
    for (let at = 0; at < 8 * 1024; at++) all.memory.writeU32(address + 4 * at, PAGES + 100);
    for (const [index, list] of lists.entries()) all.inflate.writeDescriptor(index, list);
    all.memory.writeU32(address + MiB, PAGES + 200);
    all.inflate.writeDescriptor(2, { address: address + MiB, length: 4 });
    const before = all.hostBytes();
    all.inflate.makeAvailable(0);
    all.kick(0);
    assert.equal(all.inflate.takeUsed()?.length, 0);
    assert.equal(before - all.hostBytes(), PAGE_BYTES);
    assert.deepEqual(all.warnings, ['the driver gives more than 16384 pages at once: the rest is not taken']);
  });

  test('requests to deflate come back', () => {
    using all = create();
    all.deflate.add({ readable: numbers(PAGES) });
    all.kick(1);
    assert.equal(all.deflate.takeUsed()?.length, 0);
  });

  test('reported memory returns to the host by whole pages', () => {
    using all = create();
    const before = all.hostBytes();
    const address = HOLE.end + 8 * PAGE_BYTES + 100;
    all.fourth.writeDescriptor(0, { address, length: 3 * PAGE_BYTES, flags: 2 });
    all.fourth.makeAvailable(0);
    all.kick(3);
    assert.equal(before - all.hostBytes(), 2 * PAGE_BYTES);
    assert.deepEqual([all.memory.readU8(address), all.memory.readU8(HOLE.end + 9 * PAGE_BYTES)], [CONTENT, 0]);
    assert.equal(all.fourth.takeUsed()?.head, 0);
  });

  test('without statistics the reporting queue is the third', () => {
    using all = create(PAGE_REPORTING);
    all.third.writeDescriptor(0, { address: HOLE.end, length: PAGE_BYTES, flags: 2 });
    all.third.makeAvailable(0);
    all.kick(2);
    assert.equal(all.memory.readU8(HOLE.end), 0);
  });

  test('a new target is a change of the configuration, at most all RAM', () => {
    using all = create();
    const config = new Uint8Array(8);
    const target = (): number => {
      all.device.readConfig(0, config);
      return BalloonConfig.decode(new DataView(config.buffer)).numPages;
    };
    all.device.adjust(MiB + 5);
    assert.deepEqual([target(), all.interrupt.configChanges, all.device.configGeneration], [256, 1, 1]);
    all.device.adjust(MiB);
    assert.equal(all.interrupt.configChanges, 1, 'nothing changed');
    all.device.adjust(Number.MAX_SAFE_INTEGER);
    assert.equal(target(), (HOLE.start + HIGH_BYTES) / PAGE_BYTES);
  });

  test('the driver says how large the balloon is, cut to RAM; it writes nothing else', () => {
    using all = create();
    all.device.writeConfig(ACTUAL_OFFSET, u32(3));
    assert.equal(actualOf(all), 3 * PAGE_BYTES);
    all.device.writeConfig(ACTUAL_OFFSET, u32(0xffff_ffff));
    assert.equal(actualOf(all), HOLE.start + HIGH_BYTES);
    all.device.writeConfig(0, u32(7));
    all.device.writeConfig(ACTUAL_OFFSET + 2, u32(7));
    assert.equal(all.device.state().targetBytes, 0);
    all.device.reset();
    assert.equal(actualOf(all), 0);
  });

  test('statistics come with the buffer, and anew when they were asked for', () => {
    using all = create();
    assert.equal(all.device.state().sequence, 0);
    const first = all.third.add({ readable: stats([4, 1000n], [5, 2n ** 64n - 1n], [99, 5n], [0, 7n]) });
    all.kick(2);
    assert.equal(all.third.takeUsed(), undefined, 'the device keeps the buffer');
    const { sequence, stats: said } = all.device.state();
    assert.deepEqual([sequence, said], [1, { freeMemory: 1000, swapIn: 7 }]);
    assert.equal(
      all.third.takeUsed(),
      undefined,
      'a machine that stands still has no turns, and its memory does not change',
    );
    all.turn();
    assert.equal(all.third.takeUsed()?.head, first.head);
    assert.deepEqual(all.interrupt.vectors, [2]);
    all.third.add({ readable: stats([6, 12n]) });
    all.kick(2);
    assert.deepEqual(all.device.state(), {
      targetBytes: 0,
      actualBytes: 0,
      sequence: 2,
      stats: { availableMemory: 12 },
    });
  });

  test('of two buffers for statistics one comes back, and what is too long for them is left out', () => {
    using all = create();
    const first = all.third.add({ readable: stats([0, 1n]) });
    all.third.add({ readable: stats(...Array.from({ length: 200 }, (_, at) => [at < 64 ? 99 : 0, 5n] as const)) });
    all.kick(2);
    assert.equal(all.third.takeUsed()?.head, first.head);
    assert.equal(all.third.takeUsed(), undefined);
    assert.deepEqual(all.interrupt.vectors, [2]);
    assert.deepEqual(all.device.state().stats, {});
  });
});
