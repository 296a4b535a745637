/** A split virtqueue under a driver that writes anything into its rings and tables, while the device takes and gives back. */
import assert from 'node:assert/strict';
import { Feature } from '#devices/virtio/constants.ts';
import { ChainReader, ChainWriter } from '#devices/virtio/queue/chain-cursor.ts';
import type { DescriptorChain } from '#devices/virtio/queue/descriptor-chain.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import type { GuestMemory } from '#memory/guest-memory.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const STEPS = 200;
/** Buffers and tables lie here, in pages of their own. */
const TABLES_START = 0x8000;
/** One answer in so many is compared byte by byte. */
const COMPARED = 4;

class Machine implements Disposable {
  readonly memory = createMemory(0x2000);
  readonly reader = new ChainReader(this.memory.whole);
  readonly writer = new ChainWriter(this.memory.whole);
  readonly bytes = new Uint8Array(300);
  driver!: MockQueue;
  queue!: Queue;
  chain!: DescriptorChain;
  readonly #seenByQueue: GuestMemory;

  constructor(random: Random, seenByQueue: (memory: GuestMemory) => GuestMemory) {
    this.#seenByQueue = seenByQueue(this.memory);
    this.reset(random);
  }

  /** A new queue, with a table of good descriptors. */
  reset(random: Random): void {
    this.memory.fill(0, TABLES_START, 0);
    this.driver = new MockQueue(this.memory, { size: random.pick([1, 2, 4, 16, 256]) });
    const features = [Feature.RING_EVENT_IDX, Feature.RING_INDIRECT_DESC].reduce(
      (bits, bit) => bits | (random.oneIn(2) ? bit : 0n),
      0n,
    );
    for (let index = 0; index < this.driver.size; index++) {
      this.driver.writeDescriptor(index, { address: TABLES_START, length: 1 + random.below(64), flags: 2 });
    }
    this.queue = new Queue(this.#seenByQueue, this.driver.config(), features);
    this.chain = this.queue.createChain();
  }

  [Symbol.dispose](): void {
    this.memory.close();
  }
}

function address(random: Random): bigint {
  if (random.oneIn(12)) return random.boundary(64);
  if (random.oneIn(12)) return BigInt(HOLE.start - random.below(64));
  return BigInt(TABLES_START + random.below(HOLE.start - TABLES_START - 0x1000));
}

/** Most descriptors are good ones that follow each other, so that chains get long before something is wrong. */
function descriptor(random: Random, size: number, next: number) {
  const wild = random.oneIn(20);
  return {
    address: address(random),
    length: wild ? Number(random.boundary(32)) : 1 + random.below(200),
    flags: random.oneIn(20) ? Number(random.boundary(16)) : random.pick([0, 1, 1, 1, 2, 3, 3, 4]),
    next: random.oneIn(20) ? Number(random.boundary(16)) : next % size,
  };
}

function driverStep({ driver, memory }: Machine, random: Random): void {
  const { size } = driver;
  switch (random.below(8)) {
    case 0: {
      const count = 1 + random.below(8);
      const table = TABLES_START + random.below(0x1000) * 4;
      for (let at = 0; at < count; at++) driver.writeDescriptorAt(table + at * 16, descriptor(random, count, at + 1));
      const length = random.oneIn(10) ? Number(random.boundary(32)) : count * 16;
      driver.writeDescriptor(random.below(size), { address: table, length, flags: 4 });
      break;
    }
    case 1:
      driver.usedEvent = Number(random.boundary(16));
      driver.availableFlags = random.below(3);
      break;
    case 2:
      if (!random.oneIn(10)) break;
      // Rings and tables are the driver's at any time; the used ring too, though it is not to write there.
      memory.writeU8(random.below(TABLES_START), random.below(256));
      break;
    case 3:
      driver.makeAvailable(random.oneIn(10) ? Number(random.boundary(16)) : random.below(size));
      break;
    default: {
      const index = random.below(size);
      driver.writeDescriptor(index, descriptor(random, size, index + 1));
      if (random.oneIn(2)) driver.makeAvailable(index);
    }
  }
  if (random.oneIn(100)) driver.publish(Number(random.boundary(16)));
}

/** What a chain promises, whatever the driver does meanwhile. */
function checkChain({ memory, chain, queue }: Machine): void {
  assert.ok(chain.head < queue.size && chain.count > 0 && chain.count <= chain.capacity);
  assert.ok(chain.readableCount <= chain.count);
  let readable = 0;
  let writable = 0;
  for (let index = 0; index < chain.count; index++) {
    const offset = chain.offsets[index]!;
    const size = chain.sizes[index]!;
    assert.ok(size > 0 && offset >= 0 && offset + size <= memory.sizeBytes, 'a buffer lies in RAM');
    assert.ok(offset + size <= HOLE.start || offset >= HOLE.start, 'a buffer does not cross the hole');
    if (index < chain.readableCount) readable += size;
    else writable += size;
  }
  assert.deepEqual([chain.readableBytes, chain.writableBytes], [readable, writable]);
}

function answer(machine: Machine, random: Random): void {
  const { memory, chain, reader, writer, bytes, queue } = machine;
  reader.begin(chain);
  let read = 0;
  for (let count = -1; count !== 0; read += count) {
    count = random.oneIn(3)
      ? reader.skip(1 + random.below(100))
      : reader.read(bytes.subarray(0, 1 + random.below(300)));
  }
  assert.equal(read, chain.readableBytes, 'a reader gives every readable byte once');
  writer.begin(chain);
  const before = random.oneIn(COMPARED) ? memory.whole.bytes.slice() : undefined;
  let written = 0;
  while (writer.remaining > 0 && written < 1000) written += writer.write(bytes, 1 + random.below(300));
  assert.ok(written <= chain.writableBytes);
  if (before !== undefined) checkUnchanged(machine, before);
  queue.addUsed(chain.head, written);
}

/** Nothing but the writable buffers has changed. */
function checkUnchanged({ memory, chain }: Machine, before: Uint8Array): void {
  const now = memory.whole.bytes;
  for (let index = chain.readableCount; index < chain.count; index++) {
    const start = chain.offsets[index]!;
    before.set(now.subarray(start, start + chain.sizes[index]!), start);
  }
  assert.equal(Buffer.compare(before, now), 0, 'only writable buffers are written');
}

function deviceStep(machine: Machine, random: Random): void {
  const { queue, chain } = machine;
  if (!queue.pop(chain)) {
    if (queue.fault === undefined) return;
    assert.equal(queue.pop(chain), false, 'a fault stays');
    machine.reset(random);
    return;
  }
  checkChain(machine);
  if (random.oneIn(10)) {
    queue.undoPop();
    return;
  }
  answer(machine, random);
  if (random.oneIn(4)) queue.needsInterrupt();
}

function queueTarget(name: string, seenByQueue: (memory: GuestMemory) => GuestMemory): FuzzTarget {
  return {
    name,
    run(random) {
      using machine = new Machine(random, seenByQueue);
      for (let step = 0; step < STEPS; step++) {
        driverStep(machine, random);
        if (random.oneIn(2)) deviceStep(machine, random);
      }
    },
  };
}

export const target = queueTarget('virtio-queue', (memory) => memory);

/** Deliberately wrong: only the first byte of a buffer is looked up. */
export const canary = queueTarget('virtio-queue', (memory) => {
  const careless = { whole: memory.whole, slice: memory.slice.bind(memory) };
  const offsetOf = (address: number) => memory.offsetOf(address, 1);
  return { ...careless, offsetOf } as unknown as GuestMemory;
});
