import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { DiskError } from '#disk/disk-file.ts';
import { EventFd } from '#poll/event-fd.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { MiB } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { Queue } from '../queue/queue.ts';
import { DescriptorFlag } from '../queue/ring-layout.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { type MockBuffer, MockQueue } from '../testing/mock-queue.ts';
import { type BlockResources, block } from './block.ts';
import { BlockConfig, BlockFeature, RequestHeader, RequestStatus, RequestType, Segment } from './constants.ts';

const { OK, IOERR, UNSUPP } = RequestStatus;
const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = RequestType;
const SECTORS = 64;

interface Options extends Partial<Omit<BlockResources, 'disk' | 'log'>> {
  readonly readOnly?: boolean;
  /** All that are offered by default. */
  readonly acked?: bigint;
  readonly ramBytes?: number;
}

function create({ readOnly = false, acked, ramBytes, ...resources }: Options = {}) {
  const memory = createMemory(ramBytes);
  const disk = new MemoryDisk(SECTORS * 512, readOnly);
  disk.content.forEach((_, index, content) => {
    content[index] = index >> 9;
  });
  const device = block.create({ disk, log: silentLog, ...resources });
  device.ackFeatures(acked ?? device.features());
  const interrupt = new RecordedInterrupt();
  const drivers = device.queueMaxSizes.map((_, index) => {
    const start = 0x10_0000 + index * 0x4_0000;
    return new MockQueue(memory, { size: 16, start, end: start + 0x4_0000 });
  });
  const events = drivers.map(() => EventFd.create());
  const queues = drivers.map((driver, index) => new Queue(memory, driver.config({ vector: index }), 0n));
  const worker = device.activate(memory, interrupt, queues, events);
  const kick = (index = 0) => {
    events[index]?.write();
    worker.turn(0);
  };
  const driver = drivers[0] as MockQueue;
  /** Status, used length and the bytes of the writable buffers but the status. */
  const request = (...buffers: readonly MockBuffer[]) => {
    const chain = driver.add(...buffers, { writableBytes: 1 });
    const statusAddress = chain.addresses.at(-1) as number;
    memory.writeU8(statusAddress, 0xee);
    kick();
    const used = driver.takeUsed();
    assert.equal(used?.head, chain.head);
    const at = buffers.findIndex((buffer) => 'writableBytes' in buffer);
    const sizes = buffers.map((buffer) => ('writableBytes' in buffer ? buffer.writableBytes : 0));
    const size = sizes.reduce((sum, each) => sum + each, 0);
    const data = at < 0 ? new Uint8Array() : driver.bytes(chain.addresses[at] as number, size);
    return { status: memory.readU8(statusAddress), length: used.length, data };
  };
  const dispose = () => {
    worker[Symbol.dispose]();
    for (const event of events) event.close();
    memory.close();
  };
  return { memory, disk, device, driver, drivers, interrupt, worker, kick, request, [Symbol.dispose]: dispose };
}

const header = (type: number, sector: number | bigint = 0): MockBuffer => {
  const readable = RequestHeader.encode({ type });
  viewOf(readable).setBigUint64(8, BigInt(sector), true);
  return { readable };
};

const segment = (sector: number | bigint, numSectors: number, flags = 0): MockBuffer => {
  const readable = Segment.encode({ numSectors, flags });
  viewOf(readable).setBigUint64(0, BigInt(sector), true);
  return { readable };
};

const BAD_SECTORS = [SECTORS, SECTORS + 1, 2 ** 32, 2n ** 55n, 2n ** 63n, 2n ** 64n - 1n];

