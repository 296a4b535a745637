/** Control messages and chains of a hostile driver, outputs without room and input at any time, compared with a model of the ports. */
import assert from 'node:assert/strict';
import { Console } from '#devices/virtio/console/console.ts';
import {
  ConsoleFeature,
  ControlEvent,
  ControlMessage,
  ControlQueue,
  receiveQueueOf,
} from '#devices/virtio/console/constants.ts';
import { Feature } from '#devices/virtio/constants.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { FakeOutput, TypedInput } from '#devices/virtio/testing/fake-console.ts';
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
const QUEUE_BYTES = 0x4_0000;
const PORTS = 3;
/** Turns after which nothing is left to do, whatever one step has asked for. */
const TURNS = 6;
const { DEVICE_READY, PORT_ADD, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME } = ControlEvent;
const EVENTS = Object.values(ControlEvent);
const NAMES = [undefined, 'agent', 'a name of some length'] as const;
const { SIZE, MULTIPORT } = ConsoleFeature;

interface Buffer {
  readonly address: number;
  readonly sizeBytes: number;
}

/** A port as the host and the specification have it. */
class ModelPort implements Disposable {
  readonly input = new TypedInput();
  readonly output: FakeOutput;
  isReady = false;
  isOpen = false;
  typed = '';
  received = '';
  transmitted = '';
  /** Chains for reception that the device has. */
  readonly offered: Buffer[] = [];

  constructor(output: FakeOutput) {
    this.output = output;
  }

  [Symbol.dispose](): void {
    this.input[Symbol.dispose]();
    this.output[Symbol.dispose]();
  }
}

class Machine implements Disposable {
  readonly memory = createMemory(0x40_0000);
  readonly interrupt = new RecordedInterrupt();
  readonly ports: readonly ModelPort[];
  readonly device: Console;
  readonly events: readonly EventFd[];
  queues: readonly MockQueue[] = [];
  isAdded = false;
  readonly added = new Set<number>();
  readonly control: Buffer[] = [];
  #worker: Worker | undefined;

  constructor(createOutput: () => FakeOutput) {
    this.ports = Array.from({ length: PORTS }, () => new ModelPort(createOutput()));
    const ports = this.ports.map(({ input, output }, id) => {
      return { input, output, isConsole: id === 0, isTerminal: id === 0, name: NAMES[id] };
    });
    this.device = new Console({ ports, isMultiport: true, log: silentLog });
    this.events = this.device.queueMaxSizes.map(() => EventFd.create());
    this.start();
  }

  start(): void {
    this.device.ackFeatures(SIZE | MULTIPORT);
    this.memory.fill(HOLE.end, this.events.length * QUEUE_BYTES, 0);
    this.queues = this.events.map((_, index) => {
      const start = HOLE.end + index * QUEUE_BYTES;
      return new MockQueue(this.memory, { size: QUEUE_SIZE, start, end: start + QUEUE_BYTES });
    });
    const { RING_INDIRECT_DESC } = Feature;
    const queues = this.queues.map(
      (each, vector) => new Queue(this.memory, each.config({ vector }), RING_INDIRECT_DESC),
    );
    this.#worker = this.device.activate(this.memory, this.interrupt, queues, this.events);
  }

  /** The driver's second life: nothing is open, and what it had is lost. */
  restart(): void {
    this.#worker?.[Symbol.dispose]();
    this.device.reset();
    this.isAdded = false;
    this.added.clear();
    this.control.length = 0;
    for (const port of this.ports) {
      port.isReady = false;
      port.isOpen = false;
      port.offered.length = 0;
    }
    this.start();
  }

  queue(index: number): MockQueue {
    return this.queues[index] as MockQueue;
  }

  turn(): void {
    for (const event of this.events) event.write();
    for (let count = 0; count < TURNS; count++) this.#worker?.turn(0);
  }

