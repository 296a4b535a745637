import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Feature } from '../constants.ts';
import { Queue } from '../queue/queue.ts';
import { FakeNet } from '../testing/fake-net.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import {
  FRAME_BYTES_MAX,
  GsoType,
  HEADER_BYTES,
  HeaderFlag,
  LINK_UP,
  NetFeature,
  PACKET_BYTES_MAX,
  PacketHeader,
} from './constants.ts';
import { net } from './net.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
const SIZE = 8;
const { CSUM, HOST_TSO4, HOST_ECN, MRG_RXBUF } = NetFeature;

function create({ features = 0n, backendFeatures = 0n, queues = [true, true] } = {}) {
  const memory = createMemory(0x40_0000);
  const backend = new FakeNet(backendFeatures);
  const device = net.create({ backends: [backend], log: silentLog, mac: MAC });
  const receive = new MockQueue(memory, { size: SIZE, start: 0x10_0000, end: 0x20_0000 });
  const transmit = new MockQueue(memory, { size: SIZE, start: 0x20_0000 });
  const interrupt = new RecordedInterrupt();
  const events = [EventFd.create(), EventFd.create(), EventFd.create()] as const;
  device.ackFeatures(features);
  const driverQueues = [receive, transmit].map((driver, vector) =>
    queues[vector] ? new Queue(memory, driver.config({ vector }), features) : undefined,
  );
  const worker = device.activate(memory, interrupt, driverQueues, events);
  const turn = () => worker.turn(0);
  const kick = (index: 0 | 1) => {
    events[index].write();
    turn();
  };
  turn();
  const dispose = () => {
    worker[Symbol.dispose]();
    for (const event of events) event.close();
    backend[Symbol.dispose]();
    memory.close();
  };
  return { backend, device, receive, transmit, interrupt, turn, kick, [Symbol.dispose]: dispose };
}

const frameOf = (sizeBytes: number): Uint8Array => Uint8Array.from({ length: sizeBytes }, (_, at) => at * 7 + 1);
const header = (fields: Partial<Parameters<typeof PacketHeader.encode>[0]> = {}): Uint8Array =>
  PacketHeader.encode(fields);
const packetOf = (frame: Uint8Array, fields = {}): Uint8Array => Uint8Array.from([...header(fields), ...frame]);

describe('the network device', () => {
  test('is what the specification and the policies call it', () => {
    using all = create({ backendFeatures: CSUM });
    assert.deepEqual([net.type, all.device.deviceType, net.policy], [1, 1, 'net_device']);
    assert.deepEqual(
      [net.queueSizes, all.device.queueMaxSizes],
      [
        [256, 256, 64],
        [256, 256, 64],
      ],
    );
    const { MAC: HAS_MAC, STATUS, CTRL_VQ, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_MAC_ADDR } = NetFeature;
    const control = CTRL_VQ | CTRL_RX | CTRL_RX_EXTRA | CTRL_VLAN | CTRL_MAC_ADDR;
    assert.equal(all.device.features(), HAS_MAC | STATUS | MRG_RXBUF | control | CSUM);
    assert.deepEqual(all.device.keepFds(), [all.backend.fd]);
  });

  test('its configuration is the address and the link, and zeros behind', () => {
    using all = create();
    const data = new Uint8Array(12);
    all.device.readConfig(0, data);
    assert.deepEqual([...data], [...MAC, LINK_UP, 0, 0, 0, 0, 0]);
    all.device.writeConfig(0, Uint8Array.of(2));
    all.device.readConfig(0, data);
    assert.equal(data[0], MAC[0]);
  });

  test('the backend hears what was negotiated', () => {
    using all = create({ features: CSUM, backendFeatures: CSUM });
    assert.equal(all.backend.used, CSUM);
  });

  test('a peer that is gone takes the link down once, and is no longer waited for', () => {
    using all = create();
    all.receive.add({ writableBytes: 100 });
    all.kick(0);
    all.backend.end = 'it closed the connection';
    all.backend.arrive(frameOf(14));
    all.turn();
    all.turn();
    const calls = all.backend.receiveCalls;
    all.turn();
    const data = new Uint8Array(8);
    all.device.readConfig(0, data);
    assert.deepEqual([data[6], all.interrupt.configChanges, all.device.configGeneration], [0, 1, 1]);
    assert.equal(all.backend.receiveCalls, calls);
  });

  test('without its queues it does nothing', () => {
    using all = create({ queues: [false, false] });
    all.backend.arrive(frameOf(14));
    all.kick(0);
    all.kick(1);
    assert.equal(all.backend.receiveCalls, 0);
  });
});

