import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Queue } from '../queue/queue.ts';
import { FakeOutput, TypedInput } from '../testing/fake-console.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { virtioConsole } from './console.ts';

const QUEUE_BYTES = 0x4_0000;

function create({ isTerminal = false, hasInput = true } = {}) {
  const memory = createMemory();
  const input = new TypedInput();
  const output = new FakeOutput();
  const device = virtioConsole.create({
    ports: [{ isConsole: true, isTerminal, ...(hasInput && { input }), output }],
    isMultiport: false,
    log: silentLog,
    ...(isTerminal && { size: { columns: 80, rows: 25 } }),
  });
  const interrupt = new RecordedInterrupt();
  const receive = new MockQueue(memory, { size: 8, start: 0x10_0000, end: 0x10_0000 + QUEUE_BYTES });
  const transmit = new MockQueue(memory, { size: 8, start: 0x10_0000 + QUEUE_BYTES });
  const events = [EventFd.create(), EventFd.create()];
  const activate = () => {
    const queues = [receive, transmit].map((driver, vector) => new Queue(memory, driver.config({ vector }), 0n));
    return device.activate(memory, interrupt, queues, events);
  };
  const worker = activate();
  const kick = (index: number) => {
    events[index]?.write();
    worker.turn(0);
  };
  /** Turns until nothing is left to do. */
  const settle = () => {
    for (let turns = 0; turns < 10; turns++) worker.turn(0);
  };
  /** What the next receive buffer got. */
  const received = (address: number): string | undefined => {
    const used = receive.takeUsed();
    return used && Buffer.from(receive.bytes(address, used.length)).toString('latin1');
  };
  const dispose = () => {
    worker[Symbol.dispose]();
    for (const event of events) event.close();
    input[Symbol.dispose]();
    output[Symbol.dispose]();
    memory.close();
  };
  const all = { memory, input, output, device, interrupt, receive, transmit, worker, kick, settle };
  return { ...all, received, [Symbol.dispose]: dispose };
}

const text = (value: string) => ({ readable: Buffer.from(value, 'latin1') });

