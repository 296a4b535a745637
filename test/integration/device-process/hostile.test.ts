/**
 * A device process that does not keep to what it should say. The test takes its descriptors, as only root can, and sends to main
 * what somebody in the process might; the process is stopped meanwhile.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { write } from '#sys/file.ts';
import { pidfdOpen } from '#sys/process.ts';
import { kill, Signal } from '#sys/signal.ts';
import { CodedError } from '#util/errors.ts';
import { VmIrq } from '#vm-control/vm-irq.ts';
import { linksIn } from '../jail/observe.ts';
import { isRoot } from '../jail/run-scenario.ts';
import { call } from './attempts.ts';
import { DISK_BYTES } from './machine.ts';
import { RunningDevices } from './running.ts';

const limit = { timeout: 60_000 };
/** The disk has one on which main asks, besides those of the interrupts, the reports and the bus. */
const DEVICES = [
  { name: 'rng', socketCount: 3 },
  { name: 'block0', socketCount: 4 },
];
/** The sockets in the order in which a device has them: those of the bus, of the interrupts and of the reports, then its own. */
const SOCKET = { REPORTS: 2, OWN: 3 } as const;
const ONES = 0xffff_ffff;

/** The sockets of a device, which look alike. */
function socketsOf(pid: number, owned: DisposableStack): Fd[] {
  const pidfd = owned.use(new Fd(pidfdOpen(pid)));
  const numbers = Object.entries(linksIn(`/proc/${pid}/fd`)).filter(([, link]) => link.startsWith('socket:'));
  return numbers.map(([number]) => owned.use(new Fd(call('pidfd_getfd', pidfd.fd, Number(number), 0))));
}

/** The device `name`, stopped, with its sockets in our hands. */
function hijacked(name: string, running: RunningDevices, owned: DisposableStack): Fd[] {
  assert.notEqual(running.proxy(name).readConfigRegister(0), ONES);
  const device = running.process(name);
  const sockets = socketsOf(device, owned);
  assert.equal(sockets.length, DEVICES.find((each) => each.name === name)?.socketCount);
  kill(device, Signal.SIGSTOP);
  return sockets;
}

/** The code of the error that a request about a GSI of another device ends with. */
function codeOfForeignRoute(socket: Fd): string {
  const client = VmIrq.client({ borrowed: socket }, { sendMs: 50, receiveMs: 50 });
  try {
    client.addMsiRoute({ gsi: 30, address: 0xfee0_0000, data: 1 });
    return 'allowed';
  } catch (error) {
    return error instanceof CodedError ? error.code : String(error);
  }
}

const skip = isRoot ? false : 'only root can take descriptors of a process that is not dumpable';

describe('main, told by a device process', { skip, ...limit }, () => {
  for (const { name, socketCount } of DEVICES) {
    for (const { what, message } of [
      { what: 'a byte', message: Uint8Array.of(7) },
      { what: 'zeros', message: new Uint8Array(64) },
      { what: 'ones', message: new Uint8Array(64).fill(0xff) },
      { what: 'more than any message has', message: new Uint8Array(4096).fill(1) },
    ]) {
      test(`${name}: ${what}: ends the machine with the device's name, and its registers read as all ones`, () => {
        using running = new RunningDevices({ sandbox: true });
        using owned = new DisposableStack();
        for (const socket of hijacked(name, running, owned)) write(socket.fd, message);
        assert.match(running.failure() ?? '', new RegExp(`^${name}: `));
        assert.equal(running.proxy(name).readConfigRegister(0), ONES);
        assert.match(running.failures[0] ?? '', new RegExp(`^${name}: its process answered wrongly: `));
      });
    }

    test(`${name}: of an interrupt that it was not given, refuses, and goes on`, () => {
      using running = new RunningDevices({ sandbox: true });
      using owned = new DisposableStack();
      // On that of the reports a request is an offence.
      const sockets = hijacked(name, running, owned).toSpliced(SOCKET.REPORTS, 1);
      // Nobody answers the first time; the second request has the same number, so that it gets the first one's answer.
      const unanswered = sockets.map(codeOfForeignRoute);
      assert.equal(running.set.turn(), undefined);
      const answered = sockets.map(codeOfForeignRoute);
      const timedOut = Array.from({ length: socketCount - 2 }, () => 'TIMED_OUT');
      assert.deepEqual(unanswered, ['TIMED_OUT', ...timedOut]);
      assert.deepEqual(answered.toSorted(), ['NOT_YOURS', ...timedOut], 'one of the sockets is that of the interrupts');
      assert.equal(running.machine.routes.size, 0);
    });
  }

  for (const { what, message } of [
    { what: 'nothing', message: new Uint8Array() },
    { what: 'what is no answer', message: new Uint8Array(64).fill(0xff) },
  ]) {
    test(`block0: answers a resize with ${what}: that is a failure of the request alone`, () => {
      using running = new RunningDevices({ sandbox: true });
      using owned = new DisposableStack();
      const control = hijacked('block0', running, owned)[SOCKET.OWN];
      assert.ok(control !== undefined);
      if (message.length > 0) write(control.fd, message);
      assert.throws(() => running.set.disks[0]?.resize({ sizeBytes: 2 * DISK_BYTES }), { name: 'MsgError' });
      assert.equal(running.set.turn(), undefined);
    });
  }
});
