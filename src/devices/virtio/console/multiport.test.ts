import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { MiB } from '#util/bits.ts';
import type { Log } from '#util/log.ts';
import { viewOf } from '#util/struct.ts';
import { Queue } from '../queue/queue.ts';
import { FakeOutput, TypedInput } from '../testing/fake-console.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory, HOLE } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import type { Worker } from '../worker.ts';
import { virtioConsole } from './console.ts';
import type { ConsolePort } from './console-port.ts';
import { ConsoleFeature, ControlEvent, ControlMessage, ControlQueue, receiveQueueOf } from './constants.ts';

const QUEUE_BYTES = 0x2_0000;
const { SIZE, MULTIPORT, EMERG_WRITE } = ConsoleFeature;
const { DEVICE_READY, PORT_REMOVE, PORT_READY, PORT_OPEN, PORT_NAME } = ControlEvent;
const NAMES = Object.keys(ControlEvent);
const CONTROL_BUFFER_BYTES = 64;

/** Two ports: a console on a terminal, and one with a name. */
class Machine implements Disposable {
  readonly memory = createMemory(MiB);
  readonly inputs = [new TypedInput(), new TypedInput()] as const;
  readonly outputs = [new FakeOutput(), new FakeOutput()] as const;
  readonly warnings: string[] = [];
  readonly interrupt = new RecordedInterrupt();
  readonly log: Log = { ...silentLog, warn: (message) => void this.warnings.push(message) };
  readonly device = virtioConsole.create({ ports: this.#ports(), isMultiport: true, log: this.log });
  readonly events = this.device.queueMaxSizes.map(() => EventFd.create());
  drivers: readonly MockQueue[] = [];
  #offered = new Map<number, number>();
  #worker: Worker | undefined;

  constructor() {
    this.start();
  }

  #ports(): ConsolePort[] {
    return [
      { isConsole: true, isTerminal: true, input: this.inputs[0], output: this.outputs[0] },
      { isConsole: false, isTerminal: false, input: this.inputs[1], output: this.outputs[1], name: 'agent' },
    ];
  }

  start(features = SIZE | MULTIPORT | EMERG_WRITE): void {
    this.device.ackFeatures(features);
    this.memory.fill(HOLE.end, MiB, 0);
    this.drivers = this.events.map((_, index) => {
      const start = HOLE.end + index * QUEUE_BYTES;
      return new MockQueue(this.memory, { size: 16, start, end: start + QUEUE_BYTES });
    });
    const queues = this.drivers.map((driver, vector) => new Queue(this.memory, driver.config({ vector }), 0n));
    this.#worker = this.device.activate(this.memory, this.interrupt, queues, this.events);
  }

  restart(features?: bigint): void {
    this.#worker?.[Symbol.dispose]();
    this.device.reset();
    this.start(features);
  }

  queue(index: number): MockQueue {
    return this.drivers[index] as MockQueue;
  }

  /** Turns until nothing is left to do. */
  settle(): void {
    for (let turns = 0; turns < 10; turns++) this.#worker?.turn(0);
  }

  kick(index: number): void {
    this.events[index]?.write();
    this.settle();
  }

  tell(id: number, event: number, value = 1): void {
    this.tellBytes(ControlMessage.encode({ id, event, value }));
  }

  tellBytes(readable: Uint8Array): void {
    this.queue(ControlQueue.TRANSMIT).add({ readable });
    this.kick(ControlQueue.TRANSMIT);
  }

  /** Gives that many buffers, and says what the device says then. */
  hear(buffers = 8): string[] {
    const queue = this.queue(ControlQueue.RECEIVE);
    const addresses = Array.from({ length: buffers }, () => {
      const { head, addresses: places } = queue.add({ writableBytes: CONTROL_BUFFER_BYTES });
      return [head, places[0] as number] as const;
    });
    const byHead = new Map([...this.#offered, ...addresses]);
    this.#offered = byHead;
    this.kick(ControlQueue.RECEIVE);
    return this.heard();
  }

  /** What the device has said without further buffers. */
  heard(): string[] {
    const said: string[] = [];
    const queue = this.queue(ControlQueue.RECEIVE);
    for (let used = queue.takeUsed(); used; used = queue.takeUsed()) {
      const bytes = queue.bytes(this.#offered.get(used.head) ?? 0, used.length);
      const { id, event, value } = ControlMessage.decode(viewOf(bytes));
      const rest = bytes.subarray(ControlMessage.size);
      const more =
        event === PORT_NAME ? Buffer.from(rest).toString() : [...new Uint16Array(rest.slice().buffer)].join(' ');
      said.push(`${NAMES[event]} ${id} ${value} ${more}`.trimEnd());
    }
    return said;
  }

  [Symbol.dispose](): void {
    this.#worker?.[Symbol.dispose]();
    for (const each of [...this.events, ...this.outputs.map(({ source }) => source)]) each.close();
    for (const input of this.inputs) input[Symbol.dispose]();
    this.memory.close();
  }
}

const BAD_ID = 0xffff_ffff;
const READY: readonly string[] = ['PORT_ADD 0 1', 'PORT_ADD 1 1'];

function ready(machine: Machine): void {
  machine.tell(BAD_ID, DEVICE_READY);
  assert.deepEqual(machine.hear(), READY);
  machine.tell(0, PORT_READY);
  machine.tell(1, PORT_READY);
  machine.hear();
}

describe('a console with several ports', () => {
  test('has two queues for each port and two for control messages', () => {
    using machine = new Machine();
    assert.equal(machine.device.queueMaxSizes.length, 6);
    assert.equal(machine.device.features(), SIZE | MULTIPORT | EMERG_WRITE);
    const config = new Uint8Array(8);
    machine.device.readConfig(0, config);
    assert.equal(viewOf(config).getUint32(4, true), 2);
  });

  test('tells of its ports, and what each of them is, as the driver is ready', () => {
    using machine = new Machine();
    machine.device.resize({ columns: 132, rows: 43 });
    assert.deepEqual(machine.hear(), []);
    machine.tell(BAD_ID, DEVICE_READY);
    assert.deepEqual(machine.heard(), READY);
    machine.tell(0, PORT_READY);
    assert.deepEqual(machine.heard(), ['CONSOLE_PORT 0 1', 'RESIZE 0 1 132 43', 'PORT_OPEN 0 1']);
    machine.tell(1, PORT_READY);
    assert.deepEqual(machine.heard(), ['PORT_NAME 1 1 agent', 'PORT_OPEN 1 1']);
    assert.deepEqual(machine.warnings, []);
  });

  test('says the size anew, once for many changes', () => {
    using machine = new Machine();
    machine.device.resize({ columns: 1, rows: 1 });
    ready(machine);
    machine.device.resize({ columns: 100, rows: 30 });
    machine.device.resize({ columns: 101, rows: 31 });
    machine.settle();
    assert.deepEqual(machine.heard(), ['RESIZE 0 1 101 31']);
    assert.equal(machine.interrupt.configChanges, 0);
  });

  test('a change of the size touches no memory before the worker’s turn', () => {
    using machine = new Machine();
    ready(machine);
    machine.device.resize({ columns: 100, rows: 30 });
    assert.deepEqual(machine.heard(), []);
    machine.settle();
    assert.deepEqual(machine.heard(), ['RESIZE 0 1 100 30']);
  });

  test('messages wait for buffers', () => {
    using machine = new Machine();
    machine.tell(BAD_ID, DEVICE_READY);
    assert.deepEqual(machine.hear(1), READY.slice(0, 1));
    assert.deepEqual(machine.hear(1), READY.slice(1));
  });

  test('bytes go to and from the port of their queue', () => {
    using machine = new Machine();
    ready(machine);
    machine.tell(1, PORT_OPEN);
    const transmit = receiveQueueOf(1) + 1;
    machine.queue(transmit).add({ readable: Buffer.from('to the agent') });
    machine.kick(transmit);
    machine.queue(1).add({ readable: Buffer.from('to the console') });
    machine.kick(1);
    assert.deepEqual(
      machine.outputs.map(({ text }) => text),
      ['to the console', 'to the agent'],
    );
    const receive = machine.queue(receiveQueueOf(1));
    const [address = 0] = receive.add({ writableBytes: 20 }).addresses;
    machine.kick(receiveQueueOf(1));
    machine.inputs[1].type('answer');
    machine.settle();
    assert.equal(Buffer.from(receive.bytes(address, receive.takeUsed()?.length ?? 0)).toString(), 'answer');
  });

  test('input waits until somebody in the guest opens the port, and again when it is closed', () => {
    using machine = new Machine();
    ready(machine);
    const receive = receiveQueueOf(1);
    machine.queue(receive).add({ writableBytes: 20 });
    machine.queue(receive).add({ writableBytes: 20 });
    machine.inputs[1].type('one');
    machine.kick(receive);
    assert.equal(machine.inputs[1].waiting, 'one');
    machine.tell(1, PORT_OPEN);
    machine.settle();
    assert.equal(machine.inputs[1].waiting, '');
    machine.tell(1, PORT_OPEN, 0);
    machine.inputs[1].type('two');
    machine.kick(receive);
    assert.equal(machine.inputs[1].waiting, 'two');
  });

  test('a stalled output holds up its own port alone', () => {
    using machine = new Machine();
    ready(machine);
    machine.outputs[0].room = 0;
    machine.queue(1).add({ readable: Buffer.from('held') });
    machine.kick(1);
    const transmit = receiveQueueOf(1) + 1;
    machine.queue(transmit).add({ readable: Buffer.from('passes') });
    machine.kick(transmit);
    assert.deepEqual([machine.outputs[1].text, machine.queue(1).usedIndex], ['passes', 0]);
  });

  test('a port whose peer has gone is closed for the driver, and what it sends is dropped', () => {
    using machine = new Machine();
    ready(machine);
    machine.tell(1, PORT_OPEN);
    machine.queue(receiveQueueOf(1)).add({ writableBytes: 20 });
    machine.outputs[1].hasPeer = false;
    machine.inputs[1].end();
    machine.kick(receiveQueueOf(1));
    assert.deepEqual(machine.heard(), ['PORT_OPEN 1 0']);
    const transmit = receiveQueueOf(1) + 1;
    machine.queue(transmit).add({ readable: Buffer.from('lost') });
    machine.kick(transmit);
    assert.deepEqual([machine.outputs[1].text, machine.queue(transmit).usedIndex], ['', 1]);
  });

  test('a peer that only ends its own direction still gets what is sent', () => {
    using machine = new Machine();
    ready(machine);
    machine.tell(1, PORT_OPEN);
    machine.queue(receiveQueueOf(1)).add({ writableBytes: 20 });
    machine.inputs[1].end();
    machine.kick(receiveQueueOf(1));
    assert.deepEqual(machine.heard(), []);
  });

  test('messages that make no sense are told of and change nothing', () => {
    using machine = new Machine();
    machine.hear(16);
    machine.tell(0, PORT_READY);
    machine.tell(BAD_ID, DEVICE_READY, 0);
    machine.tellBytes(Uint8Array.of(0, 0, 0, 0, 0, 0, 1));
    assert.deepEqual(machine.heard(), []);
    machine.tell(BAD_ID, DEVICE_READY);
    machine.tell(BAD_ID, DEVICE_READY);
    machine.tell(2, PORT_READY);
    machine.tell(BAD_ID, PORT_OPEN);
    machine.tell(0, PORT_REMOVE);
    machine.tell(1, 999);
    machine.tell(1, PORT_READY, 0);
    assert.deepEqual(machine.heard(), READY, 'no port is added twice');
    assert.deepEqual(machine.warnings, [
      'a control message 3 for port 0, which is not there',
      'the driver could not make the device ready',
      'a control message is too short',
      'a control message 3 for port 2, which is not there',
      'a control message 6 for port 4294967295, which is not there',
      'a control message 2 from the driver, which is not for it to send',
      'a control message 999 from the driver, which is not for it to send',
      'the driver could not make port 1 ready',
    ]);
    assert.deepEqual(machine.interrupt.resets, []);
  });

  test('a buffer that a message does not fit into stops the control queue', () => {
    using machine = new Machine();
    machine.queue(ControlQueue.RECEIVE).add({ writableBytes: ControlMessage.size - 1 });
    machine.tell(BAD_ID, DEVICE_READY);
    assert.equal(machine.interrupt.resets.length, 1);
  });

  test('after a reset the driver is told everything again, and nothing is open', () => {
    using machine = new Machine();
    ready(machine);
    machine.tell(1, PORT_OPEN);
    machine.restart();
    machine.queue(receiveQueueOf(1)).add({ writableBytes: 20 });
    machine.inputs[1].type('kept');
    machine.kick(receiveQueueOf(1));
    assert.equal(machine.inputs[1].waiting, 'kept');
    machine.tell(BAD_ID, DEVICE_READY);
    assert.deepEqual(machine.hear(), READY);
  });

  test('a driver without MULTIPORT has the first port, which is open', () => {
    using machine = new Machine();
    machine.restart(EMERG_WRITE);
    machine.queue(0).add({ writableBytes: 20 });
    machine.inputs[0].type('typed');
    machine.kick(0);
    assert.equal(machine.inputs[0].waiting, '');
    machine.tell(BAD_ID, DEVICE_READY);
    assert.equal(machine.queue(ControlQueue.TRANSMIT).usedIndex, 0);
  });

  test('a character of an emergency goes to the first console', () => {
    using machine = new Machine();
    machine.device.writeConfig(8, Uint8Array.of(0x41, 0, 0, 0));
    assert.deepEqual([machine.outputs[0].text, machine.outputs[1].text], ['A', '']);
  });
});
