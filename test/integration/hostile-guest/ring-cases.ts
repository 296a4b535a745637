/** Queues and chains, VIRTIO 1.1 §2.6. */
import { Worker } from 'node:worker_threads';
import { Feature, Status } from '#devices/virtio/constants.ts';
import type { QueueConfig } from '#devices/virtio/queue/queue-config.ts';
import { AVAILABLE, DescriptorFlag } from '#devices/virtio/queue/ring-layout.ts';
import type { RawDescriptor } from '#devices/virtio/testing/mock-queue.ts';
import { assert } from '#util/assert.ts';
import { GiB, MiB } from '#util/bits.ts';
import { ALL_FEATURES, type Attack, FREE_RAM, RAM_BYTES } from './attack.ts';
import type { HostileCase } from './case.ts';
import type { Flipping } from './flipping-thread.ts';

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const HUGE_TABLE = 0x1_0000;
const CHAIN_BUFFERS = 1024;
const FLOOD_KICKS = 20_000;
const RACE_ROUNDS = 200;
const SMALL = { address: FREE_RAM, length: 16 } as const;

/** What the device makes of one chain of these descriptors. */
const chain = (name: string, ...descriptors: readonly RawDescriptor[]): HostileCase => ({
  name,
  run: (attack) => {
    attack.start();
    return attack.offer(...descriptors).outcome();
  },
});

/** One indirect table. */
const table = (name: string, entries: readonly RawDescriptor[], changes: Partial<RawDescriptor> = {}): HostileCase => ({
  name,
  run: (attack) => {
    attack.start();
    return attack.offerTable(entries, changes).outcome();
  },
});

/** What the device says when its queue of requests is enabled like this. */
const setup = (name: string, change: (attack: Attack) => Partial<QueueConfig>): HostileCase => ({
  name,
  run: (attack) => {
    attack.driver.reset();
    attack.makeQueues();
    attack.driver.negotiate(ALL_FEATURES);
    attack.driver.enableQueue(attack.target.queue, attack.queue.config(change(attack)));
    const isEnabled = attack.driver.get('queueEnable') === 1;
    attack.driver.set('deviceStatus', 0xf);
    attack.settle();
    const needsReset = (attack.status & Status.NEEDS_RESET) !== 0;
    return isEnabled ? 'enabled' : needsReset ? 'NEEDS_RESET' : 'ignored';
  },
});

/** Indices that leap: from 0 to `index` at once. */
const leap = (name: string, index: (size: number) => number): HostileCase => ({
  name,
  run: (attack) => {
    attack.start();
    attack.queue.publish(index(attack.queue.size) & 0xffff);
    return attack.outcome();
  },
});

/** Nobody can say what comes of it, but it is one of these. */
function eitherWay(outcome: string): string {
  assert(['answered', 'NEEDS_RESET', 'ignored'].includes(outcome), outcome);
  return 'answered, ignored or NEEDS_RESET';
}

/** Good chains that a second thread changes all the time. */
function race(attack: Attack, flipping: Omit<Flipping, 'memory' | 'stop'>): string {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const workerData: Flipping = { memory: attack.memory.describe(), stop, ...flipping };
  const thread = new Worker(new URL('./flipping-thread.ts', import.meta.url), { workerData });
  try {
    while (Atomics.load(stop, 0) === 0) Atomics.wait(stop, 0, 0, 1000);
    for (let round = 0; round < RACE_ROUNDS; round++) {
      if (round === 0 || (attack.status & Status.NEEDS_RESET) !== 0) attack.start();
      attack.queue.add(...attack.target.request());
      attack.kick();
    }
    attack.settle();
    return eitherWay(attack.outcome());
  } finally {
    Atomics.store(stop, 0, 2);
    thread.unref();
  }
}

