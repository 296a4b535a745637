import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import { Queue } from '../queue/queue.ts';
import { eventBytes, FakeInput } from '../testing/fake-input.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory, HOLE } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { EventType, InputSelect, SYN_REPORT } from './constants.ts';
import { Input, input } from './input.ts';
import { type InputKind, inputTable } from './input-table.ts';

const STATUS_START = HOLE.end + 0x10_0000;
const key = (code: number, value = 1): Uint8Array => eventBytes(EventType.KEY, code, value);
const report = eventBytes(EventType.SYN, SYN_REPORT, 0);

/** A device and a driver with queues of 8. */
class Machine implements Disposable {
  readonly memory = createMemory(0x40_0000);
  readonly source = new FakeInput();
  readonly interrupt = new RecordedInterrupt();
  readonly events = [EventFd.create(), EventFd.create()] as const;
  readonly event = new MockQueue(this.memory, { size: 8, start: HOLE.end, end: STATUS_START });
  readonly status = new MockQueue(this.memory, { size: 8, start: STATUS_START });
  readonly said: string[] = [];
  readonly device: Input;
  readonly #worker;
  readonly #addresses = new Map<number, number>();

  constructor(kind: InputKind = 'keyboard') {
    const { memory, source, interrupt, events, said } = this;
    const log = { ...silentLog, warn: (message: string) => void said.push(message) };
    const table = inputTable(kind, 3, { width: 640, height: 480 });
    this.device = new Input({ name: 'input3', table, source, log });
    const queues = [this.event, this.status].map((driver, vector) => new Queue(memory, driver.config({ vector }), 0n));
    this.#worker = this.device.activate(memory, interrupt, queues, events);
  }

  /** Gives the device so many buffers for events. */
  offer(count: number, writableBytes = 8): void {
    for (let index = 0; index < count; index++) {
      const { head, addresses } = this.event.add({ writableBytes });
      this.#addresses.set(head, addresses[0] ?? 0);
    }
    this.events[0].write();
  }

  turn(): void {
    this.#worker.turn(0);
    this.#worker.turn(0);
  }

  /** The events that have come. */
  taken(): Uint8Array[] {
    const taken: Uint8Array[] = [];
    for (let used = this.event.takeUsed(); used !== undefined; used = this.event.takeUsed()) {
      assert.equal(used.length, 8);
      taken.push(this.event.bytes(this.#addresses.get(used.head) ?? 0, 8));
    }
    return taken;
  }

  /** What the configuration says, as Linux asks. */
  ask(select: number, subsel = 0): Uint8Array {
    this.device.writeConfig(0, Uint8Array.of(select));
    this.device.writeConfig(1, Uint8Array.of(subsel));
    const whole = new Uint8Array(136);
    this.device.readConfig(0, whole);
    assert.deepEqual([...whole.subarray(0, 2)], [select, subsel]);
    assert.ok(whole.subarray(8 + (whole[2] ?? 0)).every((byte) => byte === 0));
    return whole.slice(8, 8 + (whole[2] ?? 0));
  }

  [Symbol.dispose](): void {
    this.#worker[Symbol.dispose]();
    for (const event of this.events) event.close();
    this.source[Symbol.dispose]();
    this.memory.close();
  }
}

const bitsOf = (bytes: Uint8Array): number[] =>
  [...bytes].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => byte & (1 << bit)).map((bit) => 8 * at + bit),
  );
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

