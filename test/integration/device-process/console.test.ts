/** The console's process as main has it made: what passes through it, what it has, and that a reader who stalls holds up nothing else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import {
  ControlEvent,
  ControlMessage,
  ControlQueue,
  consoleQueueSizes,
  receiveQueueOf,
} from '#devices/virtio/console/constants.ts';
import { MockDriver } from '#devices/virtio/testing/mock-driver.ts';
import { MockQueue } from '#devices/virtio/testing/mock-queue.ts';
import { probeJail } from '#jail/probe.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { bindUnix, listen, SocketType, socket, tryAccept, trySend } from '#sys/socket.ts';
import { KiB } from '#util/bits.ts';
import type { SerialConfig } from '#vmm/config.ts';
import { viewOf } from '../jail/observe.ts';
import { isRoot } from '../jail/run-scenario.ts';
import { TestMachine } from './machine.ts';
import { RunningDevices } from './running.ts';

const limit = { timeout: 60_000 };
const TIMEOUT_MS = 20_000;
const QUEUE_BYTES = 128 * KiB;
const refusals = probeJail();
const hostRefuses = refusals.length === 0 ? false : `the host refuses: ${refusals.map(({ what }) => what).join(', ')}`;

const AGENT = 1;
const AGENT_TRANSMIT = receiveQueueOf(AGENT) + 1;
const QUEUE_COUNT = consoleQueueSizes(2, true).length;
const BAD_ID = 0xffff_ffff;
/** Of guest memory; sockets have room for about 200 KiB. */
const LARGE_BYTES = 900 * KiB;

/** A file as the console, which has standard input, and a stream with a name. */
class Machine implements Disposable {
  readonly #owned = new DisposableStack();
  readonly files = this.#owned.use(new TestMachine());
  readonly outputPath = join(this.files.folder, 'output');
  readonly running: RunningDevices;
  /** The host's end of the stream. */
  readonly peer: Fd;
  readonly driver: MockDriver;
  queues: readonly MockQueue[] = [];

  constructor({ sandbox }: { readonly sandbox: boolean }) {
    const path = join(this.files.folder, 'agent');
    const listener = this.#owned.use(new Fd(socket(SocketType.STREAM | SocketType.NONBLOCK)));
    bindUnix(listener.fd, path);
    listen(listener.fd);
    const common = { hardware: 'virtio-console', console: false, stdin: false } as const;
    const serial: SerialConfig[] = [
      { ...common, num: 2, type: 'unix-stream', path, name: 'agent' },
      { ...common, num: 1, type: 'file', path: this.outputPath, console: true, stdin: true },
    ];
    this.running = this.#owned.use(new RunningDevices({ sandbox, wanted: () => ({ serial }) }));
    this.peer = this.#owned.use(new Fd(tryAccept(listener.fd, SocketType.NONBLOCK) ?? -1));
    const proxy = this.running.proxy('console');
    this.driver = new MockDriver({
      read: (offset, data) => proxy.readBar(0, offset, data),
      write: (offset, data) => proxy.writeBar(0, offset, data),
    });
    this.start();
  }

  start(): void {
    const { memory } = this.running.machine;
    memory.fill(0, memory.sizeBytes, 0);
    this.queues = Array.from({ length: QUEUE_COUNT }, (_, index) => {
      const start = index * QUEUE_BYTES;
      return new MockQueue(memory, { size: 32, start, end: start + QUEUE_BYTES });
    });
    this.driver.start(this.driver.offeredFeatures(), ...this.queues.map((queue) => queue.config()));
    for (let count = 0; count < 16; count++) this.queue(ControlQueue.RECEIVE).add({ writableBytes: 64 });
    this.tell(BAD_ID, ControlEvent.DEVICE_READY);
    for (const id of [0, AGENT]) this.tell(id, ControlEvent.PORT_READY);
    for (const id of [0, AGENT]) this.tell(id, ControlEvent.PORT_OPEN);
  }

  queue(index: number): MockQueue {
    return this.queues[index] as MockQueue;
  }

  tell(id: number, event: number): void {
    this.transmit(ControlQueue.TRANSMIT, ControlMessage.encode({ id, event, value: 1 }));
    this.waitForUsed(ControlQueue.TRANSMIT);
  }

  transmit(queue: number, readable: Uint8Array): void {
    this.queue(queue).add({ readable });
    this.driver.notify(queue);
  }

  /** The length of the next chain that comes back. */
  waitForUsed(index: number): number {
    const deadlineMs = performance.now() + TIMEOUT_MS;
    for (;;) {
      const used = this.queue(index).takeUsed();
      if (used !== undefined) return used.length;
      assert.ok(performance.now() < deadlineMs, `queue ${index} gives nothing back`);
      this.driver.get('deviceStatus');
    }
  }

  /** What the device puts into a buffer of a receive queue. */
  receive(port: number): string {
    const queue = this.queue(receiveQueueOf(port));
    const [address = 0] = queue.add({ writableBytes: 100 }).addresses;
    this.driver.notify(receiveQueueOf(port));
    return Buffer.from(queue.bytes(address, this.waitForUsed(receiveQueueOf(port)))).toString();
  }

