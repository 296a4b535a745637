/** Makes one device in the warden and lets it go: what is compiled and bound for it once is in every child, which shares the pages. */
import { INTERRUPT_PIN } from '#devices/pci/registers.ts';
import { VIRTIO_BAR } from '#devices/virtio/virtio-pci-device.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { VmIrq } from '#vm-control/vm-irq.ts';
import { rngPlan } from './plans/rng.ts';
import { DEVICE_MAKERS } from './registry.ts';
import { VirtioParameters } from './virtio-process.ts';

/** Throws SyscallError. */
export function warmUpDevices(): void {
  using opened = new DisposableStack();
  const memory = opened.use(GuestMemory.create([{ start: 0, sizeBytes: PAGE_SIZE_BYTES }]));
  const { device: kind, name, queueCount, fds: source, parameters: own } = rngPlan(opened);
  const irq = VmIrq.pair();
  const log = VmIrq.pair();
  const bus = VmIrq.pair();
  for (const { client, server } of [irq, log, bus]) {
    opened.use(client);
    opened.use(server);
  }
  const events = Array.from({ length: 2 + queueCount }, () => opened.use(EventFd.create()));
  // Its own, as in a process that was forked for it.
  const fds = [irq.client, log.client, ...events, ...source].map(({ fd }) => dup(fd));
  const parameters = encodeBytes(VirtioParameters, {
    regions: memory.regions,
    queueCount,
    bars: [{ ...VIRTIO_BAR, address: 0x8000 }],
    intx: { pin: INTERRUPT_PIN.INTA, gsi: 5 },
    granted: { memory: false, ioevents: false },
    logLevel: 'info',
    device: own,
  });
  const resources = { name, socket: dup(bus.client.fd), fds, guestMemory: memory.fd, parameters };
  const run = DEVICE_MAKERS[kind as 'rng'](resources);
  // Nobody asks it anything: it ends at once.
  bus.server.close();
  run();
  for (const fd of [...fds, resources.socket]) new Fd(fd).close();
}