describe('the configuration of an input device', () => {
  test('is what the specification and the policies call it', () => {
    using machine = new Machine();
    assert.deepEqual([input.type, input.queueSizes, input.policy], [18, [64, 64], 'input_device']);
    assert.deepEqual([machine.device.features(), machine.device.keepFds()], [0n, [machine.source.fd]]);
  });

  test('names a keyboard, its keys and its lights', () => {
    using machine = new Machine('keyboard');
    assert.equal(textOf(machine.ask(InputSelect.ID_NAME)), 'Crosvm Virtio Keyboard 3');
    assert.equal(textOf(machine.ask(InputSelect.ID_SERIAL)), 'virtio-keyboard-3');
    assert.deepEqual([...machine.ask(InputSelect.ID_DEVIDS)], [6, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual(machine.ask(InputSelect.PROP_BITS).length, 0);
    const keys = bitsOf(machine.ask(InputSelect.EV_BITS, EventType.KEY));
    for (const code of [1, 30, 57, 88, 102, 125]) assert.ok(keys.includes(code), `${code}`);
    assert.ok(!keys.includes(0) && !keys.includes(84) && !keys.includes(0x110));
    assert.deepEqual(bitsOf(machine.ask(InputSelect.EV_BITS, EventType.LED)), [0, 1, 2]);
    assert.deepEqual(bitsOf(machine.ask(InputSelect.EV_BITS, EventType.REP)), [0, 1]);
    for (const type of [EventType.SYN, EventType.REL, EventType.ABS, 0xff]) {
      assert.equal(machine.ask(InputSelect.EV_BITS, type).length, 0);
    }
  });

  for (const { kind, keys, motion, properties } of [
    { kind: 'mouse', keys: [0x110, 0x111, 0x112], motion: [0, 1, 8], properties: [] },
    { kind: 'single-touch', keys: [0x14a], motion: [0, 1], properties: [1] },
    { kind: 'trackpad', keys: [0x110, 0x111, 0x145, 0x14a], motion: [0, 1], properties: [0] },
  ] as const) {
    test(`tells of a ${kind}`, () => {
      using machine = new Machine(kind);
      const type = kind === 'mouse' ? EventType.REL : EventType.ABS;
      assert.deepEqual(bitsOf(machine.ask(InputSelect.EV_BITS, EventType.KEY)), keys);
      assert.deepEqual(bitsOf(machine.ask(InputSelect.EV_BITS, type)), motion);
      assert.deepEqual(bitsOf(machine.ask(InputSelect.PROP_BITS)), properties);
      const largest = [0, 1].map((axis) => {
        const answer = machine.ask(InputSelect.ABS_INFO, axis);
        return answer.length === 20 ? viewOf(answer).getUint32(4, true) : undefined;
      });
      assert.deepEqual(largest, kind === 'mouse' ? [undefined, undefined] : [640, 480]);
    });
  }

  test('says nothing of what there is not, keeps to its bytes, and forgets with a reset', () => {
    using machine = new Machine();
    for (const [select, subsel] of [
      [0, 0],
      [1, 1],
      [0x12, 0],
      [0xff, 0xff],
    ] as const) {
      assert.equal(machine.ask(select, subsel).length, 0);
    }
    machine.device.writeConfig(0, Uint8Array.of(1, 0, 99, 99, 99, 99, 99, 99));
    machine.device.writeConfig(8, new Uint8Array(8).fill(0xff));
    const beyond = new Uint8Array(8);
    machine.device.readConfig(4096 - 8, beyond);
    assert.equal(textOf(machine.ask(1)), 'Crosvm Virtio Keyboard 3');
    assert.deepEqual(beyond, new Uint8Array(8));
    machine.device.reset();
    const header = new Uint8Array(16);
    machine.device.readConfig(0, header);
    assert.deepEqual(header, new Uint8Array(16));
  });
});

describe('events of an input device', () => {
  test('reach the guest one a buffer, with one interrupt', () => {
    using machine = new Machine();
    machine.offer(4);
    machine.source.give(key(30), report, key(30, 0), report);
    machine.turn();
    assert.deepEqual(machine.taken(), [key(30), report, key(30, 0), report]);
    assert.deepEqual(machine.interrupt.vectors, [0]);
  });

  test('wait until the guest has buffers for a whole frame', () => {
    using machine = new Machine();
    machine.offer(2);
    machine.source.give(key(1), key(2), report);
    machine.turn();
    assert.deepEqual(machine.taken(), []);
    machine.offer(1);
    machine.turn();
    assert.deepEqual(machine.taken(), [key(1), key(2), report]);
    assert.deepEqual(machine.device.dropped, { frames: 0, statusEvents: 0 });
  });

  test('that came before the driver started are there at its start', () => {
    using machine = new Machine();
    machine.source.give(key(1), report.subarray(0, 3));
    machine.turn();
    machine.offer(2);
    machine.source.give(report.subarray(3));
    machine.turn();
    assert.deepEqual(machine.taken(), [key(1), report]);
  });

  test('are dropped by whole frames when the guest takes none for long, or could never take them', () => {
    using machine = new Machine();
    const frames = Array.from({ length: 2100 }, (_, index) => [key(index & 0xff), report]).flat();
    machine.source.give(...frames);
    for (let turns = 0; turns < 20; turns++) machine.turn();
    assert.equal(machine.device.dropped.frames, 2100 - 2048);
    machine.offer(8);
    machine.turn();
    assert.deepEqual(machine.taken(), frames.slice(0, 8));
    using small = new Machine();
    small.offer(8);
    small.source.give(...Array.from({ length: 8 }, (_, code) => key(code)), report, key(9), report);
    small.turn();
    assert.deepEqual([small.taken(), small.device.dropped.frames], [[key(9), report], 1]);
  });

  test('a buffer without room for an event is a fault, and nothing of the frame is given', () => {
    using machine = new Machine();
    machine.offer(1);
    machine.offer(1, 7);
    machine.source.give(key(1), report);
    machine.turn();
    assert.deepEqual(machine.taken(), []);
    assert.equal(machine.interrupt.resets.length, 1);
    assert.match(machine.interrupt.resets[0] ?? '', /^NO_ROOM_FOR_ANSWER/);
    machine.source.give(key(2), report);
    machine.turn();
    assert.deepEqual(machine.taken(), []);
  });

  test('come no more when the source has ended, which is said once, and the device lives on', () => {
    using machine = new Machine();
    machine.offer(4);
    machine.source.give(key(1), report, key(2));
    machine.source.close('the connection was closed');
    machine.turn();
    machine.status.add({ readable: eventBytes(EventType.LED, 0, 1) });
    machine.events[1].write();
    machine.turn();
    assert.deepEqual(machine.taken(), [key(1), report]);
    assert.deepEqual(machine.said, ['no more events come: the connection was closed']);
    assert.equal(machine.status.takeUsed()?.length, 0);
  });
});

describe('status events of an input device', () => {
  const led = (code: number, value: number): Uint8Array => eventBytes(EventType.LED, code, value);
  const send = (machine: Machine, ...parts: readonly Uint8Array[]): void => {
    for (const readable of parts) machine.status.add({ readable });
    machine.events[1].write();
    machine.turn();
  };

  test('go to the source, whole events alone', () => {
    using machine = new Machine();
    send(machine, led(0, 1), Buffer.concat([led(1, 1), led(2, 1), Uint8Array.of(1, 2, 3)]), Uint8Array.of(9));
    assert.deepEqual(machine.source.written, [...led(0, 1), ...led(1, 1), ...led(2, 1)]);
    assert.deepEqual(
      [1, 2, 3].map(() => machine.status.takeUsed()?.length),
      [0, 0, 0],
    );
  });

  test('wait for a source that takes parts, and are dropped whole when too many wait', () => {
    using machine = new Machine();
    machine.source.room = 3;
    const many = Array.from({ length: 64 }, (_, index) => led(index & 1, index));
    send(machine, Buffer.concat(many), led(5, 5));
    assert.deepEqual(machine.device.dropped, { frames: 0, statusEvents: 1 });
    machine.source.room = Number.POSITIVE_INFINITY;
    machine.source.give(report);
    machine.turn();
    assert.deepEqual(machine.source.written, [...Buffer.concat(many)]);
  });
});
