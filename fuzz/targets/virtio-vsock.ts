/** Packets of a hostile driver and doings of the host's peers, compared with what each side of each stream may see. */
import assert from 'node:assert/strict';
import { BUFFER_BYTES, HOST_CID, Operation, ShutdownFlag, TYPE_STREAM } from '#devices/virtio/vsock/constants.ts';
import { CID, type Header, type Packet, type Peer, VsockMachine } from '#devices/virtio/vsock/testing.ts';
import { Shutdown } from '#sys/socket.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const STEPS = 60;
const HOST_PORTS = [50, 51, 52];
/** Peers of the host ask for ports from here on, each for another. */
const LISTENED_PORT = 2000;
const { REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST } = Operation;

/** A stream as its two users know it. Byte N of either direction is `byteAt(N)`. */
interface Stream {
  readonly guestPort: number;
  readonly hostPort: number;
  readonly peer: Peer;
  /** The guest has seen it begin, and neither side has reset it. */
  isOpen: boolean;
  peerSent: number;
  peerRead: number;
  guestSent: number;
  guestGot: number;
  bufAlloc: number;
  fwdCnt: number;
  guestShutdown: number;
  hostShutdown: number;
}

const byteAt = (position: number): number => (position * 7 + (position >> 8)) & 0xff;
const bytesFrom = (position: number, size: number) =>
  Uint8Array.from({ length: size }, (_, at) => byteAt(position + at));

class Model implements Disposable {
  readonly machine: VsockMachine;
  readonly #random: Random;
  readonly #creditLie: number;
  readonly #streams: Stream[] = [];
  /** Peers whose CONNECT has not become a REQUEST yet, by the port that they asked for. */
  readonly #connecting = new Map<number, Peer>();
  #peerCount = 0;

  constructor(random: Random, creditLie: number) {
    this.#random = random;
    this.#creditLie = creditLie;
    this.machine = new VsockMachine({ buffers: random.pick([1, 3, 16]) });
    for (const port of HOST_PORTS.slice(1)) this.machine.host.offered.add(port);
  }

  step(): void {
    const random = this.#random;
    const stream = this.#streams.length > 0 ? random.pick(this.#streams) : undefined;
    if (stream === undefined || random.oneIn(6)) this.#begin();
    else if (random.oneIn(8)) this.#sendAnything(stream);
    else if (random.oneIn(2)) this.#guestActs(stream);
    else this.#hostActs(stream);
    this.#drain();
  }