  /** What the peer gets next. */
  hear(): string {
    assert.notEqual(pollFd(this.peer.fd, PollFlag.IN, TIMEOUT_MS), 0, 'nothing comes');
    const bytes = new Uint8Array(8 * KiB);
    return Buffer.from(bytes.subarray(0, tryRead(this.peer.fd, bytes) ?? 0)).toString();
  }

  /** Sends more than a socket holds to the peer, who does not read. */
  stall(): void {
    const queue = this.queue(AGENT_TRANSMIT);
    const before = queue.usedIndex;
    queue.writeDescriptor(queue.size - 1, { address: 0, length: LARGE_BYTES });
    queue.makeAvailable(queue.size - 1);
    this.driver.notify(AGENT_TRANSMIT);
    assert.notEqual(pollFd(this.peer.fd, PollFlag.IN, TIMEOUT_MS), 0, 'nothing comes');
    // The bus is answered in turns of the same loop.
    for (let count = 0; count < 20; count++) this.driver.get('deviceStatus');
    assert.equal(queue.usedIndex, before, 'the chain is kept');
  }

  /** The peer reads so many bytes. */
  drain(sizeBytes: number): void {
    const target = new Uint8Array(64 * KiB);
    for (let left = sizeBytes; left > 0; ) {
      assert.notEqual(pollFd(this.peer.fd, PollFlag.IN, TIMEOUT_MS), 0, 'nothing comes');
      left -= tryRead(this.peer.fd, target) ?? 0;
    }
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

for (const { how, sandbox, skip } of [
  { how: 'in its jail', sandbox: true, skip: hostRefuses },
  { how: 'without a jail', sandbox: false, skip: false as const },
]) {
  describe(`the console's process, ${how},`, { skip, ...limit }, () => {
    test('passes on what the driver sends and what it is sent, also after a reset', () => {
      using machine = new Machine({ sandbox });
      for (let round = 1; round <= 2; round++) {
        machine.transmit(1, bytes(`line ${round}\n`));
        machine.transmit(AGENT_TRANSMIT, bytes(`round ${round}`));
        assert.equal(machine.waitForUsed(1), 0);
        assert.equal(machine.hear(), `round ${round}`);
        trySend(machine.peer.fd, bytes('answer'), 6);
        assert.equal(machine.receive(AGENT), 'answer');
        assert.equal(machine.running.set.console?.input?.enqueue(bytes('typed')), 5);
        assert.equal(machine.receive(0), 'typed');
        machine.driver.reset();
        machine.start();
      }
      assert.equal(readFileSync(machine.outputPath, 'utf8'), 'line 1\nline 2\n');
      assert.deepEqual(machine.running.failures, []);
    });

    test('does not wait for a peer who does not read: other ports, suspension, reset and the end go on', () => {
      using machine = new Machine({ sandbox });
      machine.stall();
      machine.transmit(1, bytes('meanwhile\n'));
      assert.equal(machine.waitForUsed(1), 0);
      const found = machine.running.set.pciFunctions.find(({ debugLabel }) => debugLabel === 'console');
      assert.ok(found !== undefined);
      const { socketFd, sequence } = found;
      const timeouts = { sendMs: TIMEOUT_MS, receiveMs: TIMEOUT_MS };
      const bus = DeviceProxy.client({ borrowed: { fd: socketFd } }, { ...timeouts, sequence });
      bus.suspend();
      bus.resume();
      machine.drain(LARGE_BYTES);
      machine.waitForUsed(AGENT_TRANSMIT);
      machine.stall();
      machine.driver.reset();
      machine.start();
      machine.stall();
      bus.shutdown();
      assert.match(machine.running.failure() ?? '', /^console: its process ended: exit status 0/);
    });

    test('holds no more input than its socket does', () => {
      using machine = new Machine({ sandbox });
      const input = machine.running.set.console?.input;
      assert.ok(input !== undefined);
      let sizeBytes = 0;
      for (let taken = -1; taken !== 0; sizeBytes += taken) taken = input.enqueue(new Uint8Array(64 * KiB));
      assert.ok(sizeBytes > 0 && sizeBytes < 1024 * KiB, `${sizeBytes} bytes`);
      assert.equal(pollFd(input.room.fd, PollFlag.OUT, 0), 0);
      for (let left = sizeBytes; left > 0; ) left -= machine.receive(0).length;
      assert.notEqual(pollFd(input.room.fd, PollFlag.OUT, TIMEOUT_MS), 0);
    });

    test('has the descriptors of its ports and nothing else', {
      skip: isRoot || !sandbox ? false : 'only root can look into a process that is not dumpable',
    }, () => {
      using machine = new Machine({ sandbox });
      machine.driver.reset();
      const { fds } = viewOf(machine.running.process('console'));
      const others = Object.values(fds)
        .map((link) => link.replace(/:\[\d+\]$/, ''))
        .filter((link) => !['/dev/null', 'anon_inode:[eventfd]', 'anon_inode:[eventpoll]'].includes(link));
      // The bus, the interrupts, the reports; the two of main and the console; input, and the stream for each direction.
      const expected = [...Array(8).fill('socket'), '/memfd:guest-ram (deleted)', machine.outputPath];
      assert.deepEqual(others.sort(), expected.sort());
    });
  });
}
