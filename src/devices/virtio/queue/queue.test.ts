import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { GuestMemory } from '#memory/guest-memory.ts';
import { Feature } from '../constants.ts';
import { createMemory, HOLE } from '../testing/memory.ts';
import { MockQueue, type RawDescriptor } from '../testing/mock-queue.ts';
import { ChainReader, ChainWriter } from './chain-cursor.ts';
import { Queue } from './queue.ts';
import { configFault, type QueueConfig } from './queue-config.ts';
import type { QueueFault } from './queue-fault.ts';
import { DescriptorFlag } from './ring-layout.ts';

const { NEXT, WRITE, INDIRECT } = DescriptorFlag;
const ALL_FEATURES = Feature.RING_EVENT_IDX | Feature.RING_INDIRECT_DESC;

function create(size = 8, features = 0n) {
  const memory = createMemory();
  const driver = new MockQueue(memory, { size });
  const queue = new Queue(memory, driver.config(), features);
  const chain = queue.createChain();
  return { memory, driver, queue, chain, [Symbol.dispose]: () => memory.close() };
}

function contentOf(memory: GuestMemory, chain: ReturnType<Queue['createChain']>): string {
  const reader = new ChainReader(memory.whole);
  reader.begin(chain);
  const content = new Uint8Array(chain.readableBytes);
  assert.equal(reader.read(content), content.length);
  return Buffer.from(content).toString('latin1');
}

const text = (value: string) => ({ readable: Buffer.from(value, 'latin1') });

describe('a queue that is enabled', () => {
  const changed = (changes: Partial<QueueConfig>): QueueFault | undefined => {
    using memory = createMemory();
    return configFault(memory, new MockQueue(memory, { size: 8 }).config(changes));
  };

  test('is good with its parts aligned and in RAM', () => assert.equal(changed({}), undefined));

  test('has a size that is a power of two up to its maximum', () => {
    for (const size of [0, 3, 7, 16, 65535]) assert.equal(changed({ size }), 'BAD_QUEUE_SIZE');
    assert.equal(changed({ size: 4 }), undefined);
    const large = { descriptorTable: HOLE.end, availableRing: HOLE.end + 0x8_0000, usedRing: HOLE.end + 0xa_0000 };
    assert.equal(changed({ size: 0x8000, maxSize: 0x8000, ...large }), undefined);
    assert.equal(changed({ size: 0x1_0000, maxSize: 0x1_0000 }), 'BAD_QUEUE_SIZE');
  });

  test('has aligned parts', () => {
    assert.equal(changed({ descriptorTable: 8 }), 'RING_MISALIGNED');
    assert.equal(changed({ availableRing: 0x101 }), 'RING_MISALIGNED');
    assert.equal(changed({ usedRing: 0x102 }), 'RING_MISALIGNED');
  });

  test('has its parts in RAM as a whole, the event fields included', () => {
    const last = HOLE.start;
    assert.equal(changed({ descriptorTable: last - 128 }), undefined);
    assert.equal(changed({ descriptorTable: last - 112 }), 'RING_OUTSIDE_MEMORY');
    assert.equal(changed({ availableRing: last - 22 }), undefined);
    assert.equal(changed({ availableRing: last - 20 }), 'RING_OUTSIDE_MEMORY');
    assert.equal(changed({ usedRing: last - 72 }), undefined);
    assert.equal(changed({ usedRing: last - 68 }), 'RING_OUTSIDE_MEMORY');
    for (const address of [HOLE.start, 2 ** 52, 2 ** 53, 2 ** 64 - 16, 2 ** 64]) {
      assert.equal(changed({ descriptorTable: address }), 'RING_OUTSIDE_MEMORY');
    }
  });
});

