import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { SmallVm, skip } from './small-vm.ts';

const HANDLER = 0x1800;
const GSI = { EDGE: 4, LEVEL: 5, MESSAGE: 30 } as const;
const MESSAGE = { ADDRESS: 0xfee0_0000, VECTOR: 0x40 } as const;
/** The vectors of the PICs' first eight inputs. */
const PIC_BASE = 0x08;
const ELCR = 1 << GSI.LEVEL;

/** Sets up the master PIC with input 5 level-triggered, says that it is ready, and sleeps. */
const CODE = [
  [0xb0, 0x11, 0xe6, 0x20, 0xb0, PIC_BASE, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21],
  [0xba, 0xd0, 0x04, 0xb0, ELCR, 0xee, 0xb0, 0x00, 0xe6, 0x21],
  [0xfb, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd],
].flat();
const READY = 'out f4 00';

/** mov al, vector; out 0xf5, al; mov al, 0x20; out 0x20, al (end of interrupt); iret. One handler a vector, 16 bytes apart. */
const handlerOf = (vector: number): number[] => [0xb0, vector, 0xe6, 0xf5, 0xb0, 0x20, 0xe6, 0x20, 0xcf];

function create(): SmallVm {
  const vm = new SmallVm(CODE);
  const vectors = [PIC_BASE + GSI.EDGE, PIC_BASE + GSI.LEVEL, MESSAGE.VECTOR];
  for (const [index, vector] of vectors.entries()) {
    const address = HANDLER + 16 * index;
    vm.memory.writeBytes(address, Uint8Array.from(handlerOf(vector)));
    vm.memory.writeU32(4 * vector, address);
  }
  return vm;
}

const took = (vector: number): string => `out f5 ${vector.toString(16).padStart(2, '0')}`;

test('a line that rises is an interrupt', { skip }, () => {
  using vm = create();
  vm.runTo(READY);
  const line = vm.vm.irqChip.line(GSI.EDGE);
  line.set(true);
  line.set(false);
  vm.runTo(took(PIC_BASE + GSI.EDGE));
});

test('a line with two sources is asserted until both have let it go', { skip }, () => {
  using vm = create();
  vm.runTo(READY);
  const [first, second] = [vm.vm.irqChip.line(GSI.LEVEL, 0), vm.vm.irqChip.line(GSI.LEVEL, 1)];
  first.set(true);
  second.set(true);
  vm.runTo(took(PIC_BASE + GSI.LEVEL));
  first.set(false);
  vm.runTo(took(PIC_BASE + GSI.LEVEL));
  second.set(false);
  const { accesses } = vm.bus;
  vm.bus.onAccess = () => {};
  // The one in service may come once more; then it is quiet.
  const before = accesses.length;
  vm.vm.irqChip.line(GSI.EDGE).set(true);
  vm.runTo(took(PIC_BASE + GSI.EDGE));
  assert.ok(accesses.length - before <= 2, accesses.slice(before).join(', '));
});

test('a signal of an edge irqfd is an interrupt, and each signal is another', { skip }, () => {
  using vm = create();
  using router = vm.vm.createIrqRouter();
  using irqfd = EventFd.create();
  router.addEdgeIrqfd(GSI.EDGE, new Fd(dup(irqfd.fd)));
  vm.runTo(READY);
  for (let count = 0; count < 3; count++) {
    irqfd.write();
    vm.runTo(took(PIC_BASE + GSI.EDGE));
  }
});

test('a signal of a level irqfd is asserted until the end of service, which signals the other eventfd', {
  skip,
}, () => {
  using vm = create();
  using router = vm.vm.createIrqRouter();
  using irqfd = EventFd.create();
  using resample = EventFd.create();
  router.addLevelIrqfd(GSI.LEVEL, new Fd(dup(irqfd.fd)), new Fd(dup(resample.fd)));
  vm.runTo(READY);
  irqfd.write();
  vm.runTo(took(PIC_BASE + GSI.LEVEL));
  assert.equal(resample.read(), undefined, 'its service has not ended');
  // An edge is taken after the end of the handler.
  vm.vm.irqChip.line(GSI.EDGE).set(true);
  vm.runTo(took(PIC_BASE + GSI.EDGE));
  assert.equal(resample.read(), 1n);
  irqfd.write();
  vm.runTo(took(PIC_BASE + GSI.LEVEL));
});

test('a signal of an irqfd with a message is that vector, once it has a route', { skip }, () => {
  using vm = create();
  using router = vm.vm.createIrqRouter();
  using irqfd = EventFd.create();
  router.addIrqfd(GSI.MESSAGE, new Fd(dup(irqfd.fd)));
  vm.runTo(READY);
  irqfd.write();
  router.setMsiRoute(GSI.MESSAGE, MESSAGE.ADDRESS, MESSAGE.VECTOR);
  irqfd.write();
  vm.runTo(took(MESSAGE.VECTOR));
  assert.equal(vm.bus.accesses.filter((access) => access === took(MESSAGE.VECTOR)).length, 1);
});

test('a message that is sent at once is that vector, and one to elsewhere is none', { skip }, () => {
  using vm = create();
  vm.runTo(READY);
  vm.vm.irqChip.send(0x1_fee0_0000, 0x41);
  vm.vm.irqChip.send(MESSAGE.ADDRESS, MESSAGE.VECTOR);
  vm.runTo(took(MESSAGE.VECTOR));
});
