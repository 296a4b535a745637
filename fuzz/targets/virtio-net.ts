/** Packets, buffers and headers of a hostile driver, and packets that arrive for it, compared with what a network would make of them. */
import assert from 'node:assert/strict';
import { Feature } from '#devices/virtio/constants.ts';
import {
  FRAME_BYTES_MIN,
  GsoType,
  HEADER_BYTES,
  HeaderFlag,
  NetFeature,
  PACKET_BYTES_MAX,
  PacketHeader,
} from '#devices/virtio/net/constants.ts';
import { Net } from '#devices/virtio/net/net.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { FakeNet } from '#devices/virtio/testing/fake-net.ts';
import { RecordedInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { type MockBuffer, MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import type { Worker } from '#devices/virtio/worker.ts';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const STEPS = 40;
const QUEUE_SIZE = 16;
const TRANSMIT_START = HOLE.end + 0x10_0000;
const { CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_UFO, MRG_RXBUF } = NetFeature;
const OFFLOADS = [CSUM, HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_UFO] as const;

/** One chain for reception that the device has. */
interface Offered {
  readonly head: number;
  readonly buffers: readonly { readonly address: number; readonly sizeBytes: number }[];
}

class Machine implements Disposable {
  readonly memory = createMemory(0x40_0000);
  readonly interrupt = new RecordedInterrupt();
  readonly events = [EventFd.create(), EventFd.create(), EventFd.create()] as const;
  readonly receive = new MockQueue(this.memory, { size: QUEUE_SIZE, start: HOLE.end, end: TRANSMIT_START });
  readonly transmit = new MockQueue(this.memory, { size: QUEUE_SIZE, start: TRANSMIT_START });
  readonly backend = new FakeNet(OFFLOADS.reduce((all, each) => all | each, 0n));
  /** What the driver took. */
  readonly features: bigint;
  /** Chains for reception in the order in which they were offered, and packets in that of their arrival. */
  readonly offered: Offered[] = [];
  readonly arrived: Uint8Array[] = [];
  readonly #worker: Worker;

  constructor(random: Random, believed: bigint) {
    this.features = [...OFFLOADS, MRG_RXBUF].reduce((all, each) => (random.oneIn(2) ? all | each : all), 0n);
    const acked = this.features | believed;
    const device = new Net({ backends: [this.backend], log: silentLog, mac: new Uint8Array(6) });
    device.ackFeatures(acked);
    const queues = [this.receive, this.transmit].map(
      (driver, vector) => new Queue(this.memory, driver.config({ vector }), Feature.RING_INDIRECT_DESC),
    );
    this.#worker = device.activate(this.memory, this.interrupt, queues, this.events);
  }

  turn(): void {
    for (const event of this.events) event.write();
    // A queue of packets in a turn: what is left comes in the next.
    for (let count = 0; count < 3; count++) this.#worker.turn(0);
  }

  [Symbol.dispose](): void {
    this.#worker[Symbol.dispose]();
    for (const event of this.events) event.close();
    this.backend[Symbol.dispose]();
    this.memory.close();
  }
}

const smallOrAny = (random: Random): number => (random.oneIn(6) ? Number(random.boundary(16)) : random.below(120));

function header(random: Random): Uint8Array {
  const { NEEDS_CSUM } = HeaderFlag;
  const { NONE, TCPV4, TCPV6, UDP, ECN } = GsoType;
  const isPlain = random.oneIn(3);
  return PacketHeader.encode({
    flags: isPlain ? 0 : random.oneIn(12) ? random.below(256) : random.pick([0, NEEDS_CSUM]),
    gsoType: isPlain || random.oneIn(2) ? NONE : random.pick([TCPV4, TCPV6, UDP, TCPV4 | ECN, random.below(256)]),
    hdrLen: smallOrAny(random),
    gsoSize: smallOrAny(random),
    csumStart: smallOrAny(random),
    csumOffset: smallOrAny(random),
    numBuffers: smallOrAny(random),
  });
}

/** VIRTIO 1.1 §5.1.6.2 once more, in other words. */
function isLegal(packet: Uint8Array, features: bigint): boolean {
  const frameBytes = packet.length - HEADER_BYTES;
  if (frameBytes < FRAME_BYTES_MIN || packet.length > PACKET_BYTES_MAX) return false;
  const { flags, gsoType, hdrLen, gsoSize, csumStart, csumOffset } = PacketHeader.decode(viewOf(packet));
  const took = (feature: bigint): boolean => (features & feature) !== 0n;
  const checksum = flags === HeaderFlag.NEEDS_CSUM;
  if (flags !== 0 && !(checksum && took(CSUM) && csumStart + csumOffset + 2 <= frameBytes)) return false;
  const isLegalSegment = checksum && gsoSize > 0 && hdrLen <= frameBytes;
  const hasEcn = gsoType >= GsoType.ECN;
  switch (gsoType) {
    case GsoType.NONE:
      return true;
    case GsoType.TCPV4:
    case GsoType.TCPV4 | GsoType.ECN:
      return isLegalSegment && took(HOST_TSO4) && (!hasEcn || took(HOST_ECN));
    case GsoType.TCPV6:
    case GsoType.TCPV6 | GsoType.ECN:
      return isLegalSegment && took(HOST_TSO6) && (!hasEcn || took(HOST_ECN));
    case GsoType.UDP:
      return isLegalSegment && took(HOST_UFO);
    default:
      return false;
  }
}

/** Cuts bytes into at most four buffers anywhere. */
function cut(random: Random, bytes: Uint8Array): MockBuffer[] {
  const buffers: MockBuffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    const size = random.oneIn(2) && buffers.length < 3 ? 1 + random.below(left) : left;
    buffers.push({ readable: bytes.subarray(at, at + size) });
    at += size;
  }
  return buffers;
}

function transmit(machine: Machine, random: Random): void {
  const { transmit: queue, backend, features } = machine;
  const size = random.oneIn(20) ? PACKET_BYTES_MAX - HEADER_BYTES + random.below(3) : random.below(140);
  const whole = Uint8Array.from([...header(random), ...random.bytes(size)]);
  const packet = random.oneIn(15) ? whole.subarray(0, 1 + random.below(whole.length)) : whole;
  const buffers = cut(random, packet);
  if (random.oneIn(10)) buffers.push({ writableBytes: 1 + random.below(40) });
  const isSlow = random.oneIn(6);
  const sentBefore = backend.sent.length;
  if (isSlow) backend.room = 0;
  const { head } = random.oneIn(2) ? queue.addIndirect(...buffers) : queue.add(...buffers);
  machine.turn();
  backend.room = Number.POSITIVE_INFINITY;
  if (isSlow) machine.turn();
  assert.deepEqual(queue.takeUsed(), { head, length: 0 });
  const expected = isLegal(packet, features) ? [packet] : [];
  assert.deepEqual(backend.sent.slice(sentBefore), expected);
}

/** Offers a chain; false when that was a chain that stops the queue, once a packet wants it. */
function offer(machine: Machine, random: Random): void {
  const { receive, offered } = machine;
  if (offered.length >= QUEUE_SIZE / 4) return;
  const sizes = Array.from({ length: 1 + random.below(4) }, () => 1 + random.below(random.oneIn(4) ? 2000 : 60));
  if (random.oneIn(3)) sizes.unshift(HEADER_BYTES);
  const usable = sizes.slice(0, 4);
  const { head, addresses } = receive.add(...usable.map((writableBytes) => ({ writableBytes })));
  const buffers = usable.map((sizeBytes, at) => ({ address: addresses[at] as number, sizeBytes }));
  offered.push({ head, buffers });
}

const bytesOf = (machine: Machine, { buffers }: Offered): Uint8Array =>
  Buffer.concat(buffers.map(({ address, sizeBytes }) => machine.receive.bytes(address, sizeBytes)));

/** Takes back what was used, and compares each packet with the next that arrived and was not too large for its buffers. */
function collect(machine: Machine): void {
  const { receive, offered, arrived, features } = machine;
  const merges = (features & MRG_RXBUF) !== 0n;
  for (let used = receive.takeUsed(); used; used = receive.takeUsed()) {
    const first = offered.shift();
    assert.ok(first !== undefined && first.head === used.head, 'chains come back in order');
    const start = bytesOf(machine, first);
    const count = PacketHeader.decode(viewOf(start)).numBuffers;
    assert.ok(merges ? count >= 1 : count === 1, `${count} buffers`);
    const parts = [start.subarray(0, used.length)];
    for (let more = 1; more < count; more++) {
      const next = receive.takeUsed();
      const chain = offered.shift();
      assert.ok(next !== undefined && chain !== undefined && chain.head === next.head, 'all of a packet shows');
      parts.push(bytesOf(machine, chain).subarray(0, next.length));
    }
    const packet = Buffer.concat(parts).subarray(HEADER_BYTES);
    let expected = arrived.shift();
    while (expected !== undefined && !packet.equals(expected)) {
      assert.ok(!merges && HEADER_BYTES + expected.length > start.length, 'only what does not fit is dropped');
      expected = arrived.shift();
    }
    assert.ok(expected !== undefined, 'a packet that has arrived');
  }
}

function step(machine: Machine, random: Random): boolean {
  const { backend, arrived, interrupt } = machine;
  switch (random.below(4)) {
    case 0:
      offer(machine, random);
      break;
    case 1: {
      const frame = random.bytes(random.between(FRAME_BYTES_MIN, random.oneIn(5) ? 3000 : 100));
      arrived.push(frame);
      backend.arrive(frame, header(random));
      break;
    }
    default:
      transmit(machine, random);
  }
  machine.turn();
  collect(machine);
  if (interrupt.resets.length === 0) return true;
  const [next] = machine.offered;
  const room = next?.buffers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) ?? HEADER_BYTES;
  assert.ok(room < HEADER_BYTES && arrived.length > 0, `a fault without a cause: ${interrupt.resets[0]}`);
  return false;
}

function netTarget(believed: bigint): FuzzTarget {
  return {
    name: 'virtio-net',
    run(random) {
      using machine = new Machine(random, believed);
      machine.turn();
      for (let count = 0; count < STEPS; count++) if (!step(machine, random)) return;
    },
  };
}

export const target = netTarget(0n);

/** Deliberately wrong: the device takes a checksum for negotiated that was not. */
export const canary = netTarget(CSUM);
