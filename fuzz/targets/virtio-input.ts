/** Events in pieces of any size, a driver that gives few, bad or no buffers, and configuration accesses: the guest sees whole frames alone. */
import assert from 'node:assert/strict';
import { EventType, InputEvent, SYN_REPORT } from '#devices/virtio/input/constants.ts';
import { Input } from '#devices/virtio/input/input.ts';
import { INPUT_KINDS, inputTable } from '#devices/virtio/input/input-table.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { eventBytes, FakeInput } from '#devices/virtio/testing/fake-input.ts';
import { RecordedInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import type { Worker } from '#devices/virtio/worker.ts';
import { EventFd } from '#poll/event-fd.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const STEPS = 60;
const STATUS_START = HOLE.end + 0x10_0000;

class Machine implements Disposable {
  readonly memory = createMemory(0x40_0000);
  readonly source = new FakeInput();
  readonly events = [EventFd.create(), EventFd.create()] as const;
  readonly event: MockQueue;
  readonly status = new MockQueue(this.memory, { size: 16, start: STATUS_START });
  readonly device: Input;
  /** By chain: where its buffer is. */
  readonly addresses = new Map<number, number>();
  readonly #worker: Worker;

  constructor(random: Random) {
    this.event = new MockQueue(this.memory, { size: random.pick([2, 4, 16, 64]), start: HOLE.end, end: STATUS_START });
    const table = inputTable(random.pick(INPUT_KINDS), random.below(9), { width: 1, height: 0x7fff_ffff });
    this.device = new Input({ name: 'input0', table, source: this.source, log: silentLog });
    const queues = [this.event, this.status].map((driver) => new Queue(this.memory, driver.config(), 0n));
    this.#worker = this.device.activate(this.memory, new RecordedInterrupt(), queues, this.events);
  }

  turn(): void {
    this.#worker.turn(0);
  }

  [Symbol.dispose](): void {
    this.#worker[Symbol.dispose]();
    for (const event of this.events) event.close();
    this.source[Symbol.dispose]();
    this.memory.close();
  }
}

/** One frame; every event has a number of its own. */
function frame(random: Random, count: number, next: () => number): Uint8Array {
  const parts = Array.from({ length: count - 1 }, () => eventBytes(random.pick([1, 2, 3, 0x15, 0xffff]), 1, next()));
  return Buffer.concat([...parts, eventBytes(EventType.SYN, SYN_REPORT, next())]);
}

interface Case {
  readonly machine: Machine;
  readonly random: Random;
  /** What the source has sent, frame by frame. */
  readonly sent: string[];
  /** Bytes that the guest has got, in hex. */
  got: string;
}

function send({ machine, random, sent }: Case, next: () => number): void {
  const size = random.oneIn(20) ? 60 + random.below(10) : 1 + random.below(5);
  const bytes = frame(random, size, next);
  sent.push(Buffer.from(bytes).toString('hex'));
  for (let at = 0; at < bytes.length; ) {
    const count = 1 + random.below(40);
    machine.source.give(bytes.subarray(at, at + count));
    at += count;
    if (random.oneIn(3)) machine.turn();
  }
}

function offer({ machine, random }: Case): void {
  const { event, addresses, events } = machine;
  for (let count = random.below(event.size); count > 0 && addresses.size < event.size; count--) {
    const { head, addresses: at } = event.add({
      writableBytes: random.oneIn(300) ? 1 + random.below(7) : 8 + random.below(9),
    });
    addresses.set(head, at[0] ?? 0);
  }
  events[0].write();
}

function collect(each: Case): void {
  const { machine } = each;
  for (let used = machine.event.takeUsed(); used !== undefined; used = machine.event.takeUsed()) {
    const address = machine.addresses.get(used.head);
    assert.ok(address !== undefined && used.length === InputEvent.size, 'a chain that the driver gave');
    machine.addresses.delete(used.head);
    each.got += Buffer.from(machine.event.bytes(address, InputEvent.size)).toString('hex');
  }
}

/** Accesses anywhere, of any size; the answer stays inside the structure. */
function configure({ machine, random }: Case): void {
  const offset = random.pick([0, 0, 1, random.below(160), 4088]);
  machine.device.writeConfig(offset, random.bytes(1 + random.below(8)));
  const data = new Uint8Array(256);
  machine.device.readConfig(0, data);
  assert.ok((data[2] ?? 0) <= 128 && data.subarray(136).every((byte) => byte === 0));
}

function status({ machine, random }: Case): void {
  machine.source.room = random.pick([0, 1, 5, 8, 1000]);
  machine.status.add({ readable: random.bytes(1 + random.below(40)) });
  machine.events[1].write();
  machine.turn();
}

/** What the guest has got is frames that were sent, in order and whole. `merged` is how many of the frames count as one. */
function check({ sent, got }: Case, merged: number): void {
  let rest = got;
  for (let at = 0; at < sent.length; at += merged) {
    const whole = sent.slice(at, at + merged).join('');
    if (rest.startsWith(whole)) rest = rest.slice(whole.length);
  }
  assert.equal(rest, '', 'what the guest has got is no row of whole frames');
}

function inputTarget(merged: number): FuzzTarget {
  return {
    name: 'virtio-input',
    run(random) {
      using machine = new Machine(random);
      const each: Case = { machine, random, sent: [], got: '' };
      let number = 0;
      const next = (): number => ++number;
      for (let step = 0; step < STEPS; step++) {
        const action = random.below(8);
        if (action < 3) send(each, next);
        else if (action < 5) offer(each);
        else if (action === 5) configure(each);
        else if (action === 6) status(each);
        machine.turn();
        if (random.oneIn(2)) collect(each);
      }
      collect(each);
      check(each, merged);
    },
  };
}

export const target = inputTarget(1);

/** Believes that two frames come together or not at all. */
export const canary = inputTarget(2);