describe('what the block device offers', () => {
  test('features follow from the image', () => {
    const { SEG_MAX, RO, BLK_SIZE, FLUSH: FLUSHES, MQ, DISCARD: DISCARDS, WRITE_ZEROES: ZEROES } = BlockFeature;
    using writable = create();
    assert.equal(writable.device.features(), SEG_MAX | BLK_SIZE | FLUSHES | DISCARDS | ZEROES);
    using dense = create({ sparse: false, queueCount: 2 });
    assert.equal(dense.device.features(), SEG_MAX | BLK_SIZE | FLUSHES | ZEROES | MQ);
    using readOnly = create({ readOnly: true });
    assert.equal(readOnly.device.features(), SEG_MAX | BLK_SIZE | RO);
  });

  test('the configuration has the offsets of the specification, and reads as zeros behind its end', () => {
    const { fields, size } = BlockConfig;
    assert.deepEqual(
      [fields.segMax.offset, fields.blkSize.offset, fields.numQueues.offset, fields.maxDiscardSectors.offset, size],
      [12, 20, 34, 36, 64],
    );
    using all = create({ queueCount: 3, blockSizeBytes: 4096 });
    const image = new Uint8Array(0x100);
    all.device.readConfig(0, image);
    const config = BlockConfig.decode(viewOf(image));
    assert.deepEqual(
      [config.capacity, config.segMax, config.blkSize, config.numQueues, config.maxDiscardSeg],
      [SECTORS, 254, 4096, 3, 32],
    );
    assert.ok(image.subarray(60).every((byte) => byte === 0));
    const data = new Uint8Array(4);
    all.device.readConfig(12, data);
    assert.deepEqual([...data], [254, 0, 0, 0]);
    all.device.readConfig(0x1000, data.fill(0));
    all.device.writeConfig(0, data);
    assert.deepEqual([...data], [0, 0, 0, 0]);
  });

  test('a new length changes generation and capacity, and interrupts an active device', () => {
    using all = create();
    all.device.resize(513);
    const data = new Uint8Array(8);
    all.device.readConfig(0, data);
    assert.deepEqual([data[0], all.device.configGeneration, all.interrupt.configChanges], [1, 1, 1]);
    assert.equal(all.request(header(IN, 1), { writableBytes: 512 }).status, IOERR);
    all.device.reset();
    all.device.resize(513);
    assert.deepEqual([all.device.configGeneration, all.interrupt.configChanges], [2, 1]);
  });
});