describe('transmission', () => {
  test('a packet is sent whole, however it is cut', () => {
    using all = create();
    const packet = packetOf(frameOf(100));
    all.transmit.add({ readable: packet });
    all.transmit.add(
      { readable: packet.subarray(0, 5) },
      { readable: packet.subarray(5, 50) },
      { readable: packet.subarray(50) },
    );
    all.kick(1);
    assert.deepEqual(all.backend.sent, [packet, packet]);
    assert.deepEqual([all.transmit.takeUsed()?.length, all.transmit.takeUsed()?.length], [0, 0]);
    assert.deepEqual(all.interrupt.vectors, [1]);
  });

  test('the largest frame is sent, one byte more and one less than a frame has are dropped', () => {
    using all = create();
    for (const sizeBytes of [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 13, 14, 0])
      all.transmit.add({ readable: packetOf(frameOf(sizeBytes)) });
    all.transmit.add({ readable: Uint8Array.of(1) });
    all.transmit.add({ writableBytes: 100 });
    all.kick(1);
    assert.deepEqual(
      all.backend.sent.map(({ length }) => length),
      [PACKET_BYTES_MAX, HEADER_BYTES + 14],
    );
    assert.equal(all.transmit.usedIndex, 7, 'what is dropped comes back');
    assert.deepEqual(all.interrupt.resets, []);
  });

  const needsChecksum = { flags: HeaderFlag.NEEDS_CSUM, csumStart: 34, csumOffset: 16 };
  const segments = { ...needsChecksum, gsoType: GsoType.TCPV4, gsoSize: 1448, hdrLen: 54 };
  const offloads = CSUM | HOST_TSO4;
  for (const [name, features, fields, isSent] of [
    ['a checksum that was negotiated', CSUM, needsChecksum, true],
    ['a checksum that was not negotiated', 0n, needsChecksum, false],
    ['a checksum in the last bytes', CSUM, { ...needsChecksum, csumStart: 82 }, true],
    ['a checksum past the end', CSUM, { ...needsChecksum, csumStart: 83 }, false],
    ['a checksum far past the end', CSUM, { ...needsChecksum, csumStart: 0xffff, csumOffset: 0xffff }, false],
    ['unknown flags', CSUM, { flags: 4 }, false],
    ['DATA_VALID, which is the device’s', CSUM, { flags: HeaderFlag.DATA_VALID }, false],
    ['segments that were negotiated', offloads, segments, true],
    ['segments that were not negotiated', CSUM, segments, false],
    ['segments of another protocol', offloads, { ...segments, gsoType: GsoType.TCPV6 }, false],
    ['segments without a checksum', offloads, { ...segments, flags: 0 }, false],
    ['segments of no size', offloads, { ...segments, gsoSize: 0 }, false],
    ['headers longer than the frame', offloads, { ...segments, hdrLen: 101 }, false],
    ['ECN that was not negotiated', offloads, { ...segments, gsoType: GsoType.TCPV4 | GsoType.ECN }, false],
    ['ECN that was negotiated', offloads | HOST_ECN, { ...segments, gsoType: GsoType.TCPV4 | GsoType.ECN }, true],
    ['a number of buffers, which means nothing here', 0n, { numBuffers: 7 }, true],
  ] as const) {
    test(`a header with ${name} is ${isSent ? 'sent' : 'dropped'}`, () => {
      using all = create({ features, backendFeatures: features });
      all.transmit.add({ readable: packetOf(frameOf(100), fields) });
      all.kick(1);
      assert.equal(all.backend.sent.length, isSent ? 1 : 0);
      assert.equal(all.transmit.takeUsed()?.length, 0);
    });
  }

  test('without room the packets wait, in order, and reception goes on', () => {
    using all = create();
    all.backend.room = 1;
    for (const sizeBytes of [20, 21, 22]) all.transmit.add({ readable: packetOf(frameOf(sizeBytes)) });
    all.kick(1);
    assert.deepEqual([all.backend.sent.length, all.transmit.usedIndex], [1, 1]);
    all.receive.add({ writableBytes: 100 });
    all.kick(0);
    all.backend.arrive(frameOf(14));
    all.turn();
    assert.equal(all.receive.usedIndex, 1);
    all.backend.room = 9;
    all.turn();
    assert.deepEqual(
      all.backend.sent.map(({ length }) => length - HEADER_BYTES),
      [20, 21, 22],
    );
    assert.equal(all.transmit.usedIndex, 3);
  });

  test('what the backend took and has not passed on is waited for, and no longer than needed', () => {
    using all = create();
    all.backend.room = 1;
    all.transmit.add({ readable: packetOf(frameOf(20)) });
    all.kick(1);
    assert.equal(all.transmit.usedIndex, 1);
    const flushes = all.backend.flushCalls;
    all.turn();
    assert.ok(all.backend.flushCalls > flushes, 'without a kick');
    all.backend.room = 1;
    all.turn();
    all.turn();
    const settled = all.backend.flushCalls;
    all.turn();
    assert.equal(all.backend.flushCalls, settled);
  });

  test('a chain that makes no sense stops this queue alone', () => {
    using all = create();
    all.transmit.add({ readable: packetOf(frameOf(20)) });
    all.transmit.makeAvailable(99);
    all.kick(1);
    all.kick(1);
    assert.deepEqual([all.backend.sent.length, all.interrupt.resets.length], [1, 1]);
    assert.match(all.interrupt.resets[0] ?? '', /^HEAD_OUT_OF_RANGE/);
    all.receive.add({ writableBytes: 100 });
    all.kick(0);
    all.backend.arrive(frameOf(14));
    all.turn();
    assert.equal(all.receive.usedIndex, 1);
  });

  test('a driver that goes on adding packets does not keep the worker busy for ever', () => {
    using all = create();
    const { backend, transmit } = all;
    const send = backend.send.bind(backend);
    backend.send = (packet, sizeBytes) => {
      transmit.makeAvailable(0);
      return send(packet, sizeBytes);
    };
    transmit.add({ readable: packetOf(frameOf(20)) });
    all.kick(1);
    assert.equal(backend.sent.length, SIZE);
    backend.send = send;
    all.turn();
    assert.equal(backend.sent.length, SIZE + 1, 'the rest is done in the next turn without a kick');
  });
});

