import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { type MsiHost, msiHandlers } from './vm-irq.ts';

function fakeHost() {
  const calls: unknown[] = [];
  let next = 24;
  const host: MsiHost = {
    allocateGsi: () => next++,
    addIrqfd: (gsi, irqfd) => void calls.push(['irqfd', gsi, irqfd.fd]),
    setMsiRoute: (gsi, address, data) => void calls.push(['route', gsi, address, data]),
  };
  return { host, calls };
}
const irqfd = (): Fd => new Fd(1000);

test('a device routes the interrupts that it was given', () => {
  const { host, calls } = fakeHost();
  const handlers = msiHandlers(host, 2);
  assert.deepEqual(handlers.allocateOneMsi({ irqfd: irqfd() }), { gsi: 24 });
  handlers.addMsiRoute({ gsi: 24, address: 0xfee0_0000, data: 0x41 });
  assert.deepEqual(calls, [
    ['irqfd', 24, 1000],
    ['route', 24, 0xfee0_0000, 0x41],
  ]);
});

test("another device's interrupt, a pin of the chips and one that nobody has are refused", () => {
  const { host, calls } = fakeHost();
  const first = msiHandlers(host, 2);
  const second = msiHandlers(host, 2);
  first.allocateOneMsi({ irqfd: irqfd() });
  for (const gsi of [24, 4, 99]) {
    assert.throws(() => second.addMsiRoute({ gsi, address: 0xfee0_0000, data: 0 }), { code: 'NOT_YOURS' });
  }
  assert.equal(calls.length, 1);
});

test('a device gets no more interrupts than it has vectors', () => {
  const { host } = fakeHost();
  const handlers = msiHandlers(host, 1);
  handlers.allocateOneMsi({ irqfd: irqfd() });
  assert.throws(() => handlers.allocateOneMsi({ irqfd: irqfd() }), { code: 'TOO_MANY' });
});
