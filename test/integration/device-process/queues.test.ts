/** A disk with all the queues that it can have, in its process. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { BlockConfig, RequestHeader, RequestStatus, RequestType } from '#devices/virtio/block/constants.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import { probeJail } from '#jail/probe.ts';
import { DISK_QUEUES } from '#vmm/disk-config.ts';
import { DISK_BYTES, type TestMachine } from './machine.ts';
import { RunningDevices } from './running.ts';

const QUEUE_BYTES = 0x8000;
const TIMEOUT_MS = 20_000;
const refusals = probeJail();
const skip = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

describe('a disk of 16 queues', { skip, timeout: 60_000 }, () => {
  test('answers on each of them, also after it has grown', () => {
    const wanted = (machine: TestMachine) => ({
      disks: [{ ...machine.disk(machine.diskPath), queueCount: DISK_QUEUES.max }],
    });
    using running = new RunningDevices({ sandbox: true, wanted });
    const { memory, diskPath } = running.machine;
    writeFileSync(
      diskPath,
      Buffer.alloc(DISK_BYTES).map((_, at) => at >> 9),
    );
    const proxy = running.proxy('block0');
    const driver = new MockDriver({
      read: (offset, data) => proxy.readBar(0, offset, data),
      write: (offset, data) => proxy.writeBar(0, offset, data),
    });
    const queues = Array.from({ length: DISK_QUEUES.max }, (_, index) => {
      const start = index * QUEUE_BYTES;
      return new MockQueue(memory, { size: 16, start, end: start + QUEUE_BYTES });
    });
    driver.start(driver.offeredFeatures(), ...queues.map((queue) => queue.config()));
    const { numQueues } = BlockConfig.fields;
    assert.equal(driver.read(BAR.DEVICE.offset + numQueues.offset, 2), DISK_QUEUES.max);
    for (const [round, sectors] of [0, DISK_BYTES / 512].entries()) {
      if (round > 0) running.set.disks[0]?.resize({ sizeBytes: 2 * DISK_BYTES });
      const chains = queues.map((queue, index) => {
        const header = { readable: RequestHeader.encode({ type: RequestType.IN, sector: sectors + index }) };
        const chain = queue.add(header, { writableBytes: 512 }, { writableBytes: 1 });
        driver.notify(index);
        return chain;
      });
      const deadlineMs = performance.now() + TIMEOUT_MS;
      const waits = () => queues.some((queue) => queue.usedIndex === round) && performance.now() < deadlineMs;
      while (waits()) driver.get('deviceStatus');
      for (const [index, queue] of queues.entries()) {
        const [, data = 0, status = 0] = chains[index]?.addresses ?? [];
        assert.equal(queue.takeUsed()?.length, 513);
        // What is new reads as zeros.
        assert.deepEqual([memory.readU8(status), memory.readU8(data)], [RequestStatus.OK, round > 0 ? 0 : index]);
      }
    }
  });
});
