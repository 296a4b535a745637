import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytesOf } from '#devices/pci/testing.ts';
import { SoftwareIrqChip } from '#hypervisor/software/irq-chip.ts';
import { SoftwareIrqRouter } from '#hypervisor/software/irq-router.ts';
import { Irqfds } from '#hypervisor/software/irqfds.ts';
import { PENDING } from '#hypervisor/software/local-apic-inbox.ts';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import { GuestMemory } from '#memory/guest-memory.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MiB } from '#util/bits.ts';
import { hostClock } from '#util/clock.ts';

const VECTOR = 0x51;
const LEVEL = 1 << 15;
/** A sleep that has not ended within this time would not end. */
const FOREVER_NS = 30e9;

function setUp() {
  const sent: (readonly [number, number])[] = [];
  const asserted: number[] = [];
  const pulses: number[] = [];
  const resamples: (readonly [number, number])[] = [];
  const router = new SoftwareIrqRouter({
    vcpuCount: 1,
    addResample: (gsi, { fd }) => void resamples.push([gsi, fd]),
  });
  const irqfds = new Irqfds(router.describe());
  const sink = {
    send: (address: number, data: number) => void sent.push([address, data]),
    assertUntilEnd: (gsi: number) => void asserted.push(gsi),
    pulse: (gsi: number) => void pulses.push(gsi),
  };
  return { router, turn: () => irqfds.turn(sink), irqfds, sent, asserted, pulses, resamples };
}
const irqfdOf = (event: EventFd): Fd => new Fd(dup(event.fd));

test('each turn sends the message of every GSI that was signalled since, once', () => {
  const { router, turn, sent } = setUp();
  using _ = router;
  using first = EventFd.create();
  using second = EventFd.create();
  router.addIrqfd(24, irqfdOf(first));
  router.addIrqfd(25, irqfdOf(second));
  router.setMsiRoute(24, 0xfee0_0000, 0x41);
  router.setMsiRoute(25, 0xfee0_1000, 0x42);
  turn();
  assert.deepEqual(sent, []);
  first.write();
  first.write();
  second.write();
  turn();
  assert.deepEqual(sent.toSorted(), [
    [0xfee0_0000, 0x41],
    [0xfee0_1000, 0x42],
  ]);
  turn();
  assert.equal(sent.length, 2);
  first.write();
  turn();
  assert.equal(sent.length, 3);
});

test('a route that changes counts for what comes after, and a signal without one is nobody’s', () => {
  const { router, turn, sent } = setUp();
  using _ = router;
  using event = EventFd.create();
  router.addIrqfd(24, irqfdOf(event));
  event.write();
  turn();
  router.setMsiRoute(24, 0xfee0_0000, 1);
  event.write();
  turn();
  router.setMsiRoute(24, 0xfee0_0000, 2);
  event.write();
  turn();
  assert.deepEqual(sent, [
    [0xfee0_0000, 1],
    [0xfee0_0000, 2],
  ]);
});

test('what is no eventfd is refused or harmless, and nothing blocks', () => {
  const { router, turn, sent } = setUp();
  using _ = router;
  using file = Fd.open('/proc/self/status', 0);
  assert.throws(() => router.addIrqfd(24, new Fd(dup(file.fd))), { code: 'EPERM' });
  turn();
  assert.deepEqual(sent, []);
});

test('a sleep ends by a signal, by a bit that is pending or posted before or after it begins, and by its time', () => {
  const { router, irqfds, turn, sent } = setUp();
  using _ = router;
  using event = EventFd.create();
  router.addIrqfd(24, irqfdOf(event));
  router.setMsiRoute(24, 0xfee0_0000, 0x41);
  const pending = { bits: 0 };
  const processor = { id: 0, pending: () => pending.bits };
  const asleep = (): void => irqfds.sleep(processor, PENDING.INTERRUPT, FOREVER_NS);
  const endNs = hostClock.nowNs() + FOREVER_NS;
  event.write();
  asleep();
  turn();
  assert.equal(sent.length, 1);
  pending.bits = PENDING.INTERRUPT;
  asleep();
  pending.bits = 0;
  irqfds.wake(0);
  const [wakeFd = -1] = router.describe().wakeFds;
  assert.equal(pollFd(wakeFd, PollFlag.IN, 0), 0, 'nobody sleeps');
  irqfds.sleep(processor, PENDING.INTERRUPT, 1e6);
  // The post that comes between the look and the wait, as another thread's would.
  const pendingOfLate = (): number => {
    irqfds.wake(0);
    return 0;
  };
  irqfds.sleep({ id: 0, pending: pendingOfLate }, PENDING.INTERRUPT, FOREVER_NS);
  assert.equal(pollFd(wakeFd, PollFlag.IN, 0), 0, 'what ended a sleep ends no other');
  assert.ok(hostClock.nowNs() < endNs);
});

