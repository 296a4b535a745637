import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Queue } from '../queue/queue.ts';
import { FakeNet } from '../testing/fake-net.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { ControlAck, HEADER_BYTES, NetFeature } from './constants.ts';
import { net } from './net.ts';

const { CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN } = NetFeature;
const FILTERS = CTRL_RX | CTRL_RX_EXTRA | CTRL_VLAN | CTRL_MAC_ADDR;
const { CSUM, CTRL_GUEST_OFFLOADS, CTRL_VQ, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, MQ } = NetFeature;
const OFFLOADS = CTRL_GUEST_OFFLOADS | GUEST_CSUM | GUEST_TSO4;
const SIZE = 8;
const PAIRS = 3;
const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);

const pairsCommand = (count: number): Uint8Array => Uint8Array.of(4, 0, count & 0xff, count >> 8);
const offloadsCommand = (bits: bigint): Uint8Array =>
  Uint8Array.of(5, 0, ...new Uint8Array(BigUint64Array.of(bits).buffer));

/** `listed` stands for what the lists say of their lengths. */
const tableCommand = (
  unicast: readonly number[][],
  multicast: readonly number[][],
  listed = [unicast.length, multicast.length],
): Uint8Array => {
  const count = (value = 0): number[] => [...new Uint8Array(Uint32Array.of(value).buffer)];
  return Uint8Array.of(1, 0, ...count(listed[0]), ...unicast.flat(), ...count(listed[1]), ...multicast.flat());
};
const macCommand = (...mac: number[]): Uint8Array => Uint8Array.of(1, 1, ...mac);
const vlanCommand = (command: number, id: number): Uint8Array => Uint8Array.of(2, command, id & 0xff, id >> 8);
const SECOND = [0x52, 0x54, 0, 9, 9, 9];
const THIRD = [0x52, 0x54, 0, 9, 9, 10];
const GROUP = [0x33, 0x33, 0, 0, 0, 1];

/** A device of three pairs whose driver took `features`. */
function create(features: bigint) {
  const memory = createMemory(0x40_0000);
  const backends = Array.from({ length: PAIRS }, () => new FakeNet(CSUM | OFFLOADS));
  const device = net.create({ backends, log: silentLog, mac: MAC });
  const drivers = device.queueMaxSizes.map(
    (_, index) =>
      new MockQueue(memory, { size: SIZE, start: 0x10_0000 + index * 0x1_0000, end: 0x11_0000 + index * 0x1_0000 }),
  );
  const events = drivers.map(() => EventFd.create());
  const interrupt = new RecordedInterrupt();
  device.ackFeatures(features);
  const queues = drivers.map((driver, vector) => new Queue(memory, driver.config({ vector }), 0n));
  const worker = device.activate(memory, interrupt, queues, events);
  const turn = (): void => {
    for (let count = 0; count < 4; count++) worker.turn(0);
  };
  turn();
  const controlIndex = (features & MQ) === 0n ? 2 : PAIRS * 2;
  /** The answer; undefined when there is none. */
  const command = (bytes: Uint8Array, answerBytes = 1): number | undefined => {
    const driver = drivers[controlIndex] as MockQueue;
    const { addresses } = driver.add(
      { readable: bytes },
      ...(answerBytes === 0 ? [] : [{ writableBytes: answerBytes }]),
    );
    events[controlIndex]?.write();
    turn();
    const used = driver.takeUsed();
    return used && driver.bytes(addresses[1] as number, 1)[0];
  };
  const offer = (pair: number): void => {
    drivers[pair * 2]?.add({ writableBytes: 2000 });
    events[pair * 2]?.write();
    turn();
  };
  /** Whether the driver gets a frame for that address. */
  const receives = (target: readonly number[], ...behindSource: number[]): boolean => {
    const before = drivers[0]?.usedIndex;
    offer(0);
    backends[0]?.arrive(
      Uint8Array.from([...target, ...new Uint8Array(6), ...(behindSource.length ? behindSource : [8, 0])]),
    );
    turn();
    return drivers[0]?.usedIndex !== before;
  };
  const dispose = (): void => {
    worker[Symbol.dispose]();
    for (const event of events) event.close();
    for (const backend of backends) backend[Symbol.dispose]();
    memory.close();
  };
  const active = () => backends.map(({ isActive }) => isActive);
  return {
    backends,
    device,
    drivers,
    events,
    interrupt,
    turn,
    command,
    offer,
    receives,
    active,
    [Symbol.dispose]: dispose,
  };
}