describe('popping', () => {
  test('an empty queue has nothing, and no fault', () => {
    using all = create();
    assert.deepEqual([all.queue.pop(all.chain), all.queue.fault], [false, undefined]);
  });

  test('a chain has its readable and writable buffers in order', () => {
    using all = create();
    const { head } = all.driver.add(text('hello '), text('world'), { writableBytes: 10 }, { writableBytes: 5 });
    assert.ok(all.queue.pop(all.chain));
    assert.equal(all.chain.head, head);
    assert.deepEqual([all.chain.count, all.chain.readableCount], [4, 2]);
    assert.deepEqual([all.chain.readableBytes, all.chain.writableBytes], [11, 15]);
    assert.equal(contentOf(all.memory, all.chain), 'hello world');
    assert.equal(all.queue.pop(all.chain), false);
  });

  test('an indirect table is read like a chain, after direct descriptors too', () => {
    using all = create(8, ALL_FEATURES);
    all.driver.addIndirect(text('in'), text('direct'), { writableBytes: 3 });
    assert.ok(all.queue.pop(all.chain));
    assert.equal(contentOf(all.memory, all.chain), 'indirect');
    const { addresses } = all.driver.add(text('first '), text('.'.repeat(16)));
    const table = addresses[1] as number;
    all.driver.writeDescriptorAt(table, { address: addresses[0] as number, length: 5 });
    all.driver.writeDescriptor(2, { address: table, length: 16, flags: INDIRECT | WRITE });
    assert.ok(all.queue.pop(all.chain));
    assert.equal(contentOf(all.memory, all.chain), 'first first');
  });

  test('an indirect chain may be longer than the queue', () => {
    using all = create(2, ALL_FEATURES);
    all.driver.addIndirect(...Array.from({ length: 1024 }, () => text('x')));
    assert.ok(all.queue.pop(all.chain));
    assert.equal(all.chain.readableBytes, 1024);
    all.driver.addIndirect(...Array.from({ length: 1025 }, () => text('x')));
    assert.equal(all.queue.pop(all.chain), false);
    assert.equal(all.queue.fault, 'CHAIN_TOO_LONG');
  });

  test('indices wrap at 16 bits', () => {
    using all = create(4);
    for (let round = 0; round < 70_000; round++) {
      const { head } = all.driver.add({ writableBytes: 1 });
      if (!all.queue.pop(all.chain) || all.chain.head !== head) assert.fail(`round ${round}`);
      all.queue.addUsed(head, round);
      const used = all.driver.takeUsed();
      if (used?.head !== head || used.length !== round) assert.fail(`round ${round}`);
    }
  });

  test('a chain that is undone comes again', () => {
    using all = create();
    const { head } = all.driver.add(text('x'));
    assert.ok(all.queue.pop(all.chain));
    all.queue.undoPop();
    assert.ok(all.queue.pop(all.chain));
    assert.equal(all.chain.head, head);
  });

  test('a request that the device cannot answer stops the queue', () => {
    using all = create();
    all.driver.add(text('x'));
    assert.ok(all.queue.pop(all.chain));
    all.queue.fail('NO_ROOM_FOR_ANSWER');
    assert.deepEqual([all.queue.fault, all.queue.pop(all.chain)], ['NO_ROOM_FOR_ANSWER', false]);
    assert.equal(all.queue.nextAvailable, 0, 'the chain is not lost');
  });

  test('what is popped is a copy: the driver changes descriptors too late', () => {
    using all = create();
    const { head, addresses } = all.driver.add(text('before'));
    assert.ok(all.queue.pop(all.chain));
    all.driver.writeDescriptor(head, { address: HOLE.start, length: 0xffff_ffff, flags: WRITE });
    assert.equal(all.chain.offsets[0], all.memory.offsetOf(addresses[0] as number, 1));
    assert.equal(contentOf(all.memory, all.chain), 'before');
  });
});

