import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ChildExit } from '#jail/forked-process.ts';
import { BASE_JAIL } from '#jail/jail-config.ts';
import { probeJail } from '#jail/probe.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import { type DeviceRequest, type ForkedDevice, Warden, type WardenEvent } from '#jail/warden.ts';
import { WardenError } from '#jail/warden-wire.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { encodeBytes } from '#msg-socket/bytes.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { openPipe } from '#sys/fd.ts';
import { read, write } from '#sys/file.ts';
import { PAGE_SIZE_BYTES } from '#sys/memory.ts';
import { pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';

import { AdderParameters } from './adder-parameters.ts';
import { killOnOpening, tellOnOpening } from './filters.ts';
import { runs } from './observe.ts';

const ENTRY = new URL('warden-entry.ts', import.meta.url);
const TIMEOUT_MS = 20_000;
const refusals = probeJail();
const skip = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

function request(device: string, more: Partial<DeviceRequest> = {}): DeviceRequest {
  const jail = { ...BASE_JAIL, seccomp: killOnOpening() };
  return { device, name: device, jail, usesGuestMemory: false, parameters: new Uint8Array(), ...more };
}

/** What a device answers to a byte. */
function ask({ socket }: ForkedDevice, value: number): number | undefined {
  write(socket.fd, Uint8Array.of(value));
  const answer = new Uint8Array(1);
  return read(socket.fd, answer) === 1 ? answer[0] : undefined;
}

describe('a warden', { skip }, () => {
  let memory: SharedMemory;
  let warden: Warden;
  before(() => {
    memory = SharedMemory.create('warden-test', PAGE_SIZE_BYTES);
    warden = new Warden({ entry: ENTRY, guestMemoryFd: memory.fd });
  });
  after(() => {
    warden[Symbol.dispose]();
    memory.close();
  });

  const next = (): WardenEvent | undefined => warden.nextEvent(TIMEOUT_MS);

  test('forks devices that serve side by side, and tells how each ends', () => {
    const one = warden.fork(request('adder', { parameters: encodeBytes(AdderParameters, { add: 1 }) }));
    const ten = warden.fork(request('adder', { parameters: encodeBytes(AdderParameters, { add: 10 }) }));
    const ready = [next(), next()].map((event) => [event?.kind, event?.id]);
    assert.deepEqual(
      ready.toSorted(),
      [
        ['ready', one.id],
        ['ready', ten.id],
      ].toSorted(),
    );
    assert.deepEqual([ask(one, 5), ask(ten, 5), ask(one, 6)], [6, 15, 7]);
    write(one.socket.fd, Uint8Array.of(255));
    assert.deepEqual(next(), { kind: 'ended', id: one.id, status: { exitCode: 33 } });
    assert.notEqual(pollFd(one.pidfd.fd, PollFlag.IN, TIMEOUT_MS) & PollFlag.IN, 0);
    ten.socket.close();
    assert.deepEqual(next(), { kind: 'ended', id: ten.id, status: { exitCode: 0 } });
  });

  test('gives a device the guest memory', () => {
    const device = warden.fork(request('writer', { usesGuestMemory: true }));
    assert.equal(next()?.kind, 'ready');
    assert.equal(ask(device, 77), 77);
    using mapping = memory.map();
    assert.equal(mapping.bytes[100], 77);
    assert.equal(next()?.kind, 'ended');
  });

  test('gives a device the descriptors of its request', () => {
    const { reader, writer } = openPipe();
    const { id } = warden.fork(request('speaker'), [writer.fd, reader.fd]);
    writer.close();
    const text = Buffer.alloc(100);
    assert.equal(text.toString('utf8', 0, read(reader.fd, text)), 'from the jail');
    assert.deepEqual(
      [next(), next()],
      [
        { kind: 'ready', id },
        { kind: 'ended', id, status: { exitCode: 2 } },
      ],
    );
    reader.close();
  });

  test('tells what killed a device', () => {
    const { id, pidfd } = warden.fork(request('adder', { parameters: encodeBytes(AdderParameters, { add: 1 }) }));
    assert.equal(next()?.kind, 'ready');
    pidfdSendSignal(pidfd.fd, Signal.SIGKILL);
    assert.deepEqual(next(), { kind: 'ended', id, status: { signal: Signal.SIGKILL } });
  });

  test('installs the seccomp program of the request', () => {
    const { id } = warden.fork(request('opener'));
    assert.deepEqual(
      [next(), next()],
      [
        { kind: 'ready', id },
        { kind: 'ended', id, status: { signal: Signal.SIGSYS } },
      ],
    );
  });

  for (const { denied, end } of [
    { denied: 'kill', end: { signal: Signal.SIGSYS } },
    // What it throws then is its end.
    { denied: 'refuse', end: { exitCode: ChildExit.PANIC } },
  ] as const) {
    test(`tells of a denied call, to ${denied} it`, () => {
      const jail = { ...BASE_JAIL, seccomp: tellOnOpening(), denied };
      const { id } = warden.fork(request('opener', { jail }));
      assert.deepEqual(next(), { kind: 'ready', id });
      const told = next();
      assert.ok(told?.kind === 'denied', JSON.stringify(told));
      assert.ok(
        ['open', 'openat'].some((name) => X86_64.systemCalls.get(name) === told.call),
        `${told.call}`,
      );
      assert.deepEqual(next(), { kind: 'ended', id, status: end });
    });
  }

  test('tells why a device is not in its jail', () => {
    const { id } = warden.fork(request('broken'));
    assert.deepEqual(next(), {
      kind: 'notJailed',
      id,
      refusal: { step: 'preparation', errno: 0, message: 'cannot be made' },
    });
    assert.deepEqual(next(), { kind: 'ended', id, status: { exitCode: 102 } });
  });

  test('refuses a device that it does not know', () => {
    assert.throws(() => warden.fork(request('toaster')), {
      code: 'FORK_REFUSED',
      message: 'toaster: no device of this name: toaster',
    });
  });
});

/** A warden with one device that waits for ever. */
function startWithDevice(): { warden: Warden; device: ForkedDevice } {
  using memory = SharedMemory.create('warden-test', PAGE_SIZE_BYTES);
  const warden = new Warden({ entry: ENTRY, guestMemoryFd: memory.fd });
  const device = warden.fork(request('adder', { parameters: encodeBytes(AdderParameters, { add: 1 }) }));
  assert.equal(warden.nextEvent(TIMEOUT_MS)?.kind, 'ready');
  return { warden, device };
}

/** The device's process holds the other end of its socket. */
function endsOf({ pidfd, socket }: ForkedDevice): [number, number] {
  const waiter = pollFd(pidfd.fd, PollFlag.IN, TIMEOUT_MS);
  return [waiter & PollFlag.IN, pollFd(socket.fd, PollFlag.IN, TIMEOUT_MS) & PollFlag.HUP];
}

describe('the end of a warden', { skip }, () => {
  test('by a signal is told, and ends the devices', () => {
    const { warden, device } = startWithDevice();
    pidfdSendSignal(warden.pidfd.fd, Signal.SIGKILL);
    assert.throws(() => warden.nextEvent(TIMEOUT_MS), { name: WardenError.name, code: 'WARDEN_DIED' });
    assert.throws(() => warden.fork(request('adder')), { code: 'WARDEN_DIED' });
    assert.deepEqual(endsOf(device), [PollFlag.IN, PollFlag.HUP]);
    warden.close();
  });

  test('comes when main closes its socket, and ends the devices', () => {
    const { warden, device } = startWithDevice();
    const { pid } = warden;
    warden[Symbol.dispose]();
    assert.equal(runs(pid), false);
    assert.deepEqual(endsOf(device), [PollFlag.IN, PollFlag.HUP]);
  });

  test('comes even when it is stopped, and ends the devices', () => {
    const { warden, device } = startWithDevice();
    const { pid } = warden;
    pidfdSendSignal(warden.pidfd.fd, Signal.SIGSTOP);
    warden[Symbol.dispose]();
    assert.equal(runs(pid), false);
    assert.deepEqual(endsOf(device), [PollFlag.IN, PollFlag.HUP]);
  });
});
