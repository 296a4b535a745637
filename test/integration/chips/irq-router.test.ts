import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SoftwareIrqRouter } from '#hypervisor/software/irq-router.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';

function setUp() {
  const sent: (readonly [number, number])[] = [];
  const router = new SoftwareIrqRouter({ send: (address, data) => void sent.push([address, data]) });
  return { router, sent };
}
const irqfdOf = (event: EventFd): Fd => new Fd(dup(event.fd));

test('each turn sends the message of every GSI that was signalled since, once', () => {
  const { router, sent } = setUp();
  using _ = router;
  using first = EventFd.create();
  using second = EventFd.create();
  router.addIrqfd(24, irqfdOf(first));
  router.addIrqfd(25, irqfdOf(second));
  router.setMsiRoute(24, 0xfee0_0000, 0x41);
  router.setMsiRoute(25, 0xfee0_1000, 0x42);
  router.turn();
  assert.deepEqual(sent, []);
  first.write();
  first.write();
  second.write();
  assert.notEqual(pollFd(router.waiting.fd, PollFlag.IN, 1000), 0);
  router.turn();
  assert.deepEqual(sent.toSorted(), [
    [0xfee0_0000, 0x41],
    [0xfee0_1000, 0x42],
  ]);
  router.turn();
  assert.equal(sent.length, 2);
  first.write();
  router.turn();
  assert.equal(sent.length, 3);
});

test('a route that changes counts for what comes after, and a signal without one is nobody’s', () => {
  const { router, sent } = setUp();
  using _ = router;
  using event = EventFd.create();
  router.addIrqfd(24, irqfdOf(event));
  event.write();
  router.turn();
  router.setMsiRoute(24, 0xfee0_0000, 1);
  event.write();
  router.turn();
  router.setMsiRoute(24, 0xfee0_0000, 2);
  event.write();
  router.turn();
  assert.deepEqual(sent, [
    [0xfee0_0000, 1],
    [0xfee0_0000, 2],
  ]);
});

test('what is no eventfd is refused or harmless, and nothing blocks', () => {
  const { router, sent } = setUp();
  using _ = router;
  using file = Fd.open('/proc/self/status', 0);
  assert.throws(() => router.addIrqfd(24, new Fd(dup(file.fd))), { code: 'EPERM' });
  router.turn();
  assert.deepEqual(sent, []);
});
