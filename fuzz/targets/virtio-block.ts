/** Requests of a hostile driver to the block device, compared with what a plain array of bytes would become. */
import assert from 'node:assert/strict';
import { Block } from '#devices/virtio/block/block.ts';
import { RequestHeader, RequestStatus, RequestType, Segment } from '#devices/virtio/block/constants.ts';
import { Feature } from '#devices/virtio/constants.ts';
import { Queue } from '#devices/virtio/queue/queue.ts';
import { RecordedInterrupt, silentLog } from '#devices/virtio/testing/fakes.ts';
import { createMemory, HOLE } from '#devices/virtio/testing/memory.ts';
import { MemoryDisk } from '#devices/virtio/testing/memory-disk.ts';
import { type MockBuffer, MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import type { Worker } from '#devices/virtio/worker.ts';
import { EventFd } from '#poll/event-fd.ts';
import { viewOf } from '#util/struct.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const SECTORS = 32;
const REQUESTS = 40;
const QUEUE_SIZE = 64;
const UNTOUCHED = 0xee;
const { IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES } = RequestType;

class Machine implements Disposable {
  readonly memory = createMemory(0x4_0000);
  readonly interrupt = new RecordedInterrupt();
  readonly event = EventFd.create();
  readonly driver = new MockQueue(this.memory, { size: QUEUE_SIZE, start: HOLE.end });
  readonly disk: MemoryDisk;
  readonly worker: Worker;

  constructor(random: Random, claimedSectors: number) {
    this.disk = new MemoryDisk(SECTORS * 512, random.oneIn(6));
    this.disk.lengthBytes = claimedSectors * 512;
    const device = new Block({ disk: this.disk, log: silentLog, sparse: !random.oneIn(4) });
    device.ackFeatures(random.oneIn(4) ? 0n : device.features());
    const queue = new Queue(this.memory, this.driver.config(), Feature.RING_INDIRECT_DESC);
    this.worker = device.activate(this.memory, this.interrupt, [queue], [this.event]);
  }

  [Symbol.dispose](): void {
    this.worker[Symbol.dispose]();
    this.event.close();
    this.memory.close();
  }
}

function sector(random: Random): bigint {
  return random.oneIn(4) ? random.boundary(64) : BigInt(random.below(SECTORS + 2));
}

function segments(random: Random): Uint8Array {
  const encoded = new Uint8Array(random.between(0, random.oneIn(10) ? 40 : 4) * Segment.size);
  const view = viewOf(encoded);
  for (let at = 0; at < encoded.length; at += Segment.size) {
    view.setBigUint64(at, sector(random), true);
    view.setUint32(at + 8, random.oneIn(5) ? Number(random.boundary(32)) : random.below(6), true);
    view.setUint32(at + 12, random.oneIn(8) ? Number(random.boundary(32)) : random.below(2), true);
  }
  return random.oneIn(10) ? encoded.subarray(0, random.below(encoded.length + 1)) : encoded;
}

/** What follows the header, for reading. */
function payload(random: Random, type: number): Uint8Array {
  if (type === DISCARD || type === WRITE_ZEROES) return segments(random);
  if (type !== OUT) return new Uint8Array(random.oneIn(8) ? random.below(40) : 0);
  const size = random.oneIn(8) ? random.below(2000) : random.below(5) * 512;
  return new Uint8Array(size).fill(random.below(256));
}

/** Cuts bytes into buffers anywhere. */
function cut(random: Random, bytes: Uint8Array): MockBuffer[] {
  const buffers: MockBuffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = random.oneIn(3) ? 1 + random.below(bytes.length - at) : bytes.length - at;
    buffers.push({ readable: bytes.subarray(at, at + size) });
    at += size;
  }
  return buffers;
}

interface Request {
  readonly type: number;
  readonly sent: Uint8Array;
  readonly answerBytes: number;
}

function generate(random: Random): Request {
  const type = random.oneIn(12)
    ? Number(random.boundary(32))
    : random.pick([IN, IN, OUT, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES]);
  const header = RequestHeader.encode({ type });
  viewOf(header).setBigUint64(8, sector(random), true);
  const whole = Buffer.concat([header, payload(random, type)]);
  const sent = random.oneIn(20) ? whole.subarray(0, random.below(17)) : whole;
  const answers = type === IN ? random.below(5) * 512 : random.pick([0, 0, 20, 512]);
  const answerBytes = random.oneIn(10) ? random.below(2000) : answers;
  return { type, sent, answerBytes };
}

function request(machine: Machine, random: Random): boolean {
  const { driver, memory, disk, interrupt } = machine;
  const { sent, answerBytes } = generate(random);
  const noStatus = random.oneIn(60);
  const buffers = cut(random, sent);
  if (answerBytes > 0) buffers.push({ writableBytes: answerBytes });
  if (!noStatus) buffers.push({ writableBytes: 1 });
  if (buffers.length === 0) return true;
  const add = random.oneIn(2) ? driver.addIndirect.bind(driver) : driver.add.bind(driver);
  const { head, addresses } = add(...buffers);
  const last = addresses.at(-1) as number;
  const statusAddress = noStatus && answerBytes > 0 ? last + answerBytes - 1 : last;
  memory.writeU8(statusAddress, UNTOUCHED);
  const before = disk.content.slice();
  machine.event.write();
  machine.worker.turn(0);
  if (noStatus && answerBytes === 0) {
    assert.equal(interrupt.resets.length, 1, 'a request without a status needs a reset');
    return false;
  }
  assert.deepEqual(interrupt.resets, []);
  const used = driver.takeUsed();
  assert.equal(used?.head, head);
  assert.ok(used.length >= 1 && used.length <= answerBytes + 1);
  const status = memory.readU8(statusAddress);
  assert.ok(status <= RequestStatus.UNSUPP, `a status of ${status}`);
  assert.equal(disk.refused, 0, 'nothing is asked of the disk that it cannot do');
  if (status !== RequestStatus.OK)
    assert.ok(Buffer.compare(before, disk.content) === 0, 'a failed request changes nothing');
  if (disk.isReadOnly) assert.ok(Buffer.compare(before, disk.content) === 0);
  return true;
}

function blockTarget(name: string, claimedSectors: number): FuzzTarget {
  return {
    name,
    run(random) {
      using machine = new Machine(random, claimedSectors);
      for (let count = 0; count < REQUESTS; count++) if (!request(machine, random)) return;
    },
  };
}

export const target = blockTarget('virtio-block', SECTORS);

/** Deliberately wrong: the device takes the disk for longer than it is. */
export const canary = blockTarget('virtio-block', SECTORS + 1);
