/** npm run bench -- virtio-queue: chains taken and given back, as the device's side alone. */
import { Feature } from '../src/devices/virtio/constants.ts';
import { ChainReader } from '../src/devices/virtio/queue/chain-cursor.ts';
import { Queue } from '../src/devices/virtio/queue/queue.ts';
import { createMemory, HOLE } from '../src/devices/virtio/testing/memory.ts';
import { MockQueue } from '../src/devices/virtio/testing/mock-queue.ts';
import type { Bench } from './bench.ts';

const SIZE = 256;
const ROUNDS = 9;
const POPS = 1_000_000;

/** A queue (`buffers` divides its size) whose every slot has a chain of `buffers` descriptors; the driver only moves its index. */
function createQueue(buffers: number, indirect: boolean) {
  const memory = createMemory();
  const driver = new MockQueue(memory, { size: SIZE, start: HOLE.end });
  const queue = new Queue(memory, driver.config(), Feature.RING_EVENT_IDX | Feature.RING_INDIRECT_DESC);
  const header = { readable: new Uint8Array(16) };
  const rest = Array.from({ length: buffers - 1 }, () => ({ writableBytes: 512 }));
  for (let slot = 0; slot < SIZE; slot++) {
    if (indirect) driver.addIndirect(header, ...rest);
    else driver.add(header, ...rest);
  }
  driver.publish(0);
  return { memory, driver, queue, chain: queue.createChain() };
}

/** Nanoseconds of this thread's processor time for a chain: pop, read the header, give it back; an interrupt question every 32. */
function measure(buffers: number, indirect: boolean): number {
  const { memory, driver, queue, chain } = createQueue(buffers, indirect);
  const reader = new ChainReader(memory.whole);
  const header = new Uint8Array(16);
  const times: number[] = [];
  let index = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.threadCpuUsage();
    for (let done = 0; done < POPS; done += 32) {
      index = (index + 32) & 0xffff;
      driver.publish(index);
      while (queue.pop(chain)) {
        reader.begin(chain);
        reader.read(header);
        queue.addUsed(chain.head, 512);
      }
      queue.needsInterrupt();
    }
    const { user, system } = process.threadCpuUsage(started);
    times.push(((user + system) * 1e3) / POPS);
  }
  if (queue.fault !== undefined) throw new Error(`the queue stopped: ${queue.fault}`);
  memory.close();
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

async function run(): Promise<number> {
  for (const indirect of [false, true]) {
    for (const buffers of [1, 4, 16]) {
      const ns = measure(buffers, indirect);
      const line = { indirect, buffers, nsPerChain: Number(ns.toFixed(1)), chainsPerSecond: Math.round(1e9 / ns) };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
  }
  return 0;
}

export default {
  name: 'virtio-queue',
  describe: 'virtqueue chains taken and given back per second',
  run,
} satisfies Bench;