  /** The guest takes packets until there are none. */
  #drain(): void {
    for (let packets = this.machine.exchange(); packets.length > 0; packets = this.machine.exchange()) {
      for (const packet of packets) this.#take(packet);
    }
    assert.deepEqual(this.machine.interrupt.resets, [], 'no packet is a fault of a queue');
  }

  #begin(): void {
    const { machine } = this;
    if (this.#random.oneIn(2)) {
      const port = LISTENED_PORT + this.#peerCount++;
      const peer = machine.host.connectFromHost();
      this.#connecting.set(port, peer);
      peer.send(this.#random.oneIn(8) ? this.#random.bytes(this.#random.below(30)) : `CONNECT ${port}\n`);
      return;
    }
    const ports = { srcPort: 1000 + this.#random.below(4), dstPort: this.#random.pick(HOST_PORTS) };
    const before = this.#find(ports.srcPort, ports.dstPort);
    const peersBefore = machine.host.peers.length;
    const bufAlloc = this.#credit();
    machine.send({ ...ports, op: REQUEST, bufAlloc: bufAlloc + this.#creditLie });
    machine.settle();
    const peer = machine.host.peers[peersBefore];
    if (before !== undefined) assert.equal(peer, undefined, 'a second request opens nothing');
    if (peer !== undefined) this.#streams.push(newStream(ports.srcPort, ports.dstPort, peer, bufAlloc));
  }

  #credit(): number {
    return this.#random.pick([0, 1, 10, 1000, 0x1_0000, 0x8000_0000]);
  }

  #sendAnything(stream: Stream): void {
    const random = this.#random;
    const word = (): number => Number(random.boundary(32));
    const header: Partial<Header> = {
      srcCid: random.oneIn(4) ? word() : CID,
      dstCid: random.oneIn(4) ? word() : HOST_CID,
      srcPort: stream.guestPort,
      dstPort: random.oneIn(2) ? stream.hostPort : word(),
      type: random.oneIn(4) ? Number(random.boundary(16)) : TYPE_STREAM,
      op: random.oneIn(3) ? Number(random.boundary(16)) : random.below(9),
      flags: word(),
      bufAlloc: stream.bufAlloc + this.#creditLie,
      fwdCnt: stream.fwdCnt,
      len: word(),
    };
    // What the stream would take for its own is the other actions' to send.
    const isItsOwn = header.srcCid === CID && header.dstCid === HOST_CID && header.type === TYPE_STREAM;
    if (isItsOwn && this.machine.host.offered.has(header.dstPort ?? 0) && header.op === REQUEST) return;
    if (random.oneIn(6)) this.machine.sendRaw(random.bytes(1 + random.below(43)));
    else this.machine.send(header, new Uint8Array(random.below(100)));
    if (isItsOwn && header.dstPort === stream.hostPort) this.#resetByGuest(stream);
  }

  #resetByGuest(stream: Stream): void {
    this.#send(stream, { op: RST });
    this.#forget(stream);
  }

  #guestActs(stream: Stream): void {
    const random = this.#random;
    switch (random.below(6)) {
      case 0:
        this.#send(stream, { op: CREDIT_REQUEST });
        return;
      case 1:
        stream.fwdCnt = random.oneIn(5) ? stream.fwdCnt : stream.guestGot;
        stream.bufAlloc = this.#credit();
        this.#send(stream, { op: CREDIT_UPDATE });
        return;
      case 2:
        if (!random.oneIn(4)) return;
        stream.guestShutdown |= random.below(4);
        this.#send(stream, { op: SHUTDOWN, flags: stream.guestShutdown });
        return;
      case 3:
        if (random.oneIn(6)) this.#resetByGuest(stream);
        return;
      default: {
        if ((stream.guestShutdown & ShutdownFlag.SEND) !== 0) return;
        const size = random.oneIn(3) ? random.below(0x1_0001) : random.below(2000);
        this.#send(stream, { op: RW }, bytesFrom(stream.guestSent, size));
        stream.guestSent += size;
      }
    }
  }

  #send(stream: Stream, header: Partial<Header>, payload?: Uint8Array): void {
    const { guestPort: srcPort, hostPort: dstPort, fwdCnt } = stream;
    this.machine.send({ srcPort, dstPort, fwdCnt, bufAlloc: stream.bufAlloc + this.#creditLie, ...header }, payload);
  }

  #hostActs(stream: Stream): void {
    const random = this.#random;
    const { peer } = stream;
    if (stream.hostShutdown === ShutdownFlag.BOTH) return;
    switch (random.below(5)) {
      case 0:
        if (!random.oneIn(4)) return;
        stream.hostShutdown = random.oneIn(2) ? ShutdownFlag.BOTH : ShutdownFlag.SEND;
        if (stream.hostShutdown === ShutdownFlag.SEND) peer.shutdown(Shutdown.WRITE);
        else peer[Symbol.dispose]();
        return;
      case 1: {
        if (stream.hostShutdown !== 0) return;
        const sent = peer.trySend(bytesFrom(stream.peerSent, random.below(3000)));
        if (sent === undefined) stream.hostShutdown = ShutdownFlag.SEND;
        stream.peerSent += sent ?? 0;
        return;
      }
      default: {
        const got = peer.read() ?? Buffer.alloc(0);
        assert.deepEqual(got, Buffer.from(bytesFrom(stream.peerRead, got.length)), 'the host reads what was sent');
        stream.peerRead += got.length;
        assert.ok(stream.peerRead <= stream.guestSent);
      }
    }
  }

  #take({ header, payload }: Packet): void {
    assert.equal(header.dstCid, CID);
    assert.equal(header.len, payload.length);
    assert.ok(header.op >= REQUEST && header.op <= CREDIT_REQUEST, `an operation ${header.op}`);
    if (header.op === RST) {
      const stream = header.srcCid === HOST_CID ? this.#find(header.dstPort, header.srcPort) : undefined;
      if (stream !== undefined && header.type === TYPE_STREAM) this.#forget(stream);
      return;
    }
    assert.deepEqual([header.srcCid, header.type, header.bufAlloc], [HOST_CID, TYPE_STREAM, BUFFER_BYTES]);
    if (header.op === REQUEST) this.#answer(header);
    else this.#takeFor(header, payload);
  }

  #answer({ srcPort, dstPort }: Header): void {
    const peer = this.#connecting.get(dstPort);
    assert.ok(peer, 'a request for a port that was asked for');
    assert.equal(this.#connecting.delete(dstPort), true);
    const stream = newStream(dstPort, srcPort, peer, this.#credit());
    const isRefused = this.#random.oneIn(5);
    this.#send(stream, { op: isRefused ? RST : RESPONSE });
    if (isRefused) return;
    this.machine.settle();
    assert.equal(peer.read()?.toString(), `OK ${srcPort}\n`);
    stream.isOpen = true;
    this.#streams.push(stream);
  }

  #takeFor(header: Header, payload: Buffer): void {
    const stream = this.#find(header.dstPort, header.srcPort);
    assert.ok(stream, 'a packet of a stream that there is');
    if (header.op === RESPONSE) {
      assert.equal(stream.isOpen, false, 'one answer');
      stream.isOpen = true;
    }
    assert.ok(stream.isOpen, 'nothing before the answer');
    assert.ok(header.fwdCnt <= stream.guestSent, 'no more is forwarded than was sent');
    if (header.op === SHUTDOWN && (header.flags & ShutdownFlag.SEND) !== 0) {
      assert.notEqual(stream.hostShutdown, 0, 'an end that the host made');
      const isOver = (stream.guestShutdown & ShutdownFlag.RECEIVE) !== 0 || stream.guestGot === stream.peerSent;
      assert.ok(isOver, 'the end comes after the last byte');
    }
    assert.deepEqual(payload, Buffer.from(bytesFrom(stream.guestGot, payload.length)), 'the guest gets what was sent');
    stream.guestGot += payload.length;
    assert.ok(stream.guestGot <= stream.peerSent);
    if (payload.length === 0) return;
    assert.ok(stream.guestGot - stream.fwdCnt <= stream.bufAlloc, 'the guest has room for all that it gets');
    assert.equal(stream.guestShutdown & ShutdownFlag.RECEIVE, 0, 'a guest that receives no more gets no more');
  }

  #find(guestPort: number, hostPort: number): Stream | undefined {
    return this.#streams.find((each) => each.guestPort === guestPort && each.hostPort === hostPort);
  }

  #forget(stream: Stream): void {
    const at = this.#streams.indexOf(stream);
    if (at >= 0) this.#streams.splice(at, 1);
  }

  [Symbol.dispose](): void {
    this.machine[Symbol.dispose]();
  }
}

function newStream(guestPort: number, hostPort: number, peer: Peer, bufAlloc: number): Stream {
  const counts = { peerSent: 0, peerRead: 0, guestSent: 0, guestGot: 0, fwdCnt: 0 };
  return { guestPort, hostPort, peer, isOpen: false, bufAlloc, ...counts, guestShutdown: 0, hostShutdown: 0 };
}

function vsockTarget(creditLie: number): FuzzTarget {
  return {
    name: 'virtio-vsock',
    run(random) {
      using model = new Model(random, creditLie);
      for (let count = 0; count < STEPS; count++) model.step();
    },
  };
}

export const target = vsockTarget(0);

/** Deliberately wrong: the guest says that it has room for a byte more than it has. */
export const canary = vsockTarget(1);