const frame = (first: number): Uint8Array => Uint8Array.from({ length: 60 }, (_, at) => at + first);

describe('the control queue of a network device', () => {
  test('comes last, and the device says how many pairs it has', () => {
    using all = create(CTRL_VQ | MQ);
    const data = new Uint8Array(12);
    all.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(6)], [1, 0, PAIRS, 0, 0, 0]);
    assert.equal(all.device.features() & (CTRL_VQ | MQ), CTRL_VQ | MQ);
    assert.deepEqual(all.device.queueMaxSizes, [256, 256, 256, 256, 256, 256, 64]);
  });

  test('without MQ it is behind the first pair, and one pair is used', () => {
    using all = create(CTRL_VQ | OFFLOADS);
    assert.deepEqual(all.active(), [true, false, false]);
    assert.equal(all.command(offloadsCommand(GUEST_CSUM)), ControlAck.OK);
    assert.equal(all.command(pairsCommand(1)), ControlAck.ERR);
  });

  test('the driver says how many pairs are used: one at first', () => {
    using all = create(CTRL_VQ | MQ);
    assert.deepEqual(all.active(), [true, false, false]);
    assert.equal(all.command(pairsCommand(3)), ControlAck.OK);
    assert.deepEqual(all.active(), [true, true, true]);
    assert.equal(all.command(pairsCommand(2)), ControlAck.OK);
    assert.deepEqual(all.active(), [true, true, false]);
  });

  test('a pair that is not used takes and sends nothing, and goes on with what has waited when it is', () => {
    using all = create(CTRL_VQ | MQ);
    const [, second] = all.backends as [FakeNet, FakeNet, FakeNet];
    second.arrive(frame(1));
    all.offer(1);
    all.drivers[3]?.add({ readable: Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...frame(2)]) });
    all.events[3]?.write();
    all.turn();
    assert.deepEqual([all.drivers[2]?.usedIndex, second.sent.length, second.receiveCalls], [0, 0, 0]);
    all.command(pairsCommand(2));
    assert.deepEqual([all.drivers[2]?.usedIndex, second.sent.length], [1, 1]);
    all.command(pairsCommand(1));
    second.arrive(frame(3));
    all.offer(1);
    assert.equal(all.drivers[2]?.usedIndex, 1);
  });

  test('peers that are gone take the link down once', () => {
    using all = create(CTRL_VQ | MQ);
    all.command(pairsCommand(3));
    for (const [pair, backend] of all.backends.entries()) {
      backend.end = 'the interface was deleted';
      all.offer(pair);
    }
    assert.deepEqual([all.interrupt.configChanges, all.device.configGeneration], [1, 1]);
  });

  test('offloads that were negotiated can be taken back and given again', () => {
    using all = create(CTRL_VQ | MQ | CSUM | OFFLOADS);
    const others = CTRL_VQ | MQ | CSUM | CTRL_GUEST_OFFLOADS;
    assert.equal(all.command(offloadsCommand(0n)), ControlAck.OK);
    assert.deepEqual(
      all.backends.map(({ used }) => used),
      [others, others, others],
    );
    assert.equal(all.command(offloadsCommand(GUEST_CSUM | GUEST_TSO4)), ControlAck.OK);
    assert.equal(all.backends[0]?.used, others | GUEST_CSUM | GUEST_TSO4);
  });

  test('frames for others come in promiscuous mode alone', () => {
    using all = create(CTRL_VQ | FILTERS);
    assert.deepEqual([all.receives([...MAC]), all.receives(SECOND)], [true, false]);
    assert.equal(all.command(Uint8Array.of(0, 0, 1)), ControlAck.OK);
    assert.equal(all.receives(SECOND), true);
    assert.equal(all.command(Uint8Array.of(0, 0, 0)), ControlAck.OK);
    assert.equal(all.receives(SECOND), false);
  });

  test('a table of addresses stands until the next one', () => {
    using all = create(CTRL_VQ | FILTERS);
    const got = () => [SECOND, THIRD, GROUP].map((target) => all.receives(target));
    assert.equal(all.command(tableCommand([SECOND, THIRD], [GROUP])), ControlAck.OK);
    assert.deepEqual(got(), [true, true, true]);
    assert.equal(all.command(tableCommand([THIRD], [])), ControlAck.OK);
    assert.deepEqual(got(), [false, true, false]);
    assert.equal(all.command(tableCommand([], [SECOND])), ControlAck.OK);
    assert.deepEqual(got(), [false, false, false]);
  });

  test('more addresses of a kind than there is room for are all of that kind', () => {
    using all = create(CTRL_VQ | FILTERS);
    const many = Array.from({ length: 65 }, (_, at) => [0x33, 0x33, 1, 1, 1, at]);
    assert.equal(all.command(tableCommand([SECOND], many)), ControlAck.OK);
    assert.deepEqual(
      [SECOND, THIRD, GROUP].map((target) => all.receives(target)),
      [true, false, true],
    );
    assert.equal(all.command(tableCommand(many, [GROUP])), ControlAck.OK);
    assert.deepEqual([all.receives(THIRD), all.receives([0x33, 0x33, 0, 0, 0, 2])], [true, false]);
    assert.equal(all.command(tableCommand([], many.slice(1))), ControlAck.OK);
    assert.deepEqual([all.receives(THIRD), all.receives(GROUP)], [false, false]);
    assert.deepEqual([all.receives([0x33, 0x33, 1, 1, 1, 64]), all.receives([0x33, 0x33, 1, 1, 1, 0])], [true, false]);
  });

  test('VLANs are added and taken away', () => {
    using all = create(CTRL_VQ | FILTERS);
    const got = () => all.receives([...MAC], 0x81, 0, 0, 7, 8, 0);
    assert.equal(got(), false);
    assert.equal(all.command(vlanCommand(0, 7)), ControlAck.OK);
    assert.equal(got(), true);
    assert.equal(all.command(vlanCommand(1, 7)), ControlAck.OK);
    assert.equal(got(), false);
  });

  test('another address is that of the configuration and of the filter, until the reset', () => {
    using all = create(CTRL_VQ | FILTERS);
    const shown = () => {
      const data = new Uint8Array(6);
      all.device.readConfig(0, data);
      return [...data];
    };
    assert.equal(all.command(macCommand(...SECOND)), ControlAck.OK);
    assert.deepEqual([shown(), all.device.configGeneration], [SECOND, 1]);
    assert.deepEqual([all.receives(SECOND), all.receives([...MAC])], [true, false]);
    all.device.reset();
    assert.deepEqual(shown(), [...MAC]);
  });

  for (const [name, bytes] of [
    ['an unknown mode', Uint8Array.of(0, 6, 1)],
    ['a mode that is neither on nor off', Uint8Array.of(0, 0, 2)],
    ['a mode without a value', Uint8Array.of(0, 0)],
    ['a mode with more than a value', Uint8Array.of(0, 0, 1, 0)],
    ['a table without its second list', tableCommand([SECOND], []).subarray(0, 12)],
    ['a table with less than it says', tableCommand([SECOND], [GROUP], [1, 2])],
    ['a table with more than it says', tableCommand([SECOND], [GROUP], [1, 0])],
    ['a table of 2^32 - 1 addresses', tableCommand([SECOND], [GROUP], [0xffff_ffff, 0])],
    ['a table whose second list has 2^32 - 1 addresses', tableCommand([SECOND], [GROUP], [1, 0xffff_ffff])],
    ['an unknown command for addresses', Uint8Array.of(1, 2, ...SECOND)],
    ['an address of a group', macCommand(...GROUP)],
    ['a short address', macCommand(...SECOND.slice(1))],
    ['a long address', macCommand(...SECOND, 0)],
    ['a VLAN that cannot be', vlanCommand(0, 0x1000)],
    ['an unknown command for VLANs', vlanCommand(2, 7)],
    ['an announcement, which was not asked for', Uint8Array.of(3, 0)],
  ] as const) {
    test(`${name} is answered with ERR, and filters nothing else`, () => {
      using all = create(CTRL_VQ | FILTERS);
      const got = () => [
        ...[[...MAC], SECOND, GROUP].map((target) => all.receives(target)),
        all.receives([...MAC], 0x81, 0, 0, 7, 8, 0),
      ];
      assert.deepEqual(got(), [true, false, false, false]);
      assert.equal(all.command(bytes), ControlAck.ERR);
      assert.deepEqual([got(), all.device.configGeneration], [[true, false, false, false], 0]);
      assert.equal(all.command(tableCommand([SECOND], [])), ControlAck.OK, 'the queue goes on');
      assert.deepEqual(all.interrupt.resets, []);
    });
  }

  for (const [name, features, bytes] of [
    ['a mode', FILTERS ^ CTRL_RX, Uint8Array.of(0, 1, 1)],
    ['a further mode', FILTERS ^ CTRL_RX_EXTRA, Uint8Array.of(0, 2, 1)],
    ['a table', FILTERS ^ CTRL_RX, tableCommand([SECOND], [])],
    ['an address', FILTERS ^ CTRL_MAC_ADDR, macCommand(...SECOND)],
    ['a VLAN', FILTERS ^ CTRL_VLAN, vlanCommand(0, 7)],
  ] as const) {
    test(`${name} whose feature was not negotiated is answered with ERR`, () => {
      using all = create(CTRL_VQ | features);
      assert.equal(all.command(bytes), ControlAck.ERR);
    });
  }

  for (const [name, bytes] of [
    ['no pairs', pairsCommand(0)],
    ['more pairs than there are', pairsCommand(PAIRS + 1)],
    ['a short number of pairs', Uint8Array.of(4, 0, 1)],
    ['another command of the class', Uint8Array.of(4, 1, 1, 0)],
    ['offloads that were not negotiated', offloadsCommand(GUEST_TSO6)],
    ['what is no offload', offloadsCommand(CSUM)],
    ['short offloads', offloadsCommand(0n).subarray(0, 9)],
    ['a class that was not negotiated', Uint8Array.of(0, 0, 1)],
    ['a class alone', Uint8Array.of(4)],
    ['an endless command', new Uint8Array(5000).fill(4)],
  ] as const) {
    test(`${name} is answered with ERR, and changes nothing`, () => {
      using all = create(CTRL_VQ | MQ | OFFLOADS);
      const before = all.backends[0]?.used;
      assert.equal(all.command(bytes), ControlAck.ERR);
      assert.deepEqual([all.active(), all.backends[0]?.used], [[true, false, false], before]);
      assert.equal(all.command(pairsCommand(2)), ControlAck.OK, 'the queue goes on');
      assert.deepEqual(all.interrupt.resets, []);
    });
  }

  test('a command without room for the answer stops the queue', () => {
    using all = create(CTRL_VQ | MQ);
    assert.equal(all.command(pairsCommand(2), 0), undefined);
    assert.match(all.interrupt.resets.join(), /^NO_ROOM_FOR_ANSWER/);
  });
});
