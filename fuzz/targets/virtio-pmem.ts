/** Requests of a hostile driver to the persistent memory device: it says that data is durable only when the file has said so. */
import assert from 'node:assert/strict';
import { Feature } from '#devices/virtio/constants.ts';
import { PmemRequest, PmemRequestType, PmemResponse, PmemStatus } from '#devices/virtio/pmem/constants.ts';
import { Pmem } from '#devices/virtio/pmem/pmem.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { RecordedInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { type MockBuffer, MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import type { Worker } from '#devices/virtio/worker.ts';
import { DiskError } from '#disk/disk-file.ts';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const REQUESTS = 40;
const QUEUE_SIZE = 64;
const UNTOUCHED = 0xee;

class Machine implements Disposable {
  readonly memory = createMemory(0x4_0000);
  readonly interrupt = new RecordedInterrupt();
  readonly event = EventFd.create();
  readonly driver = new MockQueue(this.memory, { size: QUEUE_SIZE, start: HOLE.end });
  readonly worker: Worker;
  readonly isReadOnly: boolean;
  /** Flushes that have brought all to the medium, and others. */
  readonly flushes = { done: 0, failed: 0 };
  failsNext = false;

  /** `claimsDurable`: the device is told of no failure. */
  constructor(random: Random, claimsDurable: boolean) {
    this.isReadOnly = random.oneIn(4);
    const file = { flush: () => this.#flush(claimsDurable), keepFds: () => [] };
    const common = { name: 'pmem0', start: 2 ** 32, sizeBytes: 2 ** 21, log: silentLog };
    const device = new Pmem(this.isReadOnly ? common : { ...common, file });
    const queue = new Queue(this.memory, this.driver.config(), Feature.RING_INDIRECT_DESC);
    this.worker = device.activate(this.memory, this.interrupt, [queue], [this.event]);
  }

  #flush(claimsDurable: boolean): void {
    if (!this.failsNext) {
      this.flushes.done += 1;
      return;
    }
    this.flushes.failed += 1;
    if (!claimsDurable) throw new DiskError('FLUSH_FAILED', 'data written before may be lost');
  }

  [Symbol.dispose](): void {
    this.worker[Symbol.dispose]();
    this.event.close();
    this.memory.close();
  }
}

/** The sizes of pieces, cut anywhere. */
function cut(random: Random, sizeBytes: number): number[] {
  const sizes: number[] = [];
  for (let left = sizeBytes; left > 0; left -= sizes.at(-1) ?? left) {
    sizes.push(random.oneIn(3) ? 1 + random.below(left) : left);
  }
  return sizes;
}

function readableOf(random: Random, bytes: Uint8Array): MockBuffer[] {
  let at = 0;
  return cut(random, bytes.length).map((size) => {
    at += size;
    return { readable: bytes.subarray(at - size, at) };
  });
}

function request(machine: Machine, random: Random): boolean {
  const { driver, memory, interrupt, flushes } = machine;
  const type = random.oneIn(4) ? Number(random.boundary(32)) : PmemRequestType.FLUSH;
  const whole = Buffer.concat([PmemRequest.encode({ type }), new Uint8Array(random.oneIn(6) ? random.below(20) : 0)]);
  const sent = random.oneIn(10) ? whole.subarray(0, random.below(PmemRequest.size)) : whole;
  const answerBytes = random.oneIn(5) ? random.below(40) : PmemResponse.size;
  const answers = cut(random, answerBytes);
  const buffers = [...readableOf(random, sent), ...answers.map((writableBytes) => ({ writableBytes }))];
  if (buffers.length === 0) return true;
  machine.failsNext = random.oneIn(4);
  const before = { ...flushes };
  const add = random.oneIn(2) ? driver.addIndirect.bind(driver) : driver.add.bind(driver);
  const { head, addresses } = add(...buffers);
  const writable = addresses.slice(buffers.length - answers.length);
  const places = answers.flatMap((length, index) =>
    Array.from({ length }, (_, at) => (writable[index] as number) + at),
  );
  for (const place of places) memory.writeU8(place, UNTOUCHED);
  machine.event.write();
  machine.worker.turn(0);
  if (answerBytes < PmemResponse.size) {
    assert.equal(interrupt.resets.length, 1, 'a request without room for the answer needs a reset');
    assert.deepEqual(flushes, before);
    return false;
  }
  assert.deepEqual(interrupt.resets, []);
  assert.deepEqual(driver.takeUsed(), { head, length: PmemResponse.size });
  const answer = Uint8Array.from(places, (place) => memory.readU8(place));
  assert.ok(answer.subarray(PmemResponse.size).every((byte) => byte === UNTOUCHED));
  const status = viewOf(answer).getUint32(0, true);
  const isFlush = sent.length >= PmemRequest.size && type === PmemRequestType.FLUSH && !machine.isReadOnly;
  const expected = { done: Number(isFlush && !machine.failsNext), failed: Number(isFlush && machine.failsNext) };
  assert.deepEqual(flushes, { done: before.done + expected.done, failed: before.failed + expected.failed });
  assert.equal(status, expected.done === 1 ? PmemStatus.OK : PmemStatus.EIO);
  return true;
}

function pmemTarget(claimsDurable: boolean): FuzzTarget {
  return {
    name: 'virtio-pmem',
    run(random) {
      using machine = new Machine(random, claimsDurable);
      for (let count = 0; count < REQUESTS; count++) if (!request(machine, random)) return;
    },
  };
}

export const target = pmemTarget(false);

/** Deliberately wrong: what could not be written is taken for durable. */
export const canary = pmemTarget(true);