const CHAINS: readonly HostileCase[] = [
  chain('a descriptor that goes on with itself', { ...SMALL, flags: NEXT, next: 0 }),
  chain('two descriptors in a ring', { ...SMALL, flags: NEXT, next: 1 }, { ...SMALL, flags: NEXT, next: 0 }),
  chain('a buffer of no bytes', { address: FREE_RAM, length: 0 }),
  chain('a buffer of 4 GiB - 1', { address: FREE_RAM, length: 0xffff_ffff }),
  chain('a buffer outside RAM', { address: 2 * GiB, length: 16, flags: WRITE }),
  chain('a buffer that ends outside RAM', { address: RAM_BYTES - 8, length: 16, flags: WRITE }),
  chain('a buffer that wraps around at 2^64', { address: 0xffff_ffff_ffff_fff8n, length: 16, flags: WRITE }),
  chain('a buffer at 2^53 + 1', { address: 2n ** 53n + 1n, length: 16 }),
  {
    name: "a buffer in the device's own registers",
    run: (attack) => {
      attack.start();
      return attack.offer({ address: attack.barAddress, length: 64, flags: WRITE }).outcome();
    },
  },
  {
    name: 'a buffer over the queue itself',
    run: (attack) => {
      attack.start();
      const { descriptorTable: address, buffersStart } = attack.queue;
      return eitherWay(attack.offer({ address, length: buffersStart - address, flags: WRITE }).outcome());
    },
  },
  chain('a buffer to read behind one to write', { ...SMALL, flags: WRITE | NEXT, next: 1 }, SMALL),
  chain('flags that do not exist', { ...SMALL, flags: 0xfff8 }),
  chain('a next descriptor beyond the table', { ...SMALL, flags: NEXT, next: 0xffff }),
  {
    name: 'a head beyond the table',
    run: (attack) => {
      attack.start();
      attack.queue.makeAvailable(0xffff);
      return attack.outcome();
    },
  },
  leap('an available index that leaps by the queue size + 1', (size) => size + 1),
  leap('an available index that goes back', () => -1),
  leap('an available index that leaps by half its range', () => 0x8000),
];

const TABLES: readonly HostileCase[] = [
  table('an indirect descriptor in an indirect table', [{ ...SMALL, flags: INDIRECT }]),
  table('an indirect descriptor that is continued', [SMALL], { flags: INDIRECT | NEXT, next: 1 }),
  table('an indirect table of no bytes', [SMALL], { length: 0 }),
  table('an indirect table that ends within a descriptor', [SMALL], { length: 24 }),
  table('an indirect table outside RAM', [SMALL], { address: 2 * GiB }),
  table('an indirect table that goes on with itself', [{ ...SMALL, flags: NEXT, next: 0 }]),
  table('an indirect table that goes on beyond itself', [{ ...SMALL, flags: NEXT, next: 1 }]),
  table(
    'an indirect table of 65536 descriptors',
    Array.from({ length: HUGE_TABLE }, (_, index) => ({ ...SMALL, flags: NEXT, next: (index + 1) % HUGE_TABLE })),
  ),
  table(
    'buffers of 4 GiB together',
    Array.from({ length: CHAIN_BUFFERS }, (_, index) => {
      const isLast = index === CHAIN_BUFFERS - 1;
      return { address: FREE_RAM, length: 4 * MiB, flags: isLast ? 0 : NEXT, next: isLast ? 0 : index + 1 };
    }),
  ),
  {
    name: 'an indirect table over the queue itself',
    run: (attack) => {
      attack.start();
      const { descriptorTable: address } = attack.queue;
      return attack.offer({ address, length: 64, flags: INDIRECT }).outcome();
    },
  },
  {
    name: 'an indirect descriptor that was not negotiated',
    run: (attack) => {
      attack.start(Feature.VERSION_1);
      return attack.offerTable([SMALL]).outcome();
    },
  },
];

