/** A serial port's process as main has it made: what passes through it, what it has, and what becomes of the machine when it goes wrong. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { busDeviceOf, type ProxyBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import { readByte, writeByte } from '#hypervisor/software/testing.ts';
import { probeJail } from '#jail/probe.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { read, setNonBlocking, tryRead } from '#sys/file.ts';
import { kill, Signal } from '#sys/signal.ts';
import { bindUnix, listen, SocketType, socket, tryAccept } from '#sys/socket.ts';
import type { SerialConfig } from '#vmm/config.ts';
import { DeviceSet } from '#vmm/devices/device-set.ts';
import { viewOf } from '../jail/observe.ts';
import { isRoot, NOBODY } from '../jail/run-scenario.ts';
import { TestMachine } from './machine.ts';
import { RunningDevices } from './running.ts';

const limit = { timeout: 60_000 };
const TIMEOUT_MS = 20_000;
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;
const R = { DATA: 0, IER: 1, IIR: 2, FCR: 2, MCR: 4, LSR: 5 } as const;
const LSR = { DATA_READY: 0x01, THR_EMPTY: 0x20 } as const;
/** COM1 and COM3 have it, COM2 and COM4 have 3. */
const IRQ = 4;
/** More than the buffer and the socket hold. */
const FLOOD_BYTES = 1 << 20;

/** COM3 with a file, or what `port` says. */
class Port implements Disposable {
  readonly #owned = new DisposableStack();
  readonly files = this.#owned.use(new TestMachine());
  readonly outputPath = join(this.files.folder, 'output');
  readonly running: RunningDevices;
  readonly device: ProxyBusDevice;

  constructor(sandbox: boolean, port: Partial<SerialConfig> = {}) {
    const own = { type: 'file', path: this.outputPath, console: true, stdin: true } as const;
    const serial = [{ hardware: 'serial', num: 3, jail: true, ...own, ...port } as const];
    this.running = this.#owned.use(new RunningDevices({ sandbox, wanted: () => ({ serial }) }));
    const end = this.running.set.serialPorts[2];
    assert.ok(end !== undefined);
    this.device = busDeviceOf(end, (label, reason) => void this.running.failures.push(`${label}: ${reason}`));
  }

  get(register: number): number {
    return readByte(this.device, register);
  }

  set(register: number, value: number): void {
    writeByte(this.device, register, value);
  }

  /** As a driver does: it looks for room before each byte. */
  say(text: string): void {
    for (const byte of Buffer.from(text, 'latin1')) {
      while ((this.get(R.LSR) & LSR.THR_EMPTY) === 0);
      this.set(R.DATA, byte);
    }
  }