describe('a hostile driver', () => {
  /** Direct descriptors from 0 on, the first made available. */
  function faultOf(descriptors: readonly RawDescriptor[], features = ALL_FEATURES): QueueFault | undefined {
    using all = create(8, features);
    descriptors.forEach((descriptor, index) => {
      all.driver.writeDescriptor(index, descriptor);
    });
    all.driver.makeAvailable(0);
    assert.equal(all.queue.pop(all.chain), all.queue.fault === undefined);
    assert.equal(all.queue.pop(all.chain), false, 'a fault stays');
    assert.equal(all.queue.nextAvailable, all.queue.fault === undefined ? 1 : 0, 'a chain with a fault is not taken');
    return all.queue.fault;
  }

  /** The same in an indirect table of as many descriptors. */
  function indirectFaultOf(descriptors: readonly RawDescriptor[]): QueueFault | undefined {
    using all = create(8, ALL_FEATURES);
    const table = all.driver.allocate(descriptors.length * 16);
    descriptors.forEach((descriptor, index) => {
      all.driver.writeDescriptorAt(table + index * 16, descriptor);
    });
    all.driver.writeDescriptor(0, { address: table, length: descriptors.length * 16, flags: INDIRECT });
    all.driver.makeAvailable(0);
    assert.equal(all.queue.pop(all.chain), all.queue.fault === undefined);
    return all.queue.fault;
  }

  const good = { address: 0x4000, length: 16 };
  const both = [faultOf, indirectFaultOf];

  test('loops', () => {
    for (const of of both) {
      assert.equal(of([{ ...good, flags: NEXT, next: 0 }]), 'CHAIN_TOO_LONG');
      const pair = [
        { ...good, flags: NEXT, next: 1 },
        { ...good, flags: NEXT, next: 0 },
      ];
      assert.equal(of(pair), 'CHAIN_TOO_LONG');
    }
  });

  test('leaves the table', () => {
    for (const of of both) {
      for (const next of [8, 0xffff]) assert.equal(of([{ ...good, flags: NEXT, next }]), 'NEXT_OUT_OF_RANGE');
    }
  });

  test('has buffers of no bytes, or of too many', () => {
    for (const of of both) {
      assert.equal(of([{ address: 0x4000, length: 0 }]), 'EMPTY_BUFFER');
      assert.equal(of([{ address: 0x4000, length: 0xffff_ffff }]), 'BUFFER_OUTSIDE_MEMORY');
    }
  });

  test('has buffers that are not in RAM, or wrap around', () => {
    const addresses = [HOLE.start, HOLE.start - 8, HOLE.end - 8, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 8n];
    for (const of of both) {
      for (const address of addresses) assert.equal(of([{ address, length: 16 }]), 'BUFFER_OUTSIDE_MEMORY');
      assert.equal(of([{ address: HOLE.start - 16, length: 16 }]), undefined);
    }
  });

  test('has 4 GiB in one chain', () => {
    using memory = createMemory(2 ** 23);
    const driver = new MockQueue(memory, { size: 8 });
    const queue = new Queue(memory, driver.config(), ALL_FEATURES);
    const table = driver.allocate(513 * 16);
    for (let index = 0; index < 513; index++) {
      const flags = index === 511 ? 0 : NEXT;
      driver.writeDescriptorAt(table + index * 16, { address: HOLE.end, length: 2 ** 23, flags, next: index + 1 });
    }
    driver.writeDescriptorAt(table, { address: HOLE.end, length: 2 ** 23 - 1, flags: NEXT, next: 1 });
    driver.writeDescriptor(0, { address: table, length: 513 * 16, flags: INDIRECT });
    driver.makeAvailable(0);
    const chain = queue.createChain();
    assert.ok(queue.pop(chain));
    assert.equal(chain.readableBytes, 2 ** 32 - 1);
    driver.writeDescriptorAt(table, { address: HOLE.end, length: 2 ** 23, flags: NEXT, next: 1 });
    driver.makeAvailable(0);
    assert.deepEqual([queue.pop(chain), queue.fault], [false, 'TOO_MANY_BYTES']);
  });

  test('puts a readable buffer after a writable one', () => {
    const wrong = [{ ...good, flags: WRITE | NEXT, next: 1 }, good];
    for (const of of both) assert.equal(of(wrong), 'READABLE_AFTER_WRITABLE');
  });

  test('uses flags that do not exist', () => {
    for (const of of both) {
      for (const flags of [8, 0x80, 0x8000]) assert.equal(of([{ ...good, flags }]), 'UNKNOWN_FLAGS');
    }
    assert.equal(faultOf([{ ...good, flags: INDIRECT | 0x80 }]), 'UNKNOWN_FLAGS');
  });

  test('misuses indirect tables', () => {
    const table = { address: 0x4000, length: 16, flags: INDIRECT };
    assert.equal(faultOf([table], Feature.RING_EVENT_IDX), 'INDIRECT_NOT_NEGOTIATED');
    assert.equal(faultOf([{ ...table, flags: INDIRECT | NEXT, next: 1 }, good]), 'INDIRECT_CONTINUED');
    assert.equal(indirectFaultOf([table]), 'INDIRECT_NESTED');
    for (const length of [0, 8, 17]) assert.equal(faultOf([{ ...table, length }]), 'INDIRECT_BAD_LENGTH');
    for (const length of [0xffff_fff0, 0xd000]) {
      assert.equal(faultOf([{ ...table, length }]), 'BUFFER_OUTSIDE_MEMORY');
    }
    assert.equal(faultOf([{ ...table, address: 2n ** 64n - 16n }]), 'BUFFER_OUTSIDE_MEMORY');
  });

  test('makes more available than there is, or a head that does not exist', () => {
    using all = create();
    all.driver.publish(9);
    assert.deepEqual([all.queue.pop(all.chain), all.queue.fault], [false, 'TOO_MANY_AVAILABLE']);
    for (const head of [8, 0xffff]) {
      using other = create();
      other.driver.makeAvailable(head);
      assert.deepEqual([other.queue.pop(other.chain), other.queue.fault], [false, 'HEAD_OUT_OF_RANGE']);
    }
  });

  test('any descriptors: a chain that is popped lies in RAM, readable before writable, and counts right', () => {
    const descriptor = fc.record({
      address: fc.oneof(fc.integer({ min: 0, max: HOLE.start }), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
      length: fc.oneof(fc.integer({ min: 0, max: 0x2000 }), fc.integer({ min: 0, max: 0xffff_ffff })),
      flags: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffff })),
      next: fc.oneof(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 0, max: 0xffff })),
    });
    const property = fc.property(fc.array(descriptor, { minLength: 8, maxLength: 8 }), (descriptors) => {
      using all = create(8, ALL_FEATURES);
      descriptors.forEach((each, index) => {
        all.driver.writeDescriptor(index, each);
      });
      for (let head = 0; head < 8; head++) all.driver.makeAvailable(head);
      while (all.queue.pop(all.chain)) {
        const { count, readableCount, readableBytes, writableBytes, offsets, sizes } = all.chain;
        let total = 0;
        for (let index = 0; index < count; index++) {
          assert.ok((sizes[index] as number) > 0);
          assert.ok((offsets[index] as number) + (sizes[index] as number) <= all.memory.sizeBytes);
          total += sizes[index] as number;
        }
        assert.ok(count > 0 && readableCount <= count);
        assert.equal(total, readableBytes + writableBytes);
      }
    });
    fc.assert(property, { numRuns: 300 });
  });
});