const SETUPS: readonly HostileCase[] = [
  setup('a queue of size 0', () => ({ size: 0 })),
  setup('a queue whose size is no power of two', () => ({ size: 3 })),
  setup('a queue larger than the largest', ({ queue }) => ({ size: 2 * queue.size })),
  setup('a queue of 32768', () => ({ size: 0x8000 })),
  setup('a queue that is not aligned', ({ queue }) => ({ descriptorTable: queue.descriptorTable + 8 })),
  setup('a used ring outside RAM', () => ({ usedRing: 2 * GiB })),
  setup('a used ring that ends outside RAM', () => ({ usedRing: RAM_BYTES - 8 })),
  setup('an available ring that wraps around', () => ({ availableRing: 2 ** 64 - 2 ** 12 })),
  {
    name: 'a used ring over the descriptor table',
    run: (attack) => {
      attack.driver.reset();
      attack.makeQueues();
      const configs = attack.queues.map((queue) => queue.config({ usedRing: queue.descriptorTable }));
      attack.driver.start(ALL_FEATURES, ...configs);
      for (let round = 0; round < 8; round++) attack.queue.add(...attack.target.request());
      return eitherWay(attack.outcome());
    },
  },
  {
    name: 'all queues of the device in one place',
    run: (attack) => {
      attack.driver.reset();
      attack.makeQueues();
      attack.driver.start(ALL_FEATURES, ...attack.queues.map(({ size }) => attack.queue.config({ size })));
      attack.queue.add(...attack.target.request());
      attack.queues.forEach((_, index) => {
        attack.kick(index);
      });
      return eitherWay(attack.outcome());
    },
  },
  {
    name: "the queue of another device for one's own",
    run: (attack) => {
      const { attacks } = attack.guest;
      const other = attacks[(attacks.indexOf(attack) + 1) % attacks.length] as Attack;
      other.start();
      attack.driver.reset();
      attack.makeQueues();
      const size = Math.min(attack.queue.size, other.queue.size);
      attack.driver.start(ALL_FEATURES, ...attack.queues.map(() => other.queue.config({ size })));
      other.queue.add(...other.target.request());
      other.kick();
      const outcome = attack.outcome();
      other.start();
      return eitherWay(outcome);
    },
  },
];

const LIVES: readonly HostileCase[] = [
  {
    name: 'registers of a live queue are written',
    run: (attack) => {
      attack.start();
      attack.driver.enableQueue(attack.target.queue, { ...attack.queue.config(), size: 0, usedRing: 0, vector: 0 });
      return attack.works() ? 'ignored' : 'the queue broke';
    },
  },
  {
    name: 'a reset while requests are under way',
    run: (attack) => {
      attack.start();
      for (let round = 0; round < 32; round++) attack.queue.add(...attack.target.request());
      attack.kick();
      attack.driver.reset();
      assert(attack.status === 0, 'the device has been reset');
      const { usedIndex } = attack.queue;
      attack.memory.fill(attack.queue.usedRing, 4096, 0xaa);
      attack.settle();
      assert(attack.queue.usedIndex === 0xaaaa && usedIndex <= 32, 'nothing is written after a reset');
      return 'reset';
    },
  },
  {
    name: 'kicks without end',
    run: (attack) => {
      attack.start();
      for (let kicks = 0; kicks < FLOOD_KICKS; kicks++) attack.kick();
      return attack.works() ? 'answered' : 'lost';
    },
  },
  {
    name: 'a full queue again and again without a look at what was used',
    run: (attack) => {
      attack.start();
      const { size, availableRing } = attack.queue;
      attack.queue.add(...attack.target.request());
      attack.memory.fill(availableRing + AVAILABLE.RING, size * AVAILABLE.ENTRY_BYTES, 0);
      for (let round = 1; round < 64; round++) {
        attack.queue.publish((round * size) & 0xffff);
        attack.kick();
        attack.settle();
      }
      return eitherWay(attack.outcome());
    },
  },
  {
    name: 'descriptors that another thread changes',
    run: (attack) => {
      const { area } = attack;
      return race(attack, { start: area, sizeBytes: 16 * 16, step: 16, offset: 8, values: [16, 0, 0xffff_ffff, 512] });
    },
  },
  {
    name: 'addresses that another thread changes',
    run: (attack) =>
      race(attack, { start: attack.area, sizeBytes: 16 * 16, step: 16, offset: 4, values: [0, 1, 0xffff_ffff, 0] }),
  },
  {
    name: 'flags that another thread changes',
    run: (attack) =>
      race(attack, {
        start: attack.area,
        sizeBytes: 16 * 16,
        step: 16,
        offset: 12,
        values: [0, 0x1_0001, 2, 4, 0x1_0003],
      }),
  },
  {
    name: 'requests that another thread changes',
    run: (attack) => {
      attack.makeQueues();
      const start = attack.queue.buffersStart;
      return race(attack, { start, sizeBytes: 4096, step: 4, offset: 0, values: [0, 1, 0xffff_ffff, 0x8000_0000, 13] });
    },
  },
];

export const RING_CASES: readonly HostileCase[] = [...CHAINS, ...TABLES, ...SETUPS, ...LIVES];
