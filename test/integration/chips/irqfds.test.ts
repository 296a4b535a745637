import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { bytesOf } from '#devices/pci/testing.ts';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { SoftwareIrqRouter } from '#hypervisor/software/irq-router.ts';
import { Irqfds } from '#hypervisor/software/irqfds.ts';
import type { LocalApic } from '#hypervisor/software/local-apic.ts';
import { PENDING } from '#hypervisor/software/local-apic-inbox.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MiB } from '#util/bits.ts';
import { hostClock } from '#util/clock.ts';
import type { DeviceThreadData } from './irqfd-thread.ts';

const REQUESTS = 3000;
const VECTOR = 0x51;
const GSI = 24;
/** An interrupt that has not come within this time is lost; nothing else ends the wait, for the thread blocks. */
const LOST_NS = 30e9;

/** One request at a time, as a guest with one in flight: the next one comes when the interrupt of the last has. */
test('no interrupt is lost between a vCPU that halts or is busy and eventfds and posts of other threads', async () => {
  using memory = GuestMemory.create([{ start: 0, sizeBytes: MiB }]);
  using vm = softwareHypervisor.createVm({ memory, vcpuCount: 1, clock: hostClock });
  using router = vm.createIrqRouter();
  using kick = EventFd.create();
  using irq = EventFd.create();
  assert.ok(vm.irqChip instanceof SoftwareIrqChip && router instanceof SoftwareIrqRouter);
  const chip = vm.irqChip;
  const [apic] = chip.localApics as [LocalApic];
  apic.write(0xf0, bytesOf(0x1ff, 4));
  router.addIrqfd(GSI, new Fd(dup(irq.fd)));
  router.setMsiRoute(GSI, 0xfee0_0000, VECTOR);
  const data: DeviceThreadData = {
    vm: vm.describe(),
    kickFd: kick.fd,
    irqFd: irq.fd,
    vector: VECTOR,
    requests: REQUESTS,
  };
  const device = new Worker(new URL('./irqfd-thread.ts', import.meta.url), { workerData: data });
  const exited = once(device, 'exit');
  const irqfds = new Irqfds(router.describe());
  // This thread blocks, as a vCPU's does.
  for (let request = 0; request < REQUESTS; request++) {
    const lostNs = hostClock.nowNs() + LOST_NS;
    kick.write();
    for (;;) {
      irqfds.turn(chip);
      const vector = apic.acknowledge();
      if (vector === VECTOR) break;
      // Every fourth request meets a busy vCPU, which looks and never sleeps.
      if (request % 4 !== 0) irqfds.sleep(apic, PENDING.INTERRUPT, LOST_NS);
      assert.ok(hostClock.nowNs() < lostNs, `the interrupt of request ${request} is lost`);
    }
    apic.write(0xb0, bytesOf(0, 4));
  }
  assert.equal(apic.acknowledge(), -1, 'one interrupt for each request');
  assert.deepEqual(await exited, [0]);
});