  waitForInterrupt(): void {
    const [edge] = this.running.machine.edges;
    assert.equal(edge?.gsi, IRQ);
    assert.notEqual(pollFd(edge.irqfd.fd, PollFlag.IN, TIMEOUT_MS), 0, 'no interrupt');
    read(edge.irqfd.fd, new Uint8Array(8));
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

for (const { how, sandbox, skip } of [
  { how: 'in its jail', sandbox: true, skip: hostRefuses },
  { how: 'without a jail', sandbox: false, skip: false as const },
]) {
  describe(`a serial port with a process, ${how}`, { skip, ...limit }, () => {
    test('writes what the guest says without the end of the machine', () => {
      using port = new Port(sandbox);
      port.say('hello\n');
      const deadlineMs = performance.now() + TIMEOUT_MS;
      const written = (): string => readFileSync(port.outputPath, 'latin1');
      while (written() !== 'hello\n' && performance.now() < deadlineMs);
      assert.equal(written(), 'hello\n');
    });

    test('has written everything when the machine has ended', () => {
      using port = new Port(sandbox);
      const text = 'a line that the guest says last\n'.repeat(100);
      for (const byte of Buffer.from(text)) port.set(R.DATA, byte);
      port.running.set[Symbol.dispose]();
      assert.equal(readFileSync(port.outputPath, 'latin1'), text);
      assert.deepEqual(port.running.failures, []);
    });

    test('gives the guest input with an interrupt once it can receive, and no more at a time than it takes', () => {
      using port = new Port(sandbox);
      const text = 'typed before anybody could receive it';
      assert.equal(port.running.set.serialInput?.enqueue(Buffer.from(text)), text.length);
      assert.equal(port.get(R.LSR) & LSR.DATA_READY, 0);
      port.set(R.FCR, 0x01);
      port.set(R.MCR, 0x03);
      port.set(R.IER, 0x01);
      let received = '';
      while (received.length < text.length) {
        port.waitForInterrupt();
        while ((port.get(R.LSR) & LSR.DATA_READY) !== 0) received += String.fromCharCode(port.get(R.DATA));
      }
      assert.equal(received, text);
      assert.deepEqual(port.running.failures, []);
    });

    test('waits for a reader who stalls by its transmitter: the bus is answered, and nothing is lost', () => {
      using machine = new TestMachine();
      const path = join(machine.folder, 'socket');
      using listener = new Fd(socket(SocketType.STREAM | SocketType.NONBLOCK));
      bindUnix(listener.fd, path);
      listen(listener.fd);
      using port = new Port(sandbox, { type: 'unix-stream', path });
      using peer = new Fd(tryAccept(listener.fd) ?? -1);
      setNonBlocking(peer.fd, true);
      let sent = 0;
      const send = (): void => {
        for (let i = 0; i < 16; i++) port.set(R.DATA, sent++ & 0x7f);
      };
      while ((port.get(R.LSR) & LSR.THR_EMPTY) !== 0 && sent < FLOOD_BYTES) send();
      assert.ok(sent < FLOOD_BYTES, 'the transmitter never fills up');
      port.set(R.IER, 0x02);
      assert.deepEqual([port.get(R.IIR) & 0x0f, port.get(R.IER)], [0x01, 0x02]);
      const chunk = new Uint8Array(65_536);
      const received: number[] = [];
      while (received.length < sent && pollFd(peer.fd, PollFlag.IN, TIMEOUT_MS) !== 0)
        received.push(...chunk.subarray(0, tryRead(peer.fd, chunk) ?? 0));
      port.waitForInterrupt();
      assert.deepEqual([port.get(R.IIR) & 0x0f, port.get(R.LSR)], [0x02, 0x60]);
      assert.equal(received.length, sent);
      assert.ok(
        received.every((byte, index) => byte === (index & 0x7f)),
        'in order',
      );
    });

    test('that is killed, or hangs, is told with its name, and reads as all ones', () => {
      using port = new Port(sandbox);
      port.say('x');
      const { running } = port;
      const end = running.set.serialPorts[2];
      assert.ok(end !== undefined);
      kill(running.process('serial2'), Signal.SIGSTOP);
      const proxy = running.proxyOf(end, 100);
      const data = new Uint8Array(1);
      proxy.readBar(0, R.LSR, data);
      assert.deepEqual([...data], [0xff]);
      assert.deepEqual(running.failures.splice(0), ['serial2: its process has not answered for 0.1 s']);
      kill(running.process('serial2'), Signal.SIGKILL);
      assert.equal(running.failure(), 'serial2: its process ended: killed by SIGKILL');
      assert.equal(port.get(R.LSR), 0xff);
      assert.deepEqual(running.failures, ['serial2: its process is gone']);
    });

    test('of the console tells of a panic, once', () => {
      using machine = new TestMachine({ wanted: () => ({}) });
      const console = { hardware: 'serial', num: 1, type: 'sink', console: true, stdin: false, jail: true } as const;
      let panics = 0;
      const options = machine.options({ sandbox });
      using set = new DeviceSet({ ...options, serial: [console], onPanic: () => void panics++ });
      const end = set.serialPorts[0];
      assert.ok(end !== undefined);
      const device = busDeviceOf(end, (label, reason) => assert.fail(`${label}: ${reason}`));
      const words = Buffer.from('Kernel panic - not syncing: '.repeat(3), 'latin1');
      for (const byte of words) writeByte(device, R.DATA, byte);
      assert.equal(readByte(device, R.LSR), 0x60);
      assert.equal(set.turn(), undefined);
      assert.equal(panics, 1);
    });
  });
}

test('a serial port in its jail has no guest memory, and no more descriptors than it needs', {
  skip: hostRefuses || (isRoot ? false : 'only root can look into a process that is not dumpable'),
  ...limit,
}, () => {
  using port = new Port(true);
  port.say('x');
  const view = viewOf(port.running.process('serial2'));
  const own = viewOf(process.pid);
  for (const kind of ['mnt', 'net', 'pid', 'user'] as const) {
    assert.notEqual(view.namespaces[kind], own.namespaces[kind], kind);
  }
  assert.deepEqual([view.status['Seccomp'], view.status['NoNewPrivs'], view.rootEntries], ['2', '1', []]);
  assert.equal(view.status['Uid'], Array(4).fill(NOBODY).join('\t'));
  const links = Object.values(view.fds).map((link) => link.replace(/:\[\d+\]$/, ''));
  const expected = [
    // Standard input, output and error, and the eventfds of libuv's.
    ...Array(6).fill('/dev/null'),
    // Its interrupt, and its loop.
    'anon_inode:[eventfd]',
    'anon_inode:[eventpoll]',
    // The bus, reports, the panic and input.
    ...Array(4).fill('socket'),
    port.outputPath,
  ];
  assert.deepEqual(links.sort(), expected.sort());
});