describe('a console', () => {
  test('puts out what is transmitted, in order, and interrupts once', () => {
    using all = create();
    all.transmit.add(text('hello '), text('world'));
    all.transmit.add(text('!'.repeat(5000)));
    all.kick(1);
    assert.equal(all.output.text, `hello world${'!'.repeat(5000)}`);
    assert.deepEqual([all.transmit.takeUsed()?.length, all.transmit.takeUsed()?.length], [0, 0]);
    assert.deepEqual(all.interrupt.vectors, [1]);
  });

  test('keeps a chain until all of it is written, and asks for room meanwhile', () => {
    using all = create();
    all.output.room = 7;
    all.transmit.add(text('hello '), text('world'));
    all.transmit.add(text(', again'));
    all.kick(1);
    assert.equal(all.output.text, 'hello w');
    assert.equal(all.transmit.takeUsed(), undefined);
    all.output.room = 2;
    all.settle();
    assert.equal(all.output.text, 'hello wor');
    all.output.room = Number.POSITIVE_INFINITY;
    all.settle();
    assert.equal(all.output.text, 'hello world, again');
    assert.equal(all.transmit.usedIndex, 2);
    const { writeCalls } = all.output;
    all.settle();
    assert.equal(all.output.writeCalls, writeCalls, 'room is no longer asked for');
  });

  test('rests when there is nothing to do, also one without input that has buffers for it', () => {
    for (const hasInput of [true, false]) {
      using all = create({ hasInput });
      all.receive.add({ writableBytes: 100 });
      all.transmit.add(text('hello'));
      for (const queue of [0, 1]) all.kick(queue);
      all.settle();
      assert.equal(all.output.text, 'hello');
      assert.equal(pollFd(all.worker.fd, PollFlag.IN, 0), 0, `input: ${hasInput}`);
    }
  });

  test('a chain of many pieces does not keep the process from its other work', () => {
    using all = create();
    const size = 100_000;
    all.transmit.add(...Array.from({ length: 7 }, () => text('x'.repeat(size))));
    all.kick(1);
    assert.ok(all.output.text.length < 3 * size, `${all.output.text.length} bytes in a turn`);
    assert.equal(all.transmit.usedIndex, 0);
    all.settle();
    assert.equal(all.output.text.length, 7 * size);
    assert.equal(all.transmit.usedIndex, 1);
  });

  test('puts input into buffers as it comes', () => {
    using all = create();
    const first = all.receive.add({ writableBytes: 4 }).addresses[0] as number;
    const second = all.receive.add({ writableBytes: 100 }).addresses[0] as number;
    all.kick(0);
    all.input.type('abcdefg');
    all.settle();
    assert.deepEqual([all.received(first), all.received(second)], ['abcd', 'efg']);
    assert.deepEqual(all.interrupt.vectors, [0]);
    const third = all.receive.add({ writableBytes: 100 }).addresses[0] as number;
    all.input.type('h');
    all.kick(0);
    all.settle();
    assert.equal(all.received(third), 'h');
  });

  test('input waits where it is while there are no buffers, without keeping the worker busy', () => {
    using all = create();
    all.input.type('early');
    all.settle();
    assert.equal(all.input.waiting, 'early');
    const address = all.receive.add({ writableBytes: 100 }).addresses[0] as number;
    all.kick(0);
    all.settle();
    assert.equal(all.received(address), 'early');
  });

  test('a buffer is not lost when the input has nothing after all', () => {
    using all = create();
    const { addresses } = all.receive.add({ writableBytes: 9 });
    all.kick(0);
    all.input.type('');
    all.settle();
    all.input.type('x');
    all.settle();
    assert.equal(all.received(addresses[0] as number), 'x');
  });

  test('a buffer without room comes back empty', () => {
    using all = create();
    all.receive.add(text('not for writing'));
    const { addresses } = all.receive.add({ writableBytes: 9 });
    all.kick(0);
    all.input.type('x');
    all.settle();
    assert.equal(all.receive.takeUsed()?.length, 0);
    assert.equal(all.received(addresses[0] as number), 'x');
  });

  test('the end of the input leaves the buffers to the driver’s reset', () => {
    using all = create();
    all.receive.add({ writableBytes: 9 });
    all.kick(0);
    all.input.end();
    all.settle();
    all.kick(0);
    all.settle();
    assert.equal(all.receive.takeUsed(), undefined);
    assert.deepEqual(all.interrupt.resets, []);
  });

  test('a fault of either queue asks for a reset', () => {
    using all = create();
    all.receive.makeAvailable(99);
    all.kick(0);
    all.input.type('x');
    all.settle();
    all.transmit.makeAvailable(99);
    all.kick(1);
    assert.equal(all.interrupt.resets.length, 2);
    assert.equal(all.input.waiting, 'x');
  });

  test('on a terminal has its size in the configuration, and tells of a new one', () => {
    using all = create({ isTerminal: true });
    const data = new Uint8Array(16);
    all.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(0, 4), all.device.features()], [80, 0, 25, 0, 5n]);
    const before = all.interrupt.configChanges;
    assert.equal(before, 1, 'a driver that has come up is told to look');
    all.device.resize({ columns: 300, rows: 50 });
    all.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(0, 4)], [44, 1, 50, 0]);
    assert.deepEqual([all.device.configGeneration, all.interrupt.configChanges - before], [1, 1]);
    all.device.resize({ columns: 300, rows: 50 });
    assert.equal(all.interrupt.configChanges - before, 1, 'it has that size');
  });

  test('elsewhere has no size', () => {
    using all = create();
    all.device.resize({ columns: 1, rows: 1 });
    const data = new Uint8Array(4);
    all.device.readConfig(0, data);
    assert.deepEqual([all.device.features(), all.interrupt.configChanges, ...data], [4n, 0, 0, 0, 0, 0]);
  });

  test('an emergency write puts out one character, or drops it where there is no room', () => {
    using all = create();
    all.device.writeConfig(8, Uint8Array.of(0x41, 1, 1, 1));
    all.device.writeConfig(0, Uint8Array.of(0x42));
    all.device.writeConfig(9, Uint8Array.of(0x42));
    all.output.room = 0;
    all.device.writeConfig(8, Uint8Array.of(0x43, 0, 0, 0));
    assert.equal(all.output.text, 'A');
  });
});