test('eventfds that share a line each assert it', () => {
  const { router, turn, sent, asserted, resamples } = setUp();
  using _ = router;
  using first = EventFd.create();
  using second = EventFd.create();
  const [one, other] = [irqfdOf(first), irqfdOf(second)];
  router.addLevelIrqfd(17, irqfdOf(first), one);
  router.addLevelIrqfd(17, irqfdOf(second), other);
  assert.deepEqual(resamples, [
    [17, one.fd],
    [17, other.fd],
  ]);
  first.write();
  turn();
  assert.deepEqual(asserted.splice(0), [17]);
  first.write();
  second.write();
  turn();
  turn();
  assert.deepEqual([asserted, sent], [[17, 17], []]);
});

test('eventfds of an edge-triggered line pulse it, for each turn that finds them signalled', () => {
  const { router, turn, pulses, sent, asserted } = setUp();
  using _ = router;
  using first = EventFd.create();
  using second = EventFd.create();
  router.addEdgeIrqfd(4, irqfdOf(first));
  router.addEdgeIrqfd(4, irqfdOf(second));
  first.write();
  turn();
  first.write();
  second.write();
  turn();
  turn();
  assert.deepEqual([pulses, sent, asserted], [[4, 4, 4], [], []]);
});

test('a pulse is one interrupt by the I/O APIC, and leaves the line to its other sources', () => {
  using memory = GuestMemory.create([{ start: 0, sizeBytes: MiB }]);
  const clock = { nowNs: () => 0, wallMs: () => 0 };
  using vm = softwareHypervisor.createVm({ memory, vcpuCount: 1, clock });
  using router = vm.createIrqRouter();
  using event = EventFd.create();
  router.addEdgeIrqfd(4, irqfdOf(event));
  assert.ok(vm.irqChip instanceof SoftwareIrqChip && router instanceof SoftwareIrqRouter);
  const { irqChip } = vm;
  const irqfds = new Irqfds(router.describe());
  const [apic] = vm.irqChip.localApics;
  const ioApic = vm.irqChip.parts.get('io-apic');
  assert.ok(apic !== undefined && ioApic !== undefined);
  apic.write(0xf0, bytesOf(0x1ff, 4));
  ioApic.write(0, bytesOf(0x10 + 2 * 4, 4));
  ioApic.write(0x10, bytesOf(VECTOR, 4));
  const signal = (): number => {
    event.write();
    irqfds.turn(irqChip);
    const vector = apic.acknowledge();
    apic.write(0xb0, bytesOf(0, 4));
    return vector;
  };
  assert.deepEqual([signal(), apic.acknowledge(), signal()], [VECTOR, -1, VECTOR]);
  vm.irqChip.line(4).set(true);
  assert.deepEqual([apic.acknowledge(), signal()], [VECTOR, -1], 'what is high already has no edge');
});

test('the end of a service, on whichever thread, resamples every device of the line, and only while one had asserted it', () => {
  using memory = GuestMemory.create([{ start: 0, sizeBytes: MiB }]);
  const clock = { nowNs: () => 0, wallMs: () => 0 };
  using vm = softwareHypervisor.createVm({ memory, vcpuCount: 1, clock });
  using router = vm.createIrqRouter();
  assert.ok(router instanceof SoftwareIrqRouter);
  using stack = new DisposableStack();
  const devices = [17, 17, 18].map((gsi) => {
    const [irqfd, resample] = [stack.use(EventFd.create()), stack.use(EventFd.create())];
    router.addLevelIrqfd(gsi, irqfdOf(irqfd), irqfdOf(resample));
    return { irqfd, resample };
  });
  // As a vCPU's thread does.
  using attached = softwareHypervisor.attachVm(vm.describe(), { clock });
  const ioApic = attached.irqChip.parts.get('io-apic');
  assert.ok(attached.irqChip instanceof SoftwareIrqChip && ioApic !== undefined);
  const chip = attached.irqChip;
  const irqfds = new Irqfds(router.describe());
  const turn = () => irqfds.turn(chip);
  const [apic] = chip.localApics;
  assert.ok(apic !== undefined);
  apic.write(0xf0, bytesOf(0x1ff, 4));
  ioApic.write(0, bytesOf(0x10 + 2 * 17, 4));
  ioApic.write(0x10, bytesOf(VECTOR | LEVEL, 4));
  const end = (): (bigint | undefined)[] => {
    apic.write(0xb0, bytesOf(0, 4));
    return devices.map(({ resample }) => resample.read());
  };
  devices[0]?.irqfd.write();
  turn();
  assert.equal(apic.acknowledge(), VECTOR);
  devices[1]?.irqfd.write();
  turn();
  assert.deepEqual(end(), [1n, 1n, undefined]);
  assert.equal(apic.acknowledge(), -1, 'the line has been let go');
  devices[1]?.irqfd.write();
  turn();
  assert.equal(apic.acknowledge(), VECTOR, 'the other one signals again');
  assert.deepEqual(end(), [1n, 1n, undefined]);
  vm.irqChip.line(17).set(true);
  assert.equal(apic.acknowledge(), VECTOR);
  assert.deepEqual(end(), [undefined, undefined, undefined]);
});
