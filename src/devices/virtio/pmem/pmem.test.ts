import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DiskError } from '#disk/disk-file.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { Queue } from '../queue/queue.ts';
import { RecordedInterrupt, silentLog } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { type MockBuffer, MockQueue } from '../testing/mock-queue.ts';
import { PmemRequest, PmemRequestType } from './constants.ts';
import { pmem } from './pmem.ts';

const START = 0x1_0800_0000;
const SIZE_BYTES = 0x40_0000;
const OK = [0, 0, 0, 0];
const EIO = [1, 0, 0, 0];

/** A device whose file does `flush`; undefined: one that is only read. */
function create(flush: (() => void) | undefined) {
  const memory = createMemory();
  const errors: string[] = [];
  const log = { ...silentLog, error: (message: string) => void errors.push(message) };
  const file = flush === undefined ? {} : { file: { flush, keepFds: () => [77] } };
  const device = pmem.create({ name: 'pmem0', start: START, sizeBytes: SIZE_BYTES, log, ...file });
  const driver = new MockQueue(memory, { size: 8, start: 0x10_0000 });
  const interrupt = new RecordedInterrupt();
  const event = EventFd.create();
  const worker = device.activate(memory, interrupt, [new Queue(memory, driver.config({ vector: 5 }), 0n)], [event]);
  /** What the device answers; undefined when it gives nothing back. */
  const ask = (...buffers: MockBuffer[]): number[] | undefined => {
    const { addresses } = driver.add(...buffers);
    event.write();
    worker.turn(0);
    const used = driver.takeUsed();
    return used && [...driver.bytes(addresses.at(-1) as number, used.length)];
  };
  const dispose = () => {
    worker[Symbol.dispose]();
    event.close();
    memory.close();
  };
  return { device, interrupt, errors, ask, [Symbol.dispose]: dispose };
}

const request = (type: number): MockBuffer => ({ readable: PmemRequest.encode({ type }) });
const FLUSH = request(PmemRequestType.FLUSH);
const ANSWER: MockBuffer = { writableBytes: 4 };

describe('the persistent memory device', () => {
  test('is what the specification and the policies call it', () => {
    using all = create(() => {});
    assert.deepEqual([pmem.type, all.device.deviceType, pmem.policy], [27, 27, 'pmem_device']);
    assert.deepEqual([pmem.queueSizes, all.device.queueMaxSizes], [[256], [256]]);
    assert.deepEqual([all.device.features(), all.device.keepFds(), all.device.name], [0n, [77], 'pmem0']);
  });

  test('says where the memory is, and nothing beyond', () => {
    using all = create(() => {});
    const data = new Uint8Array(24);
    all.device.readConfig(0, data);
    assert.equal(data.toHex(), '0000000801000000' + '0000400000000000' + '0000000000000000');
    all.device.writeConfig(0, new Uint8Array(8));
    const again = new Uint8Array(4);
    all.device.readConfig(4, again);
    assert.equal(again.toHex(), '01000000');
    all.device.readConfig(16, again.fill(0));
    assert.equal(again.toHex(), '00000000');
  });

  test('a flush is the file’s, one for each request', () => {
    let flushes = 0;
    using all = create(() => void flushes++);
    assert.deepEqual([all.ask(FLUSH, ANSWER), all.ask(FLUSH, { writableBytes: 64 }), flushes], [OK, OK, 2]);
    assert.deepEqual(all.interrupt.vectors, [5, 5]);
  });

  for (const [what, error] of [
    ['what was written may be lost', new DiskError('FLUSH_FAILED', 'data written before may be lost')],
    ['the host refuses', new SyscallError('fdatasync', Errno.EINVAL)],
  ] as const) {
    test(`a flush fails where ${what}, and the user is told`, () => {
      using all = create(() => {
        throw error;
      });
      assert.deepEqual(all.ask(FLUSH, ANSWER), EIO);
      assert.deepEqual(all.errors, [`a flush failed: ${error.message}`]);
    });
  }

  test('memory that cannot be written cannot be flushed: what the guest wrote was dropped', () => {
    using all = create(undefined);
    assert.deepEqual([all.ask(FLUSH, ANSWER), all.device.keepFds()], [EIO, []]);
  });

  test('requests that are not known or too short fail without a flush', () => {
    using all = create(() => assert.fail('a flush'));
    assert.deepEqual(all.ask(request(1), ANSWER), EIO);
    assert.deepEqual(all.ask(request(0xffff_ffff), ANSWER), EIO);
    assert.deepEqual(all.ask({ readable: new Uint8Array(3) }, ANSWER), EIO);
    assert.deepEqual(all.ask(ANSWER), EIO);
    assert.deepEqual(all.interrupt.resets, []);
  });

  test('a request without room for the answer stops the queue without a flush', () => {
    using all = create(() => assert.fail('a flush'));
    assert.equal(all.ask(FLUSH, { writableBytes: 3 }), undefined);
    assert.match(all.interrupt.resets[0] ?? '', /^NO_ROOM_FOR_ANSWER: /);
  });

  test('without its queue it does nothing', () => {
    using all = create(() => assert.fail('a flush'));
    using event = EventFd.create(1);
    using memory = createMemory();
    using worker = all.device.activate(memory, all.interrupt, [undefined], [event]);
    worker.turn(0);
  });
});