describe('reading and writing', () => {
  test('IN fills its buffers from the sector on', () => {
    using all = create();
    const { status, length, data } = all.request(header(IN, 5), { writableBytes: 700 }, { writableBytes: 324 });
    assert.deepEqual([status, length], [OK, 1025]);
    assert.ok(data.every((byte, at) => byte === 5 + (at >> 9)));
    assert.deepEqual(all.interrupt.vectors, [0]);
  });

  test('OUT writes its buffers', () => {
    using all = create();
    const buffer = { readable: new Uint8Array(512).fill(0xab) };
    assert.deepEqual(all.request(header(OUT, 63), buffer), { status: OK, length: 1, data: new Uint8Array() });
    assert.ok(all.disk.content.subarray(63 * 512).every((byte) => byte === 0xab));
    assert.equal(all.disk.content[63 * 512 - 1], 62);
  });

  test('header, data and status may be cut anywhere', () => {
    using all = create();
    const { readable } = header(IN, 7) as { readable: Uint8Array };
    const cut = [{ readable: readable.subarray(0, 3) }, { readable: readable.subarray(3) }];
    // The status is the last byte of the last buffer, here together with data.
    const chain = all.driver.add(...cut, { writableBytes: 100 }, { writableBytes: 413 });
    all.kick();
    assert.deepEqual(all.driver.takeUsed(), { head: chain.head, length: 513 });
    const last = all.driver.bytes(chain.addresses[3] as number, 413);
    assert.deepEqual([last[0], last[411], last[412]], [7, 7, OK]);
  });

  test('a request of the wrong size, or that leaves the disk, fails and touches nothing', () => {
    using all = create();
    for (const sector of BAD_SECTORS) {
      assert.equal(all.request(header(IN, sector), { writableBytes: 512 }).status, IOERR);
      assert.equal(all.request(header(OUT, sector), { readable: new Uint8Array(512) }).status, IOERR);
    }
    assert.equal(all.request(header(IN, 63), { writableBytes: 1024 }).status, IOERR);
    assert.equal(all.request(header(IN, 0), { writableBytes: 511 }).status, IOERR);
    assert.equal(all.request(header(OUT, 0), { readable: new Uint8Array(513) }).status, IOERR);
    assert.deepEqual(all.disk.calls, []);
  });

  test('a request of more than 256 MiB fails, and the disk is not asked', () => {
    using all = create({ ramBytes: 96 * MiB });
    all.disk.lengthBytes = 2 ** 40;
    const { NEXT, WRITE } = DescriptorFlag;
    const [headerAt, statusAt, dataAt] = [0x1000, 0x2000, 16 * MiB];
    const ask = (type: number, flags: number, lastBytes: number): void => {
      all.memory.writeBytes(headerAt, RequestHeader.encode({ type }));
      all.driver.writeDescriptor(0, { address: headerAt, length: RequestHeader.size, flags: NEXT, next: 1 });
      for (const [index, length] of [64 * MiB, 64 * MiB, 64 * MiB, lastBytes].entries())
        all.driver.writeDescriptor(index + 1, { address: dataAt, length, flags: flags | NEXT, next: index + 2 });
      all.driver.writeDescriptor(5, { address: statusAt, length: 1, flags: WRITE });
      all.driver.makeAvailable(0);
      all.kick();
      assert.equal(all.memory.readU8(statusAt), IOERR);
    };
    for (const lastBytes of [64 * MiB, 64 * MiB + 512]) {
      ask(IN, WRITE, lastBytes);
      ask(OUT, 0, lastBytes);
    }
    assert.deepEqual(all.disk.calls, ['read 0 268435456', 'write 0 268435456']);
  });

  test('a read that failed counts no data', () => {
    using all = create();
    assert.equal(all.request(header(IN, 0), { writableBytes: 512 }).length, 513);
    all.disk.failure = new DiskError('SHORT', 'test');
    const { status, length } = all.request(header(IN, 0), { writableBytes: 512 });
    assert.deepEqual([status, length], [IOERR, 1]);
    all.disk.failure = new SyscallError('pwritev', 28);
    assert.equal(all.request(header(OUT, 0), { readable: new Uint8Array(512) }).status, IOERR);
    all.disk.failure = undefined;
    assert.equal(all.request(header(IN, 0), { writableBytes: 512 }).status, OK);
  });

  test('an image that is only read refuses changes', () => {
    using all = create({ readOnly: true });
    assert.equal(all.request(header(OUT, 0), { readable: new Uint8Array(512) }).status, IOERR);
    assert.equal(all.request(header(FLUSH)).status, OK);
    assert.equal(all.request(header(DISCARD), segment(0, 1)).status, UNSUPP);
    assert.deepEqual(all.disk.calls, []);
  });

  test('each queue is served by its own', () => {
    using all = create({ queueCount: 2 });
    const second = all.drivers[1] as MockQueue;
    const { addresses } = second.add(header(IN, 9), { writableBytes: 512 }, { writableBytes: 1 });
    all.kick(1);
    assert.equal(second.takeUsed()?.length, 513);
    assert.equal(all.memory.readU8(addresses[1] as number), 9);
    assert.deepEqual([all.driver.takeUsed(), all.interrupt.vectors], [undefined, [1]]);
  });
});

describe('the end of the machine', () => {
  test('closes the image, and an image that cannot be written any more ends nothing else', () => {
    using all = create();
    all.disk.failure = new DiskError('FLUSH_FAILED', 'test');
    all.device.close();
    assert.deepEqual(all.disk.calls, ['close']);
  });
});

