/** npm run bench -- virtio-net: packets through the network device and a socket, whose other end moves many at once. */
import { Feature } from '../src/devices/virtio/constants.ts';
import { HEADER_BYTES, queueSizesOf } from '../src/devices/virtio/net/constants.ts';
import { Net } from '../src/devices/virtio/net/net.ts';
import { StreamBackend } from '../src/devices/virtio/net/stream-backend.ts';
import { Queue } from '../src/devices/virtio/queue/queue.ts';
import { RecordedInterrupt, silentLog } from '../src/devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '../src/devices/virtio/testing/memory.ts';
import { MockQueue } from '../src/devices/virtio/testing/mock-queue.ts';
import { EventFd } from '../src/poll/event-fd.ts';
import { Fd } from '../src/sys/fd.ts';
import { setNonBlocking, tryRead, writeAll } from '../src/sys/file.ts';
import { SocketType, socketpair } from '../src/sys/socket.ts';
import type { Bench } from './bench.ts';

const SIZE = 256;
const ROUNDS = 7;
const PACKETS = 25_600;
const LENGTH_BYTES = 4;

interface Load {
  readonly direction: 'transmit' | 'receive';
  readonly frameBytes: number;
  /** Packets for each turn: what the socket holds at once. */
  readonly depth: number;
}

const LOADS: readonly Load[] = [
  { direction: 'transmit', frameBytes: 1514, depth: 32 },
  { direction: 'receive', frameBytes: 1514, depth: 32 },
  { direction: 'transmit', frameBytes: 32_014, depth: 2 },
  { direction: 'receive', frameBytes: 32_014, depth: 2 },
];

/** Nanoseconds of this thread's processor time for a packet: device, socket and the other end. */
function measure({ direction, frameBytes, depth }: Load): number {
  using owned = new DisposableStack();
  const memory = owned.use(createMemory(2 ** 25));
  const events = queueSizesOf(1).map(() => owned.use(EventFd.create()));
  const [ours, theirs] = socketpair(SocketType.STREAM).map((fd) => owned.use(new Fd(fd))) as [Fd, Fd];
  for (const { fd } of [ours, theirs]) setNonBlocking(fd, true);
  const device = new Net({ backends: [new StreamBackend(ours)], log: silentLog, mac: new Uint8Array(6) });
  device.ackFeatures(device.features());
  const driver = new MockQueue(memory, { size: SIZE, start: HOLE.end });
  const queue = new Queue(memory, driver.config(), Feature.RING_EVENT_IDX);
  const isTransmit = direction === 'transmit';
  const queues = isTransmit ? [undefined, queue] : [queue, undefined];
  const worker = owned.use(device.activate(memory, new RecordedInterrupt(), queues, events));
  const packetBytes = HEADER_BYTES + frameBytes;
  for (let slot = 0; slot < SIZE; slot++)
    driver.add(isTransmit ? { readable: new Uint8Array(packetBytes) } : { writableBytes: packetBytes });
  const batch = new Uint8Array(depth * (LENGTH_BYTES + frameBytes));
  const view = new DataView(batch.buffer);
  for (let at = 0; at < depth; at++) view.setUint32(at * (LENGTH_BYTES + frameBytes), frameBytes);
  const times: number[] = [];
  let index = isTransmit ? 0 : SIZE;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.threadCpuUsage();
    for (let done = 0; done < PACKETS; done += depth) {
      index = (index + depth) & 0xffff;
      if (isTransmit) driver.publish(index);
      else writeAll(theirs.fd, batch);
      events[isTransmit ? 1 : 0]?.write();
      worker.turn(0);
      if (!isTransmit) driver.publish(index);
      for (let left = isTransmit ? batch.length : 0; left > 0; ) left -= tryRead(theirs.fd, batch) ?? left;
    }
    const { user, system } = process.threadCpuUsage(started);
    times.push(((user + system) * 1e3) / PACKETS);
  }
  const left = (index - driver.usedIndex) & 0xffff;
  if (left !== (isTransmit ? 0 : SIZE)) throw new Error(`${left} chains are left: ${queue.fault}`);
  return times.toSorted((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}

async function run(): Promise<number> {
  for (const load of LOADS) {
    const ns = measure(load);
    const line = { ...load, nsPerPacket: Math.round(ns), mbPerSecond: Math.round((load.frameBytes * 1e3) / ns) };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  }
  return 0;
}

export default {
  name: 'virtio-net',
  describe: 'packets through the network device and a socket',
  run,
} satisfies Bench;
