import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Queue } from '../queue/queue.ts';
import { RecordedInterrupt } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import { type ConsoleResources, virtioConsole } from './console.ts';
import type { ConsoleInput } from './console-worker.ts';

/** Input that a test types: its event is readable while there is some, or at the end. */
class TypedInput implements ConsoleInput, Disposable {
  readonly #event = EventFd.create();
  #waiting = '';
  #ended = false;
  get fd(): number {
    return this.#event.fd;
  }
  get waiting(): string {
    return this.#waiting;
  }
  type(text: string): void {
    this.#waiting += text;
    this.#event.write();
  }
  end(): void {
    this.#ended = true;
    this.#event.write();
  }
  read(target: Uint8Array): number | undefined {
    if (this.#waiting === '') {
      if (this.#ended) return 0;
      this.#event.read();
      return undefined;
    }
    const taken = this.#waiting.slice(0, target.length);
    this.#waiting = this.#waiting.slice(taken.length);
    target.set(Buffer.from(taken, 'latin1'));
    return taken.length;
  }
  [Symbol.dispose](): void {
    this.#event.close();
  }
}

function create(resources: Partial<ConsoleResources> = {}) {
  const memory = createMemory();
  const input = new TypedInput();
  let written = '';
  const output = {
    write: (bytes: Uint8Array) => {
      written += Buffer.from(bytes).toString('latin1');
    },
  };
  const device = virtioConsole.create({ input, output, ...resources });
  const interrupt = new RecordedInterrupt();
  const receive = new MockQueue(memory, { size: 8, start: 0x10_0000, end: 0x14_0000 });
  const transmit = new MockQueue(memory, { size: 8, start: 0x14_0000 });
  const events = [EventFd.create(), EventFd.create()];
  const queues = [receive, transmit].map((driver, vector) => new Queue(memory, driver.config({ vector }), 0n));
  const worker = device.activate(memory, interrupt, queues, events);
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
    memory.close();
  };
  const all = { memory, input, output: () => written, device, interrupt, receive, transmit, worker, kick, settle };
  return { ...all, received, [Symbol.dispose]: dispose };
}

const text = (value: string) => ({ readable: Buffer.from(value, 'latin1') });

describe('a console', () => {
  test('puts out what is transmitted, in order, and interrupts once', () => {
    using all = create();
    all.transmit.add(text('hello '), text('world'));
    all.transmit.add(text('!'.repeat(5000)));
    all.kick(1);
    assert.equal(all.output(), `hello world${'!'.repeat(5000)}`);
    assert.deepEqual([all.transmit.takeUsed()?.length, all.transmit.takeUsed()?.length], [0, 0]);
    assert.deepEqual(all.interrupt.vectors, [1]);
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

  test('has its size in the configuration, and tells of a new one', () => {
    using all = create({ size: { columns: 80, rows: 25 } });
    const data = new Uint8Array(16);
    all.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(0, 4), all.device.features()], [80, 0, 25, 0, 5n]);
    all.device.resize({ columns: 300, rows: 50 });
    all.device.readConfig(0, data);
    assert.deepEqual([...data.subarray(0, 4)], [44, 1, 50, 0]);
    assert.deepEqual([all.device.configGeneration, all.interrupt.configChanges], [1, 1]);
    using without = create();
    without.device.resize({ columns: 1, rows: 1 });
    assert.deepEqual([without.device.features(), without.interrupt.configChanges], [4n, 0]);
  });

  test('an emergency write puts out one character', () => {
    using all = create();
    all.device.writeConfig(8, Uint8Array.of(0x41, 1, 1, 1));
    all.device.writeConfig(0, Uint8Array.of(0x42));
    all.device.writeConfig(9, Uint8Array.of(0x42));
    assert.equal(all.output(), 'A');
  });
});
