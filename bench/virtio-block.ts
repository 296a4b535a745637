/** npm run bench -- virtio-block: requests of the block device on a raw file in the page cache. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Block } from '../src/devices/virtio/block/block.ts';
import { RequestHeader, RequestType } from '../src/devices/virtio/block/constants.ts';
import { Feature } from '../src/devices/virtio/constants.ts';
import { Queue } from '../src/devices/virtio/queue/queue.ts';
import { RecordedInterrupt, silentLog } from '../src/devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '../src/devices/virtio/testing/memory.ts';
import { MockQueue } from '../src/devices/virtio/testing/mock-queue.ts';
import { RawDisk } from '../src/disk/raw.ts';
import { EventFd } from '../src/poll/event-fd.ts';
import type { Bench } from './bench.ts';

const SIZE = 256;
const ROUNDS = 7;
const REQUESTS = 102_400;
const DISK_BYTES = 2 ** 22;

interface Load {
  readonly name: string;
  readonly type: number;
  readonly bytes: number;
  /** Requests for each kick. */
  readonly depth: number;
}

const LOADS: readonly Load[] = [
  { name: 'read', type: RequestType.IN, bytes: 4096, depth: 1 },
  { name: 'read', type: RequestType.IN, bytes: 4096, depth: 64 },
  { name: 'write', type: RequestType.OUT, bytes: 4096, depth: 64 },
  { name: 'read', type: RequestType.IN, bytes: 65536, depth: 64 },
];

/** Nanoseconds of this thread's processor time for a request, the kernel's part included. */
function measure(path: string, { type, bytes, depth }: Load): number {
  using disk = RawDisk.open(path);
  using memory = createMemory(2 ** 25);
  using event = EventFd.create();
  const device = new Block({ disk, log: silentLog });
  device.ackFeatures(device.features());
  const driver = new MockQueue(memory, { size: SIZE, start: HOLE.end });
  const queue = new Queue(memory, driver.config(), Feature.RING_EVENT_IDX | Feature.RING_INDIRECT_DESC);
  using worker = device.activate(memory, new RecordedInterrupt(), [queue], [event]);
  for (let slot = 0; slot < SIZE; slot++) {
    const header = { readable: RequestHeader.encode({ type, sector: ((slot * bytes) % (DISK_BYTES - bytes)) >> 9 }) };
    const data = type === RequestType.IN ? { writableBytes: bytes } : { readable: new Uint8Array(bytes) };
    driver.addIndirect(header, data, { writableBytes: 1 });
  }
  const times: number[] = [];
  let index = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.threadCpuUsage();
    for (let done = 0; done < REQUESTS; done += depth) {
      index = (index + depth) & 0xffff;
      driver.publish(index);
      event.write();
      worker.turn(0);
    }
    const { user, system } = process.threadCpuUsage(started);
    times.push(((user + system) * 1e3) / REQUESTS);
  }
  if (driver.usedIndex !== index) throw new Error(`the queue stopped: ${queue.fault}`);
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

async function run(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-virtio-'));
  try {
    const path = join(folder, 'disk.img');
    writeFileSync(path, new Uint8Array(DISK_BYTES));
    for (const load of LOADS) {
      const ns = measure(path, load);
      const { name, bytes, depth } = load;
      const line = { name, bytes, depth, nsPerRequest: Math.round(ns), requestsPerSecond: Math.round(1e9 / ns) };
      process.stdout.write(`${JSON.stringify(line)}\n`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return 0;
}

export default {
  name: 'virtio-block',
  describe: 'requests of the block device per second, from the kick on',
  run,
} satisfies Bench;