describe('other requests', () => {
  test('FLUSH flushes, and says when it could not', () => {
    using all = create();
    assert.equal(all.request(header(FLUSH)).status, OK);
    all.disk.failure = new DiskError('FLUSH_FAILED', 'test');
    assert.equal(all.request(header(FLUSH)).status, IOERR);
    assert.deepEqual(all.disk.calls, ['flush 0 0', 'flush 0 0']);
  });

  test('without FLUSH every write is durable when it is complete', () => {
    using all = create({ acked: 0n });
    assert.equal(all.request(header(OUT, 1), { readable: new Uint8Array(512) }).status, OK);
    assert.deepEqual(all.disk.calls, ['write 512 512', 'flush 0 0']);
    using zeroing = create({ acked: BlockFeature.WRITE_ZEROES });
    assert.equal(zeroing.request(header(WRITE_ZEROES), segment(1, 1)).status, OK);
    assert.deepEqual(zeroing.disk.calls, ['zero 512 512', 'flush 0 0']);
  });

  test('GET_ID gives up to 20 bytes', () => {
    using all = create({ id: 'disk-1' });
    const { status, length, data } = all.request(header(GET_ID), { writableBytes: 20 });
    assert.deepEqual([status, length, Buffer.from(data).toString()], [OK, 21, `disk-1${'\0'.repeat(14)}`]);
    assert.deepEqual(all.request(header(GET_ID), { writableBytes: 4 }).length, 5);
    assert.deepEqual(all.request(header(GET_ID), { writableBytes: 30 }).length, 1);
  });

  test('DISCARD and WRITE_ZEROES carry out their segments', () => {
    using all = create();
    assert.equal(all.request(header(DISCARD), segment(1, 2), segment(60, 4), segment(3, 0)).status, OK);
    assert.equal(all.request(header(WRITE_ZEROES), segment(8, 8), segment(0, 1, 1)).status, OK);
    assert.deepEqual(all.disk.calls, ['discard 512 1024', 'discard 30720 2048', 'zero 4096 4096', 'zero+unmap 0 512']);
  });

  test('zeros keep the space of an image that has no holes', () => {
    using all = create({ sparse: false });
    assert.equal(all.request(header(WRITE_ZEROES), segment(0, 1, 1)).status, OK);
    assert.deepEqual(all.disk.calls, ['zero 0 512']);
    assert.equal(all.request(header(DISCARD), segment(0, 1)).status, UNSUPP);
  });

  test('segments that are wrong fail before any is carried out', () => {
    using all = create();
    for (const type of [DISCARD, WRITE_ZEROES]) {
      for (const sector of BAD_SECTORS) {
        assert.equal(all.request(header(type), segment(0, 1), segment(sector, 1)).status, IOERR);
      }
      assert.equal(all.request(header(type), segment(63, 2)).status, IOERR);
      assert.equal(all.request(header(type), segment(0, 0xffff_ffff)).status, IOERR);
      assert.equal(all.request(header(type), segment(0, 1), segment(0, 1, 2)).status, UNSUPP);
      assert.equal(all.request(header(type)).status, IOERR);
      assert.equal(all.request(header(type), { readable: new Uint8Array(17) }).status, IOERR);
      assert.equal(all.request(header(type), { readable: new Uint8Array(33 * 16) }).status, IOERR);
    }
    assert.equal(all.request(header(DISCARD), segment(0, 1, 1)).status, UNSUPP);
    assert.deepEqual(all.disk.calls, []);
  });

  test('types that do not exist are unsupported', () => {
    using all = create();
    for (const type of [2, 3, 5, 12, 0xffff_ffff]) assert.equal(all.request(header(type)).status, UNSUPP);
  });

  test('a header that ends early fails', () => {
    using all = create();
    assert.equal(all.request({ readable: new Uint8Array(15) }).status, IOERR);
    assert.equal(all.request().status, IOERR);
  });

  test('a request without room for a status stops the queue', () => {
    using all = create();
    all.driver.add(header(FLUSH));
    all.kick();
    assert.equal(all.driver.takeUsed(), undefined);
    assert.match(all.interrupt.resets[0] ?? '', /^NO_ROOM_FOR_ANSWER/);
  });
});

test('any requests: each gets a status, and the disk is what a plain array would be', () => {
  const write = fc.record({ sector: fc.nat(SECTORS + 2), count: fc.nat(6), byte: fc.nat(255) });
  const property = fc.property(fc.array(write, { maxLength: 30 }), (writes) => {
    using all = create();
    const expected = all.disk.content.slice();
    for (const { sector, count, byte } of writes) {
      const readable = new Uint8Array(count * 512).fill(byte);
      const fits = sector + count <= SECTORS;
      const data = count > 0 ? [{ readable }] : [];
      assert.equal(all.request(header(OUT, sector), ...data).status, fits ? OK : IOERR);
      if (fits) expected.set(readable, sector * 512);
    }
    assert.deepEqual(all.disk.content, expected);
  });
  fc.assert(property, { numRuns: 50 });
});