describe('reception', () => {
  test('a packet goes into the next chain, its header says one buffer', () => {
    using all = create();
    const { addresses, head } = all.receive.add({ writableBytes: 8 }, { writableBytes: 200 });
    all.kick(0);
    const frame = frameOf(60);
    all.backend.arrive(frame, header({ flags: HeaderFlag.DATA_VALID }));
    all.turn();
    const written = HEADER_BYTES + frame.length;
    assert.deepEqual(all.receive.takeUsed(), { head, length: written });
    const [first = 0, second = 0] = addresses;
    const got = [...all.receive.bytes(first, 8), ...all.receive.bytes(second, written - 8)];
    assert.deepEqual(got, [...header({ flags: HeaderFlag.DATA_VALID, numBuffers: 1 }), ...frame]);
    assert.deepEqual(all.interrupt.vectors, [0]);
  });

  test('several packets are one interrupt', () => {
    using all = create();
    for (let count = 0; count < 3; count++) all.receive.add({ writableBytes: 100 });
    all.kick(0);
    for (let count = 0; count < 3; count++) all.backend.arrive(frameOf(20));
    all.turn();
    assert.deepEqual([all.receive.usedIndex, all.interrupt.vectors], [3, [0]]);
  });

  test('without buffers a packet waits, and nothing turns', () => {
    using all = create();
    all.backend.arrive(frameOf(20));
    all.backend.arrive(frameOf(30));
    all.turn();
    const calls = all.backend.receiveCalls;
    all.turn();
    all.turn();
    assert.equal(all.backend.receiveCalls, calls, 'the backend is not looked at');
    all.receive.add({ writableBytes: 100 });
    all.receive.add({ writableBytes: 100 });
    all.kick(0);
    assert.deepEqual([all.receive.takeUsed()?.length, all.receive.takeUsed()?.length], [32, 42]);
  });

  test('without MRG_RXBUF a packet that is too large for its buffer is dropped, and the buffer gets the next', () => {
    using all = create();
    all.receive.add({ writableBytes: 40 });
    all.kick(0);
    all.backend.arrive(frameOf(29));
    all.backend.arrive(frameOf(28));
    all.turn();
    assert.deepEqual([all.receive.takeUsed()?.length, all.receive.usedIndex], [40, 1]);
  });

  test('with MRG_RXBUF a packet takes as many chains as it needs, shown together', () => {
    using all = create({ features: MRG_RXBUF });
    const chains = [0, 1, 2].map(() => all.receive.add({ writableBytes: 40 }));
    all.kick(0);
    const frame = frameOf(100);
    all.backend.arrive(frame);
    all.turn();
    assert.deepEqual(
      [1, 2, 3].map(() => all.receive.takeUsed()),
      chains.map(({ head }, at) => ({ head, length: [40, 40, 32][at] })),
    );
    const got = chains.flatMap(({ addresses }) => [...all.receive.bytes(addresses[0] as number, 40)]);
    assert.deepEqual(got.slice(0, HEADER_BYTES + 100), [...header({ numBuffers: 3 }), ...frame]);
    assert.deepEqual(all.interrupt.vectors, [0]);
  });

  test('with too few chains for a packet none is given back before there are enough', () => {
    using all = create({ features: MRG_RXBUF | Feature.RING_EVENT_IDX });
    all.receive.add({ writableBytes: 40 });
    all.kick(0);
    all.backend.arrive(frameOf(50));
    all.turn();
    assert.equal(all.receive.usedIndex, 0);
    assert.equal(all.receive.availableEvent, 1, 'the driver is asked for a kick at the next');
    all.receive.add({ writableBytes: 40 });
    all.kick(0);
    assert.deepEqual([all.receive.takeUsed()?.length, all.receive.takeUsed()?.length], [40, 22]);
  });

  test('a packet that all buffers together cannot hold is dropped', () => {
    using all = create({ features: MRG_RXBUF });
    for (let count = 0; count < SIZE; count++) all.receive.add({ writableBytes: 20 });
    all.kick(0);
    all.backend.arrive(frameOf(20 * SIZE));
    all.backend.arrive(frameOf(8));
    all.turn();
    assert.deepEqual(all.receive.takeUsed(), { head: 0, length: 20 });
  });

  for (const features of [0n, MRG_RXBUF]) {
    test(`a chain without room for a header is a fault (features ${features})`, () => {
      using all = create({ features });
      all.receive.add({ writableBytes: HEADER_BYTES - 1 });
      all.kick(0);
      all.backend.arrive(frameOf(20));
      all.turn();
      all.kick(0);
      assert.equal(all.interrupt.resets.length, 1);
      assert.match(all.interrupt.resets[0] ?? '', /^NO_ROOM_FOR_ANSWER/);
      all.transmit.add({ readable: packetOf(frameOf(20)) });
      all.kick(1);
      assert.equal(all.backend.sent.length, 1, 'the other queue goes on');
    });
  }

  test('a fault in a later chain of a packet is told of, and nothing of the packet shows', () => {
    using all = create({ features: MRG_RXBUF });
    all.receive.add({ writableBytes: 40 });
    all.receive.makeAvailable(99);
    all.kick(0);
    all.backend.arrive(frameOf(50));
    all.turn();
    assert.deepEqual([all.receive.usedIndex, all.interrupt.resets.length], [0, 1]);
    assert.match(all.interrupt.resets[0] ?? '', /^HEAD_OUT_OF_RANGE/);
  });

  test('packets without end do not keep the worker busy for ever', () => {
    using all = create();
    for (let count = 0; count < SIZE; count++) all.receive.add({ writableBytes: 12 });
    all.kick(0);
    const { backend } = all;
    let arrived = 0;
    backend.receive = () => {
      arrived += 1;
      return arrived > 3 * SIZE ? undefined : packetOf(frameOf(14));
    };
    backend.arrive(frameOf(14));
    all.turn();
    assert.equal(arrived, SIZE + 1, 'each is too large for its buffer and dropped');
    all.turn();
    assert.ok(arrived > SIZE + 1, 'the rest comes in the next turn');
  });
});
