/** A device by eventfds in a thread of its own: for each request one interrupt, by an eventfd or by a post to the local APIC. */
import { workerData } from 'node:worker_threads';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import type { VmDescription } from '#hypervisor/vm.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { hostClock } from '#util/clock.ts';

export interface DeviceThreadData {
  readonly vm: VmDescription;
  readonly kickFd: number;
  readonly irqFd: number;
  readonly vector: number;
  readonly requests: number;
}

const { vm, kickFd, irqFd, vector, requests } = workerData as DeviceThreadData;
const kick = EventFd.fromFd(new Fd(kickFd));
const irq = EventFd.fromFd(new Fd(irqFd));
using attached = softwareHypervisor.attachVm(vm, { clock: hostClock });
const { irqChip } = attached;
const nothing = new Int32Array(1);
if (!(irqChip instanceof SoftwareIrqChip)) throw new Error('chips of the software hypervisor');
for (let request = 0; request < requests; request++) {
  pollFd(kick.fd, PollFlag.IN);
  kick.clear();
  // From none to some microseconds, so that the interrupt comes before, in and after the moment in which the other falls asleep.
  for (let turns = (request % 50) * 100; turns > 0; turns--) Atomics.load(nothing, 0);
  if (request % 3 === 0) irqChip.localApics[0]?.inbox.post(vector, false);
  else irq.write();
}
