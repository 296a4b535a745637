/** A guest's driver and a host's peers around a socket device, for tests and the fuzzer. */
import assert from 'node:assert/strict';
import { EventFd } from '#poll/event-fd.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { SocketType, shutdown, socketpair, trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import { Queue } from '../queue/queue.ts';
import { RecordedInterrupt } from '../testing/fakes.ts';
import { createMemory } from '../testing/memory.ts';
import { MockQueue } from '../testing/mock-queue.ts';
import type { Worker } from '../worker.ts';
import { HOST_CID, TYPE_STREAM, VsockHeader, VsockQueue } from './constants.ts';
import type { HostSockets } from './host-sockets.ts';
import { vsock } from './vsock.ts';

export const CID = 3;
const QUEUE_SIZE = 16;
const BUFFER_BYTES = 4096 + VsockHeader.size;

export type Header = ReturnType<typeof VsockHeader.decode>;

/** The host's end of a stream. */
export class Peer implements Disposable {
  readonly #fd: Fd;
  readonly #buffer = new Uint8Array(0x1_0000);

  constructor(fd: Fd) {
    this.#fd = fd;
  }

  send(bytes: string | Uint8Array): void {
    const encoded = Buffer.from(bytes);
    assert.equal(this.trySend(encoded), encoded.length);
  }

  /** How many bytes there was room for; undefined when the device has closed. */
  trySend(bytes: Uint8Array): number | undefined {
    try {
      return trySend(this.#fd.fd, bytes, bytes.length) ?? 0;
    } catch (error) {
      if (error instanceof SyscallError) return undefined;
      throw error;
    }
  }

  /** All that is there: undefined at the end of the stream. */
  read(): Buffer | undefined {
    const parts: Buffer[] = [];
    for (;;) {
      const count = this.#tryRead();
      if (count === 0) return parts.length === 0 ? undefined : Buffer.concat(parts);
      if (count === undefined) return Buffer.concat(parts);
      parts.push(Buffer.from(this.#buffer.slice(0, count)));
    }
  }

  shutdown(how: number): void {
    shutdown(this.#fd.fd, how);
  }

  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  /** A reset is an end here. */
  #tryRead(): number | undefined {
    try {
      return tryRead(this.#fd.fd, this.#buffer);
    } catch (error) {
      if (error instanceof SyscallError) return 0;
      throw error;
    }
  }
}

function pair(): { device: Fd; peer: Peer } {
  const [device, peer] = socketpair(SocketType.STREAM | SocketType.NONBLOCK);
  return { device: new Fd(device), peer: new Peer(new Fd(peer)) };
}

/** Connections are made by the test; the guest can reach the ports of `offered`. */
export class FakeHost implements HostSockets, Disposable {
  readonly #event = EventFd.create();
  readonly #waiting: Fd[] = [];
  readonly peers: Peer[] = [];
  readonly offered = new Set<number>();
  /** What the guest asked for. */
  readonly asked: number[] = [];

  get listener(): HasFd {
    return this.#event;
  }

  connectFromHost(): Peer {
    const { device, peer } = pair();
    this.#waiting.push(device);
    this.#event.write();
    this.peers.push(peer);
    return peer;
  }

  accept(): Fd | undefined {
    if (this.#waiting.length === 0) this.#event.read();
    return this.#waiting.shift();
  }

  connect(port: number): Fd | undefined {
    this.asked.push(port);
    if (!this.offered.has(port)) return undefined;
    const { device, peer } = pair();
    this.peers.push(peer);
    return device;
  }

  [Symbol.dispose](): void {
    for (const socket of [...this.#waiting, ...this.peers]) socket[Symbol.dispose]();
    this.#event.close();
  }
}

/** A packet as the guest got it. */
export interface Packet {
  readonly header: Header;
  readonly payload: Buffer;
}

export class VsockMachine implements Disposable {
  readonly memory = createMemory(0x80_0000);
  readonly host = new FakeHost();
  readonly interrupt = new RecordedInterrupt();
  readonly receive = new MockQueue(this.memory, { size: QUEUE_SIZE, start: 0x10_0000, end: 0x14_0000 });
  readonly transmit = new MockQueue(this.memory, { size: QUEUE_SIZE, start: 0x14_0000 });
  readonly device = vsock.create({ cid: CID, host: this.host });
  readonly #events = [EventFd.create(), EventFd.create(), EventFd.create()];
  readonly worker: Worker;
  readonly #buffers = new Map<number, number>();

  constructor({ buffers = QUEUE_SIZE }: { buffers?: number } = {}) {
    const queues = [this.receive, this.transmit].map((driver, vector) => {
      return new Queue(this.memory, driver.config({ vector }), 0n);
    });
    this.worker = this.device.activate(this.memory, this.interrupt, [...queues, undefined], this.#events);
    this.addBuffers(buffers);
  }

  /** Buffers for packets to the guest. */
  addBuffers(count: number, sizeBytes = BUFFER_BYTES): void {
    for (let index = 0; index < count; index++) {
      const { head, addresses } = this.receive.add({ writableBytes: sizeBytes });
      this.#buffers.set(head, addresses[0] as number);
    }
    this.#events[VsockQueue.RECEIVE]?.write();
  }

  /** A packet of the guest, with `changes` of what it would be. */
  send(changes: Partial<Header>, payload: Uint8Array = new Uint8Array(0)): void {
    const header = { srcCid: CID, dstCid: HOST_CID, type: TYPE_STREAM, len: payload.length, bufAlloc: 0x1_0000 };
    this.sendRaw(Buffer.concat([VsockHeader.encode({ ...header, ...changes }), payload]));
  }

  sendRaw(bytes: Uint8Array): void {
    this.transmit.add({ readable: bytes });
    this.#events[VsockQueue.TRANSMIT]?.write();
  }

  /** Turns until nothing is left to do. */
  settle(turns = 12): void {
    for (let count = 0; count < turns; count++) this.worker.turn(0);
    while (this.transmit.takeUsed() !== undefined);
  }

  /** What the guest got; its buffers are given again unless `again` is false. */
  takePackets(again = true): Packet[] {
    const packets: Packet[] = [];
    for (let used = this.receive.takeUsed(); used !== undefined; used = this.receive.takeUsed()) {
      const bytes = this.receive.bytes(this.#buffers.get(used.head) as number, used.length);
      const header = VsockHeader.decode(viewOf(bytes));
      packets.push({ header, payload: Buffer.from(bytes.slice(VsockHeader.size)) });
    }
    if (again) this.addBuffers(packets.length);
    return packets;
  }

  /** Settles, and what the guest got then. */
  exchange(): Packet[] {
    this.settle();
    return this.takePackets();
  }

  [Symbol.dispose](): void {
    this.worker[Symbol.dispose]();
    this.host[Symbol.dispose]();
    for (const event of this.#events) event.close();
    this.memory.close();
  }
}
