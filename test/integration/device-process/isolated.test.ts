/** The clock and the keyboard controller in processes: what they do there, what they have, and what a guest can do to them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { busDeviceOf, type ProxyBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import { readByte, writeByte } from '#hypervisor/software/testing.ts';
import { probeJail } from '#jail/probe.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { read } from '#sys/file.ts';
import { kill, Signal } from '#sys/signal.ts';
import type { DeviceSetOptions } from '#vmm/devices/device-set.ts';
import type { IsolatedDevice } from '#vmm/legacy-config.ts';
import { viewOf } from '../jail/observe.ts';
import { isRoot } from '../jail/run-scenario.ts';
import { RunningDevices } from './running.ts';

const limit = { timeout: 60_000 };
const TIMEOUT_MS = 20_000;
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;
/** Offsets of the clock's ports and numbers of its bytes, docs/devices/cmos.md. */
const PORT = { INDEX: 0, DATA: 1 } as const;
const BYTE = {
  SECONDS_ALARM: 1,
  MINUTES_ALARM: 3,
  HOURS_ALARM: 5,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  BASE_MEMORY: 0x15,
} as const;
const B = { ALARM: 0x20, PERIODIC: 0x40, HOURS_24: 0x02, BINARY: 0x04 } as const;
const ANY = 0xc0;
const BASE_MEMORY_KIB = 640;
const IRQ = 8;
/** The controller has its ports' own addresses. */
const COMMAND_PORT = 0x64;
const RESET = 0xfe;

class Isolated implements Disposable {
  readonly #owned = new DisposableStack();
  readonly running: RunningDevices;
  readonly cmos: ProxyBusDevice;
  readonly i8042: ProxyBusDevice;
  resets = 0;

  constructor(sandbox: boolean) {
    const wanted = (): Partial<DeviceSetOptions> => ({
      isolated: ['i8042', 'cmos'],
      onReset: () => void this.resets++,
    });
    this.running = this.#owned.use(new RunningDevices({ sandbox, wanted }));
    // On a busy host forks take longer than an answer may.
    assert.equal(this.running.set.waitUntilJailed(), undefined);
    [this.cmos, this.i8042] = [this.#deviceOf('cmos'), this.#deviceOf('i8042')];
  }

  #deviceOf(name: IsolatedDevice): ProxyBusDevice {
    const end = this.running.set.isolated[name];
    assert.ok(end !== undefined);
    return busDeviceOf(end, (label, reason) => void this.running.failures.push(`${label}: ${reason}`));
  }

  get(byte: number): number {
    writeByte(this.cmos, PORT.INDEX, byte);
    return readByte(this.cmos, PORT.DATA);
  }

  set(byte: number, value: number): void {
    writeByte(this.cmos, PORT.INDEX, byte);
    writeByte(this.cmos, PORT.DATA, value);
  }

  hasInterrupt(timeoutMs: number): boolean {
    const [edge] = this.running.machine.edges;
    assert.equal(edge?.gsi, IRQ);
    if (pollFd(edge.irqfd.fd, PollFlag.IN, timeoutMs) === 0) return false;
    read(edge.irqfd.fd, new Uint8Array(8));
    return true;
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

for (const { how, sandbox, skip } of [
  { how: 'in its jail', sandbox: true, skip: hostRefuses },
  { how: 'without a jail', sandbox: false, skip: false as const },
]) {
  describe(`a legacy device with a process, ${how}`, { skip, ...limit }, () => {
    test('the clock shows the time and interrupts at the alarm, once until that is read', () => {
      using all = new Isolated(sandbox);
      all.set(BYTE.B, B.HOURS_24 | B.BINARY);
      assert.equal(all.get(9), new Date().getUTCFullYear() % 100);
      for (const byte of [BYTE.SECONDS_ALARM, BYTE.MINUTES_ALARM, BYTE.HOURS_ALARM]) all.set(byte, ANY);
      all.set(BYTE.B, B.HOURS_24 | B.BINARY | B.ALARM);
      assert.ok(all.hasInterrupt(TIMEOUT_MS));
      assert.equal(all.hasInterrupt(1200), false);
      assert.equal(all.get(BYTE.C) & 0xa0, 0xa0);
      assert.ok(all.hasInterrupt(TIMEOUT_MS));
      assert.deepEqual(all.running.failures, []);
    });

    test('accesses of any size at any place and the fastest interrupts leave both alive, and a reset is told once', () => {
      using all = new Isolated(sandbox);
      assert.equal(all.get(BYTE.BASE_MEMORY), BASE_MEMORY_KIB & 0xff);
      for (const sizeBytes of [1, 2, 4, 8]) {
        for (const offset of [0, 1, 2, 0x64, 0xffff, 0xffff_ffff]) {
          const data = new Uint8Array(sizeBytes).fill(0xfd);
          for (const device of [all.cmos, all.i8042]) {
            device.write(offset, data);
            device.read(offset, data.fill(0));
          }
        }
      }
      for (let byte = 0; byte < 0x80; byte++) all.set(byte, 0xff);
      all.set(BYTE.A, 0x21);
      all.set(BYTE.B, B.PERIODIC);
      assert.ok(all.hasInterrupt(TIMEOUT_MS));
      all.set(0x7f, 0x5a);
      assert.equal(all.get(0x7f), 0x5a);
      assert.equal(readByte(all.i8042, 0x60), 0xff);
      assert.equal(all.running.set.turn(), undefined);
      assert.equal(all.resets, 0);
      for (let count = 0; count < 1000; count++) writeByte(all.i8042, COMMAND_PORT, RESET);
      assert.equal(readByte(all.i8042, COMMAND_PORT), 0xff);
      for (let turns = 0; turns < 10; turns++) assert.equal(all.running.set.turn(), undefined);
      assert.deepEqual([all.running.failures, all.resets], [[], 1]);
    });

    for (const name of ['cmos', 'i8042'] as const) {
      test(`${name} that is killed is told with its name, and reads as all ones`, () => {
        using all = new Isolated(sandbox);
        kill(all.running.process(name), Signal.SIGKILL);
        assert.equal(all.running.failure(), `${name}: its process ended: killed by SIGKILL`);
        assert.equal(readByte(all[name], 0x64), 0xff);
        assert.deepEqual(all.running.failures, [`${name}: its process is gone`]);
      });
    }
  });
}

for (const { name, own } of [
  // What tells of a reset.
  { name: 'i8042', own: ['socket'] },
  // The interrupt.
  { name: 'cmos', own: ['anon_inode:[eventfd]'] },
] as const) {
  test(`${name} in its jail has no guest memory, and no more descriptors than it needs`, {
    skip: hostRefuses || (isRoot ? false : 'only root can look into a process that is not dumpable'),
    ...limit,
  }, () => {
    using all = new Isolated(true);
    assert.equal(readByte(all[name], 0), 0xff);
    const view = viewOf(all.running.process(name));
    assert.deepEqual([view.status['Seccomp'], view.status['NoNewPrivs'], view.rootEntries], ['2', '1', []]);
    const links = Object.values(view.fds).map((link) => link.replace(/:\[\d+\]$/, ''));
    // Standard input, output and error, and the eventfds of libuv's; the loop; the bus.
    const expected = [...Array(6).fill('/dev/null'), 'anon_inode:[eventpoll]', 'socket', ...own];
    assert.deepEqual(links.sort(), expected.sort());
  });
}