describe('telling the driver', () => {
  test('once for what was given back, unless it set NO_INTERRUPT', () => {
    using all = create();
    assert.equal(all.queue.needsInterrupt(), false);
    all.queue.addUsed(0, 0);
    all.queue.addUsed(1, 0);
    assert.deepEqual([all.queue.needsInterrupt(), all.queue.needsInterrupt()], [true, false]);
    all.driver.availableFlags = 1;
    all.queue.addUsed(0, 0);
    assert.equal(all.queue.needsInterrupt(), false);
  });

  test('with EVENT_IDX, when the index passes used_event, the flag notwithstanding', () => {
    using all = create(8, ALL_FEATURES);
    all.driver.availableFlags = 1;
    all.driver.usedEvent = 2;
    const told = Array.from({ length: 5 }, () => {
      all.queue.addUsed(0, 0);
      return all.queue.needsInterrupt();
    });
    assert.deepEqual(told, [false, false, true, false, false]);
  });

  test('with EVENT_IDX, the comparison holds at every position of the wrapping index', () => {
    using all = create(8, ALL_FEATURES);
    for (let index = 0; index < 0x1_0100; index++) {
      all.driver.usedEvent = index & 0xffff;
      all.queue.addUsed(0, 0);
      if (!all.queue.needsInterrupt()) assert.fail(`index ${index}`);
      all.driver.usedEvent = (index + 5) & 0xffff;
      if (all.queue.needsInterrupt()) assert.fail(`again at index ${index}`);
    }
  });

  test('with EVENT_IDX, 65536 chains in one go are not mistaken for none', () => {
    using all = create(8, ALL_FEATURES);
    for (let index = 0; index < 0x1_0000; index++) all.queue.addUsed(0, 0);
    assert.equal(all.queue.needsInterrupt(), true);
  });

  test('with EVENT_IDX, a driver that runs dry is asked for a kick at the next chain', () => {
    using all = create(8, ALL_FEATURES);
    for (let round = 1; round <= 3; round++) {
      all.driver.add(text('x'));
      assert.ok(all.queue.pop(all.chain));
      assert.equal(all.driver.availableEvent, round - 1, 'no kick is asked for while there is work');
      assert.equal(all.queue.pop(all.chain), false);
      assert.equal(all.driver.availableEvent, round);
    }
  });
});