  [Symbol.dispose](): void {
    this.#worker?.[Symbol.dispose]();
    for (const event of this.events) event.close();
    for (const port of this.ports) port[Symbol.dispose]();
    this.memory.close();
  }
}

const letters = (random: Random, length: number): string =>
  Array.from({ length }, () => String.fromCharCode(0x61 + random.below(26))).join('');

/** Cuts bytes into at most three buffers anywhere. */
function cut(random: Random, bytes: Uint8Array): MockBuffer[] {
  if (bytes.length < 2 || random.oneIn(2)) return [{ readable: bytes }];
  const at = 1 + random.below(bytes.length - 1);
  return [{ readable: bytes.subarray(0, at) }, ...cut(random, bytes.subarray(at)).slice(0, 1)];
}

const bytesOf = (buffers: readonly MockBuffer[]): Uint8Array =>
  Uint8Array.from(buffers.flatMap((buffer) => ('readable' in buffer ? [...buffer.readable] : [])));

/** A chain for a queue whose chains all come back at once; returns what was in it. */
function send(machine: Machine, random: Random, index: number, content: Uint8Array): Uint8Array {
  const buffers = cut(random, content);
  const queue = machine.queue(index);
  const { head } = random.oneIn(2) ? queue.addIndirect(...buffers) : queue.add(...buffers);
  machine.turn();
  assert.deepEqual(queue.takeUsed(), { head, length: 0 });
  return bytesOf(buffers);
}

function control(machine: Machine, random: Random): void {
  const id = random.oneIn(8) ? Number(random.boundary(32)) : random.below(PORTS + 1);
  const event = random.oneIn(10)
    ? Number(random.boundary(16))
    : random.pick([DEVICE_READY, PORT_READY, PORT_OPEN, ...EVENTS]);
  const value = random.oneIn(4) ? random.below(3) : 1;
  const whole = Uint8Array.from([...ControlMessage.encode({ id, event, value }), ...random.bytes(random.below(3))]);
  const sent = random.oneIn(8) ? whole.subarray(0, 1 + random.below(whole.length)) : whole;
  const bytes = send(machine, random, ControlQueue.TRANSMIT, sent);
  if (bytes.length < ControlMessage.size) return;
  const heard = ControlMessage.decode(viewOf(bytes));
  const port = machine.ports[heard.id];
  if (heard.event === DEVICE_READY) machine.isAdded ||= heard.value === 1;
  else if (port !== undefined && machine.isAdded) {
    if (heard.event === PORT_READY) port.isReady = heard.value === 1;
    if (heard.event === PORT_OPEN) port.isOpen = heard.value !== 0;
  }
}

function transmit(machine: Machine, random: Random): void {
  const id = random.below(PORTS);
  const port = machine.ports[id] as ModelPort;
  const text = letters(random, 1 + random.below(random.oneIn(4) ? 9000 : 60));
  if (random.oneIn(3)) port.output.room = random.below(text.length + 1);
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const queue = machine.queue(receiveQueueOf(id) + 1);
  const { head } = queue.add({ readable: bytes });
  machine.turn();
  if (port.output.room === 0 && port.output.text.length < port.transmitted.length + text.length) {
    assert.equal(queue.takeUsed(), undefined, 'a chain is kept until all of it is written');
  }
  port.output.room = Number.POSITIVE_INFINITY;
  machine.turn();
  port.transmitted += text;
  assert.deepEqual(queue.takeUsed(), { head, length: 0 });
  assert.equal(port.output.text, port.transmitted);
}

/** Offers a buffer for input, or for control messages. */
function offer(machine: Machine, random: Random): void {
  const id = random.below(PORTS + 1);
  const port = machine.ports[id];
  const offered = port?.offered ?? machine.control;
  if (offered.length >= QUEUE_SIZE / 2) return;
  const sizeBytes = port === undefined ? 64 : 1 + random.below(20);
  const queue = machine.queue(port === undefined ? ControlQueue.RECEIVE : receiveQueueOf(id));
  const [address = 0] = queue.add({ writableBytes: sizeBytes }).addresses;
  offered.push({ address, sizeBytes });
}

