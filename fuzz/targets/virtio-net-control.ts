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
const { CTRL_GUEST_OFFLOADS, CTRL_VQ, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, MQ } = NetFeature;
const OFFLOADS = [GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO] as const;

/** What a driver may have brought about. */
interface Model {
  readonly features: bigint;
  readonly pairs: number;
  used: number;
  offloads: bigint;
}

/** VIRTIO 1.1 §5.1.6.5.5 and §5.1.6.5.6 once more, in other words: whether the command is obeyed. */
function obey(model: Model, command: Uint8Array): boolean {
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
  const whole = random.oneIn(2)
    ? [4, 0, count & 0xff, count >> 8]
    : [5, 0, ...new Uint8Array(BigUint64Array.of(bits).buffer)];
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
  const features = [...OFFLOADS, CTRL_GUEST_OFFLOADS, ...(pairs > 1 ? [MQ] : [])].reduce(
    (all, each) => (random.oneIn(3) ? all : all | each),
    CTRL_VQ,
  );
  const device = new Net({ backends, log: silentLog, mac: new Uint8Array(6) });
  device.ackFeatures(features | believed);
  const control = new MockQueue(memory, { size: QUEUE_SIZE, start: HOLE.end });
  const events = device.queueMaxSizes.map(() => owned.adopt(EventFd.create(), (event) => event.close()));
  const index = ((features | believed) & MQ) === 0n ? 2 : pairs * 2;
  const queues = events.map((_, at) =>
    at === index ? new Queue(memory, control.config({ vector: at }), 0n) : undefined,
  );
  const interrupt = new RecordedInterrupt();
  const worker = owned.use(device.activate(memory, interrupt, queues, events));
  const model: Model = {
    features,
    pairs,
    used: 1,
    offloads: OFFLOADS.reduce((all, each) => all | each, 0n) & features,
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
  }
  assert.deepEqual(interrupt.resets, []);
}

export const target: FuzzTarget = { name: 'virtio-net-control', run: (random) => run(random, 0n) };

/** Deliberately wrong: the device takes offloads at run time for negotiated that were not. */
export const canary: FuzzTarget = { name: 'virtio-net-control', run: (random) => run(random, CTRL_GUEST_OFFLOADS) };