test('a chain that is added while the driver is asked for a kick is not missed', () => {
  using all = create();
  const { memory, driver } = all;
  // The driver adds its chain right after the event field was written, and saw the old one.
  const slice = (address: number, sizeBytes: number) => {
    const ring = memory.slice(address, sizeBytes);
    if (address !== driver.usedRing) return ring;
    const storeU16 = (offset: number, value: number) => {
      driver.add(text('x'));
      ring.storeU16(offset, value);
    };
    return { storeU16 };
  };
  const racing = { whole: memory.whole, offsetOf: memory.offsetOf.bind(memory), slice } as unknown as GuestMemory;
  const queue = new Queue(racing, driver.config(), ALL_FEATURES);
  assert.equal(queue.pop(queue.createChain()), true);
});

describe('readers and writers', () => {
  test('copy across buffers, and say how much there was', () => {
    using all = create();
    all.driver.add(text('ab'), text('c'.repeat(100)), text('de'));
    assert.ok(all.queue.pop(all.chain));
    const reader = new ChainReader(all.memory.whole);
    reader.begin(all.chain);
    const first = new Uint8Array(3);
    assert.deepEqual([reader.read(first), Buffer.from(first).toString()], [3, 'abc']);
    assert.deepEqual([reader.skip(98), reader.remaining], [98, 3]);
    const rest = new Uint8Array(10);
    assert.deepEqual([reader.read(rest), Buffer.from(rest.subarray(0, 3)).toString()], [3, 'cde']);
    assert.deepEqual([reader.read(rest), reader.skip(1)], [0, 0]);
  });

  test('write into the writable buffers alone', () => {
    using all = create();
    const { addresses } = all.driver.add(text('keep'), { writableBytes: 3 }, { writableBytes: 100 });
    assert.ok(all.queue.pop(all.chain));
    const writer = new ChainWriter(all.memory.whole);
    writer.begin(all.chain);
    assert.equal(writer.write(new Uint8Array(200).fill(7)), 103);
    assert.equal(writer.remaining, 0);
    assert.equal(Buffer.from(all.driver.bytes(addresses[0] as number, 4)).toString(), 'keep');
    assert.ok(all.driver.bytes(addresses[1] as number, 103).every((byte) => byte === 7));
    writer.begin(all.chain, 102);
    assert.equal(writer.write(Uint8Array.of(1, 2)), 1);
    assert.deepEqual([...all.driver.bytes((addresses[2] as number) + 98, 2)], [7, 1]);
  });

  test('any split into buffers and pieces gives the bytes in order', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 8 });
    const property = fc.property(sizes, sizes, (buffers, pieces) => {
      using all = create();
      let next = 0;
      all.driver.add(...buffers.map((size) => ({ readable: Uint8Array.from({ length: size }, () => next++) })));
      assert.ok(all.queue.pop(all.chain));
      const reader = new ChainReader(all.memory.whole);
      reader.begin(all.chain);
      let expected = 0;
      for (const size of pieces) {
        const piece = new Uint8Array(size);
        const count = reader.read(piece);
        for (const byte of piece.subarray(0, count)) assert.equal(byte, expected++ & 0xff);
      }
      assert.equal(reader.remaining, next - expected);
    });
    fc.assert(property, { numRuns: 200 });
  });
});