function type(machine: Machine, random: Random): void {
  const port = random.pick(machine.ports);
  const text = letters(random, 1 + random.below(50));
  port.typed += text;
  port.input.type(text);
}

/** Takes what has come of input: no more than was typed, in order, and none while the port is not open. */
function collectInput(machine: Machine): void {
  for (const [id, port] of machine.ports.entries()) {
    const queue = machine.queue(receiveQueueOf(id));
    for (let used = queue.takeUsed(); used; used = queue.takeUsed()) {
      const buffer = port.offered.shift();
      assert.ok(buffer !== undefined && used.length <= buffer.sizeBytes);
      assert.ok(port.isOpen, 'input for a port that nobody has open');
      port.received += String.fromCharCode(...queue.bytes(buffer.address, used.length));
    }
    assert.ok(port.typed.startsWith(port.received), 'input in order');
    const isWaiting = port.received.length < port.typed.length;
    assert.ok(!(port.isOpen && isWaiting && port.offered.length > 0), 'input that could be delivered waits');
  }
}

/** Takes what the device has said: of ports that it added once, and that the driver has. */
function collectControl(machine: Machine): void {
  const queue = machine.queue(ControlQueue.RECEIVE);
  for (let used = queue.takeUsed(); used; used = queue.takeUsed()) {
    const buffer = machine.control.shift();
    assert.ok(buffer !== undefined);
    const bytes = queue.bytes(buffer.address, used.length);
    const { id, event, value } = ControlMessage.decode(viewOf(bytes));
    assert.ok(machine.isAdded && id < PORTS && value === 1, `message ${event} for ${id}`);
    if (event === PORT_ADD) {
      assert.ok(!machine.added.has(id), 'a port is added once');
      machine.added.add(id);
      continue;
    }
    assert.ok(machine.added.has(id), 'a message of a port that is there');
    assert.ok(
      [CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME].some((each) => each === event),
      `message ${event}`,
    );
    const name = String.fromCharCode(...bytes.subarray(ControlMessage.size));
    if (event === PORT_NAME) assert.equal(name, NAMES[id]);
    else assert.equal(bytes.length, ControlMessage.size + (event === RESIZE ? 4 : 0));
    if (event === CONSOLE_PORT || event === RESIZE) assert.equal(id, 0);
  }
  const isWaiting = machine.isAdded && machine.added.size < PORTS;
  assert.ok(!(isWaiting && machine.control.length > 0), 'a message that could be delivered waits');
}

function step(machine: Machine, random: Random): void {
  switch (random.below(20)) {
    case 0:
      machine.restart();
      break;
    case 1:
      machine.device.resize({ columns: random.below(300), rows: random.below(100) });
      break;
    case 2:
    case 3:
    case 4:
      type(machine, random);
      break;
    case 5:
    case 6:
    case 7:
    case 8:
      transmit(machine, random);
      break;
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
      offer(machine, random);
      break;
    default:
      control(machine, random);
  }
  machine.turn();
  collectInput(machine);
  collectControl(machine);
  assert.deepEqual(machine.interrupt.resets, []);
}

function consoleTarget(createOutput: () => FakeOutput): FuzzTarget {
  return {
    name: 'virtio-console',
    run(random) {
      using machine = new Machine(createOutput);
      machine.turn();
      for (let count = 0; count < STEPS; count++) step(machine, random);
    },
  };
}

export const target = consoleTarget(() => new FakeOutput());

/** Says that it has taken a byte more than it has, where there is little room. */
class LosingOutput extends FakeOutput {
  override write(bytes: Uint8Array): number {
    const count = super.write(bytes);
    return count > 0 && count < bytes.length ? count + 1 : count;
  }
}

/** Deliberately wrong: a byte is lost where the output has little room. */
export const canary = consoleTarget(() => new LosingOutput());
