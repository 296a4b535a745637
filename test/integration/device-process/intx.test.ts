/** INTx of a device's process: asserted by an eventfd, asserted again when main tells of the end of its service. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { BAR } from '#devices/virtio/transport/common-config.ts';
import { VIRTIO_BAR } from '#devices/virtio/virtio-pci-device.ts';
import { probeJail } from '#jail/probe.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { RunningDevices } from './running.ts';

const TIMEOUT_MS = 20_000;
/** INTA of the slots goes around four lines. */
const FIRST_GSI = 16;
const LINES = 4;
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

describe('a driver without MSI-X', { timeout: 60_000 }, () => {
  for (const { how, sandbox, skip } of [
    { how: 'in its jail', sandbox: true, skip: hostRefuses },
    { how: 'without a jail', sandbox: false, skip: false as const },
  ]) {
    test(`is interrupted by the line until it has read the ISR status, the device being ${how}`, { skip }, () => {
      using running = new RunningDevices({ sandbox });
      const { machine } = running;
      const proxy = running.proxy('rng');
      const driver = new MockDriver({
        read: (offset, data) => proxy.readBar(VIRTIO_BAR.index, offset, data),
        write: (offset, data) => proxy.writeBar(VIRTIO_BAR.index, offset, data),
      });
      const queue = new MockQueue(machine.memory, { size: 8 });
      driver.start(driver.offeredFeatures(), queue.config());
      const [line] = machine.lines;
      assert.deepEqual(
        machine.lines.map(({ gsi }) => gsi),
        running.set.pciFunctions.map(({ address }) => FIRST_GSI + (address.device % LINES)),
      );
      assert.ok(line !== undefined);
      // Borrowed: the machine closes them.
      const [irqfd, resample] = [EventFd.fromFd(line.irqfd), EventFd.fromFd(line.resample)];
      const isAsserted = (timeoutMs: number): boolean => {
        const isSignalled = pollFd(irqfd.fd, PollFlag.IN, timeoutMs) !== 0;
        irqfd.clear();
        return isSignalled;
      };
      queue.add({ writableBytes: 16 });
      driver.notify(0);
      assert.ok(isAsserted(TIMEOUT_MS));
      resample.write();
      assert.ok(isAsserted(TIMEOUT_MS), 'the ISR status has not been read');
      assert.equal(driver.read(BAR.ISR.offset, 1), 1);
      resample.write();
      // The device takes the end before or after this answer, and then has nothing to say.
      while (pollFd(resample.fd, PollFlag.IN, 0) !== 0) driver.get('deviceStatus');
      driver.get('deviceStatus');
      assert.equal(isAsserted(0), false);
      assert.deepEqual(running.failures, []);
    });
  }
});
