/** Commands of a hostile driver on the control queue of a network device, compared with what the specification makes of them. */
import assert from 'node:assert/strict';
import { ControlAck, NetFeature } from '#devices/virtio/net/constants.ts';
import { Net } from '#devices/virtio/net/net.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { FakeNet } from '#devices/virtio/testing/fake-net.ts';
import { RecordedInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { type MockBuffer, MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const COMMANDS = 12;
const QUEUE_SIZE = 16;
const RECEIVE_START = 0x20_0000;
const { CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN } = NetFeature;
const FILTERS = [CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_MAC_ADDR];
const { CTRL_GUEST_OFFLOADS, CTRL_VQ, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, MQ } = NetFeature;
const OFFLOADS = [GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO] as const;

const OWN_MAC = '525400000000';
const BROADCAST = 'ffffffffffff';
/** Addresses that commands name and frames are for: few, so that they meet. */
const MACS = [OWN_MAC, '525400000001', '525400000002', '333300000001', '01005e000001', BROADCAST] as const;
const VLANS = [0, 1, 31, 32, 4095] as const;
/** What the device has room for in each list of addresses. */
const TABLE_MAX = 64;

/** What a driver may have brought about. */
interface Model {
  readonly features: bigint;
  readonly pairs: number;
  used: number;
  offloads: bigint;
  mac: string;
  /** Names of ControlRx. */
  readonly modes: Set<number>;
  readonly vlans: Set<number>;
  /** Unicast and multicast; undefined for all. */
  tables: readonly (ReadonlySet<string> | undefined)[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** The list that begins there, and where it ends. */
function listAt(
  command: Uint8Array,
  at: number,
): { readonly macs: readonly string[]; readonly end: number } | undefined {
  if (at + 4 > command.length) return undefined;
  const count = viewOf(command).getUint32(at, true);
  const end = at + 4 + count * 6;
  if (end > command.length) return undefined;
  return {
    macs: Array.from({ length: count }, (_, index) => hex(command.subarray(at + 4 + index * 6, at + 10 + index * 6))),
    end,
  };
}

/** §5.1.6.5.1 to §5.1.6.5.3; undefined for another class. */
function obeyFilter(model: Model, command: Uint8Array): boolean | undefined {
  const took = (feature: bigint): boolean => (model.features & feature) !== 0n;
  const [group, what = 0xff, value = 0xff] = command;
  if (group === 0) {
    if (command.length !== 3 || what > 5 || value > 1 || !took(what < 2 ? CTRL_RX : CTRL_RX_EXTRA)) return false;
    if (value === 1) model.modes.add(what);
    else model.modes.delete(what);
    return true;
  }
  if (group === 1 && what === 0 && took(CTRL_RX)) {
    const first = listAt(command, 2);
    const second = first && listAt(command, first.end);
    if (second?.end !== command.length) return false;
    model.tables = [first, second].map((list) =>
      list && list.macs.length <= TABLE_MAX ? new Set(list.macs) : undefined,
    );
    return true;
  }
  if (group === 1) {
    if (what !== 1 || command.length !== 8 || !took(CTRL_MAC_ADDR) || (value & 1) === 1) return false;
    model.mac = hex(command.subarray(2));
    return true;
  }
  if (group !== 2) return undefined;
  if (what > 1 || command.length !== 4 || !took(CTRL_VLAN)) return false;
  const id = viewOf(command).getUint16(2, true);
  if (id > 4095) return false;
  if (what === 0) model.vlans.add(id);
  else model.vlans.delete(id);
  return true;
}

/** Whether the driver is to get a frame for that address, in that VLAN if in one. */
function isWanted(model: Model, target: string, vlan: number | undefined): boolean {
  const { features, modes, vlans, tables, mac } = model;
  if (modes.has(0)) return true;
  if ((features & CTRL_VLAN) !== 0n && vlan !== undefined && vlan !== 0 && !vlans.has(vlan)) return false;
  if ((features & CTRL_RX) === 0n) return true;
  if (target === BROADCAST) return !modes.has(5);
  const isGroup = (Number.parseInt(target.slice(0, 2), 16) & 1) === 1;
  if (modes.has(isGroup ? 3 : 4)) return false;
  if (modes.has(isGroup ? 1 : 2) || (!isGroup && target === mac)) return true;
  return tables[isGroup ? 1 : 0]?.has(target) ?? true;
}

const oneOf = <T>(random: Random, list: readonly T[]): T => list[random.below(list.length)] as T;
const bytesOf = (mac: string): number[] => [...Buffer.from(mac, 'hex')];

function filterCommand(random: Random): number[] {
  const mac = (): number[] => bytesOf(oneOf(random, MACS));
  const list = (): number[] => {
    const count = random.oneIn(6) ? TABLE_MAX - 1 + random.below(3) : random.below(4);
    const told = random.oneIn(10) ? random.below(2 ** 32) : count;
    return [...new Uint8Array(Uint32Array.of(told).buffer), ...Array.from({ length: count }, mac).flat()];
  };
  const kind = random.below(4);
  if (kind === 0) return [0, random.below(7), random.oneIn(10) ? 2 : random.below(2)];
  if (kind === 1) return [1, 0, ...list(), ...list()];
  if (kind === 2) return [1, 1, ...mac()];
  const vlan = random.oneIn(10) ? 4096 : oneOf(random, VLANS);
  return [2, random.below(3), vlan & 0xff, vlan >> 8];
}

/** VIRTIO 1.1 §5.1.6.5 once more, in other words: whether the command is obeyed. */
function obey(model: Model, command: Uint8Array): boolean {
  const isObeyed = obeyFilter(model, command);
  return isObeyed ?? (command.length > 1 && obeyOthers(model, command));
}

/** §5.1.6.5.5 and §5.1.6.5.6. */
function obeyOthers(model: Model, command: Uint8Array): boolean {
  const view = viewOf(command);
  const took = (feature: bigint): boolean => (model.features & feature) !== 0n;
  if (command.length === 4 && command[0] === 4 && command[1] === 0 && took(MQ)) {
    const count = view.getUint16(2, true);
    if (count === 0 || count > model.pairs) return false;
    model.used = count;
    return true;
  }
  if (command.length !== 10 || command[0] !== 5 || command[1] !== 0 || !took(CTRL_GUEST_OFFLOADS)) return false;
  const bits = view.getBigUint64(2, true);
  const allowed = OFFLOADS.reduce((all, each) => (took(each) ? all | each : all), 0n);
  if ((bits | allowed) !== allowed) return false;
  model.offloads = bits;
  return true;
}

function commandOf(random: Random, { pairs }: Model): Uint8Array {
  if (random.oneIn(4)) return random.bytes(1 + random.below(random.oneIn(5) ? 300 : 16));
  const bits = OFFLOADS.reduce((all, each) => (random.oneIn(2) ? all | each : all), random.oneIn(6) ? 1n << 40n : 0n);
  const count = random.below(pairs + 2);
  const others = random.oneIn(2)
    ? [4, 0, count & 0xff, count >> 8]
    : [5, 0, ...new Uint8Array(BigUint64Array.of(bits).buffer)];
  const whole = random.oneIn(2) ? filterCommand(random) : others;
  if (random.oneIn(8)) whole.push(0);
  return Uint8Array.from(random.oneIn(8) ? whole.slice(0, 1 + random.below(whole.length)) : whole);
}

function cut(random: Random, bytes: Uint8Array): MockBuffer[] {
  const at = random.below(bytes.length);
  return at === 0 ? [{ readable: bytes }] : [{ readable: bytes.subarray(0, at) }, { readable: bytes.subarray(at) }];
}

/** `believed`: features that the device is told of, and the model is not. */
function run(random: Random, believed: bigint): void {
  using owned = new DisposableStack();
  const memory = createMemory(0x40_0000);
  owned.defer(() => memory.close());
  const pairs = 1 + random.below(4);
  const backends = Array.from({ length: pairs }, () => owned.use(new FakeNet()));
  const features = [...OFFLOADS, ...FILTERS, CTRL_GUEST_OFFLOADS, ...(pairs > 1 ? [MQ] : [])].reduce(
    (all, each) => (random.oneIn(3) ? all : all | each),
    CTRL_VQ,
  );
  const device = new Net({ backends, log: silentLog, mac: Uint8Array.from(bytesOf(OWN_MAC)) });
  device.ackFeatures(features | believed);
  const control = new MockQueue(memory, { size: QUEUE_SIZE, start: HOLE.end, end: RECEIVE_START });
  const receive = new MockQueue(memory, { size: QUEUE_SIZE, start: RECEIVE_START });
  const events = device.queueMaxSizes.map(() => owned.adopt(EventFd.create(), (event) => event.close()));
  const index = ((features | believed) & MQ) === 0n ? 2 : pairs * 2;
  const drivers = new Map([
    [0, receive],
    [index, control],
  ]);
  const queues = events.map((_, vector) => {
    const driver = drivers.get(vector);
    return driver && new Queue(memory, driver.config({ vector }), 0n);
  });
  const interrupt = new RecordedInterrupt();
  const worker = owned.use(device.activate(memory, interrupt, queues, events));
  const model: Model = {
    features,
    pairs,
    used: 1,
    offloads: OFFLOADS.reduce((all, each) => all | each, 0n) & features,
    mac: OWN_MAC,
    modes: new Set(),
    vlans: new Set(),
    tables: [new Set(), new Set()],
  };
  for (let count = 0; count < COMMANDS; count++) {
    const command = commandOf(random, model);
    const buffers = cut(random, command);
    const { addresses } = control.add(...buffers, { writableBytes: 1 + random.below(3) });
    events[index]?.write();
    worker.turn(0);
    assert.equal(control.takeUsed()?.length, 1);
    const ack = control.bytes(addresses[buffers.length] as number, 1)[0];
    assert.equal(ack, obey(model, command) ? ControlAck.OK : ControlAck.ERR, Buffer.from(command).toString('hex'));
    const isActive = backends.map((_, at) => at < model.used);
    assert.deepEqual(
      backends.map((backend) => backend.isActive),
      isActive,
    );
    const others = (features | believed) & ~OFFLOADS.reduce((all, each) => all | each, 0n);
    for (const { used } of backends) assert.equal(used, others | model.offloads);
    const shown = new Uint8Array(6);
    device.readConfig(0, shown);
    assert.equal(hex(shown), model.mac);
    const target = oneOf(random, MACS);
    const vlan = random.oneIn(2) ? oneOf(random, VLANS) : undefined;
    const behindSource = vlan === undefined ? [8, 0] : [0x81, 0, 0xe0 | (vlan >> 8), vlan & 0xff, 8, 0];
    receive.add({ writableBytes: 100 });
    backends[0]?.arrive(Uint8Array.from([...bytesOf(target), ...bytesOf(OWN_MAC), ...behindSource]));
    events[0]?.write();
    worker.turn(0);
    worker.turn(0);
    const isTaken = receive.takeUsed() !== undefined;
    assert.equal(isTaken, isWanted(model, target, vlan), `${target} ${vlan}`);
  }
  assert.deepEqual(interrupt.resets, []);
}

export const target: FuzzTarget = { name: 'virtio-net-control', run: (random) => run(random, 0n) };

/** Deliberately wrong: the device takes offloads at run time for negotiated that were not. */
export const canary: FuzzTarget = { name: 'virtio-net-control', run: (random) => run(random, CTRL_GUEST_OFFLOADS) };
