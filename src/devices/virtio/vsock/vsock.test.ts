import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { queryObjects } from 'node:v8';
import { Shutdown } from '#sys/socket.ts';
import { Connection } from './connection.ts';
import { BUFFER_BYTES, CONNECTIONS_MAX, HANDSHAKES_MAX, Operation, RESETS_MAX, ShutdownFlag } from './constants.ts';
import { CID, type Header, type Packet, type Peer, VsockMachine } from './testing.ts';
import { vsock } from './vsock.ts';

const { REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST } = Operation;
const GUEST_PORT = 1024;
const HOST_PORT = 52;
const PORTS = { srcPort: GUEST_PORT, dstPort: HOST_PORT };

const operations = (packets: readonly Packet[]): number[] => packets.map(({ header }) => header.op);
const text = (packets: readonly Packet[]): string => Buffer.concat(packets.map(({ payload }) => payload)).toString();

/** A connection that the guest began, with the host's end of it. */
function connected(machine: VsockMachine, changes: Partial<Header> = {}): Peer {
  machine.host.offered.add(HOST_PORT);
  machine.send({ ...PORTS, op: REQUEST, ...changes });
  assert.deepEqual(operations(machine.exchange()), [RESPONSE]);
  return machine.host.peers.at(-1) as Peer;
}

/** A connection that the host began: its end, and the port that the guest sees. */
function accepted(machine: VsockMachine): { peer: Peer; hostPort: number } {
  const peer = machine.host.connectFromHost();
  peer.send(`CONNECT ${GUEST_PORT}\n`);
  const [request] = machine.exchange();
  assert.equal(request?.header.op, REQUEST);
  const hostPort = request.header.srcPort;
  machine.send({ srcPort: GUEST_PORT, dstPort: hostPort, op: RESPONSE });
  machine.settle();
  assert.equal(peer.read()?.toString(), `OK ${hostPort}\n`);
  return { peer, hostPort };
}

describe('a socket device', () => {
  test('is what the specification and the policies call it', () => {
    using machine = new VsockMachine();
    assert.deepEqual([vsock.type, machine.device.deviceType, vsock.policy], [19, 19, 'vsock_device']);
    assert.deepEqual([vsock.queueSizes.length, machine.device.features()], [3, 0n]);
    const data = new Uint8Array(10);
    machine.device.readConfig(0, data);
    assert.deepEqual([...data], [CID, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('a guest reaches a port of the host, and bytes go both ways', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    assert.deepEqual(machine.host.asked, [HOST_PORT]);
    machine.send({ ...PORTS, op: RW }, Buffer.from('from the guest'));
    peer.send('from the host');
    const [packet] = machine.exchange();
    assert.equal(peer.read()?.toString(), 'from the guest');
    assert.equal(packet?.payload.toString(), 'from the host');
    const { header } = packet;
    assert.deepEqual([header.srcCid, header.dstCid, header.srcPort, header.dstPort], [2, CID, HOST_PORT, GUEST_PORT]);
    assert.deepEqual([header.len, header.type, header.bufAlloc, header.fwdCnt], [13, 1, BUFFER_BYTES, 14]);
  });

  test('a port where nobody listens is reset', () => {
    using machine = new VsockMachine();
    machine.send({ ...PORTS, op: REQUEST });
    machine.send({ ...PORTS, dstPort: 0xffff_ffff, op: REQUEST });
    assert.deepEqual(operations(machine.exchange()), [RST, RST]);
    assert.deepEqual(machine.host.asked, [HOST_PORT], 'the highest number is no port');
  });

  test('the host reaches a port of the guest; what follows its line is the stream', () => {
    using machine = new VsockMachine();
    const peer = machine.host.connectFromHost();
    peer.send(`CONNECT ${GUEST_PORT}\nearly`);
    const packets = machine.exchange();
    assert.deepEqual(operations(packets), [REQUEST]);
    const hostPort = packets[0]?.header.srcPort;
    assert.deepEqual([hostPort, packets[0]?.header.dstPort], [0x4000_0000, GUEST_PORT]);
    machine.send({ srcPort: GUEST_PORT, dstPort: hostPort as number, op: RESPONSE });
    assert.equal(text(machine.exchange()), 'early');
    assert.equal(peer.read()?.toString(), `OK ${hostPort}\n`);
  });

  test('a guest that refuses ends the host’s connection', () => {
    using machine = new VsockMachine();
    const peer = machine.host.connectFromHost();
    peer.send('CONNECT 5\n');
    const [request] = machine.exchange();
    machine.send({ srcPort: 5, dstPort: request?.header.srcPort as number, op: RST });
    assert.deepEqual(machine.exchange(), []);
    assert.equal(peer.read(), undefined);
  });

  for (const line of [
    'CONNECT\n',
    'CONNECT 4294967295\n',
    'CONNECT 01\n',
    'connect 1\n',
    'CONNECT 99999999999',
    '\n',
  ]) {
    test(`a peer of the host that says ${JSON.stringify(line)} is left`, () => {
      using machine = new VsockMachine();
      const peer = machine.host.connectFromHost();
      peer.send(line.padEnd(40, 'x'));
      assert.deepEqual(machine.exchange(), []);
      assert.equal(peer.read(), undefined);
    });
  }

  test('peers that say nothing do not keep others out', () => {
    using machine = new VsockMachine();
    const silent = Array.from({ length: HANDSHAKES_MAX }, () => machine.host.connectFromHost());
    machine.settle();
    const peer = machine.host.connectFromHost();
    peer.send('CONNECT 5\n');
    assert.deepEqual(operations(machine.exchange()), [REQUEST]);
    assert.deepEqual([silent[0]?.read(), silent[1]?.read()?.length], [undefined, 0]);
  });
});

describe('the end of a stream', () => {
  test('the host’s half is told after its last byte, and the guest’s goes on', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    peer.send('last');
    peer.shutdown(Shutdown.WRITE);
    const packets = machine.exchange();
    assert.deepEqual(operations(packets), [RW, SHUTDOWN]);
    assert.equal(packets[1]?.header.flags, ShutdownFlag.SEND);
    machine.send({ ...PORTS, op: RW }, Buffer.from('answer'));
    machine.settle();
    assert.equal(peer.read()?.toString(), 'answer');
  });

  test('a host that has closed is told as both halves, after its last byte', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    peer.send('last');
    peer[Symbol.dispose]();
    const packets = machine.exchange();
    assert.equal(text(packets), 'last');
    assert.equal(packets.at(-1)?.header.flags, ShutdownFlag.BOTH);
    machine.send({ ...PORTS, op: RST });
    assert.deepEqual(machine.exchange(), []);
  });

  test('the guest’s half ends the host’s reading, after its last byte', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    machine.send({ ...PORTS, op: RW }, Buffer.from('last'));
    machine.send({ ...PORTS, op: SHUTDOWN, flags: ShutdownFlag.SEND });
    peer.send('answer');
    assert.equal(text(machine.exchange()), 'answer');
    assert.equal(peer.read()?.toString(), 'last');
    assert.equal(peer.read(), undefined);
    machine.send({ ...PORTS, op: RW }, Buffer.from('more'));
    assert.deepEqual(operations(machine.exchange()), [RST], 'after its end a guest has nothing to send');
  });

  test('a host that has closed is told of to a guest that no longer receives', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    peer.send('unread');
    machine.settle();
    machine.takePackets();
    machine.send({ ...PORTS, op: SHUTDOWN, flags: ShutdownFlag.RECEIVE });
    machine.settle();
    assert.throws(() => peer.send('too late'), { code: 'ERR_ASSERTION' });
    peer[Symbol.dispose]();
    assert.deepEqual(
      machine.exchange().map(({ header }) => [header.op, header.flags]),
      [[SHUTDOWN, ShutdownFlag.BOTH]],
    );
  });

  test('a guest that has closed both halves is confirmed, and the host gets all that was sent', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    const sent = fillUp(machine);
    machine.send({ ...PORTS, op: SHUTDOWN, flags: ShutdownFlag.BOTH });
    assert.equal(machine.exchange().at(-1)?.header.op, RST);
    let got = 0;
    for (let bytes = peer.read(); bytes !== undefined; bytes = peer.read()) {
      got += bytes.length;
      machine.settle(2);
    }
    assert.equal(got, sent);
    assert.deepEqual(operations(connectedAgain(machine)), [RESPONSE], 'the ports are free again');
  });

  test('an RST of the guest ends the host’s stream at once', () => {
    using machine = new VsockMachine();
    const { peer, hostPort } = accepted(machine);
    machine.send({ srcPort: GUEST_PORT, dstPort: hostPort, op: RST });
    assert.deepEqual(machine.exchange(), []);
    assert.equal(peer.read(), undefined);
  });

  test('a reset of the device closes every socket', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    const waiting = machine.host.connectFromHost();
    machine.settle();
    machine.worker[Symbol.dispose]();
    assert.deepEqual([peer.read(), waiting.read()], [undefined, undefined]);
  });
});

function connectedAgain(machine: VsockMachine): Packet[] {
  machine.send({ ...PORTS, op: REQUEST });
  return machine.exchange();
}

/** Sends as much as the device gives credit for while the host does not read; returns how much that was. */
function fillUp(machine: VsockMachine): number {
  let [sent, forwarded] = [0, 0];
  while (sent - forwarded < BUFFER_BYTES) {
    const size = Math.min(0x4000, BUFFER_BYTES - (sent - forwarded));
    machine.send({ ...PORTS, op: RW }, new Uint8Array(size));
    machine.send({ ...PORTS, op: CREDIT_REQUEST });
    sent += size;
    for (const { header } of machine.exchange()) forwarded = header.fwdCnt;
  }
  return sent;
}

describe('credit', () => {
  test('the host’s bytes wait for the guest’s credit, which is asked for once', () => {
    using machine = new VsockMachine();
    const peer = connected(machine, { bufAlloc: 4 });
    peer.send('abcdefgh');
    const packets = machine.exchange();
    assert.deepEqual([text(packets), ...operations(packets)], ['abcd', RW, CREDIT_REQUEST]);
    assert.deepEqual(machine.exchange(), []);
    machine.send({ ...PORTS, op: CREDIT_UPDATE, bufAlloc: 4, fwdCnt: 3 });
    assert.equal(text(machine.exchange()), 'efg');
    machine.send({ ...PORTS, op: CREDIT_UPDATE, bufAlloc: 2, fwdCnt: 4 });
    assert.equal(text(machine.exchange()), '', 'room that was taken back');
    machine.send({ ...PORTS, op: CREDIT_UPDATE, bufAlloc: 2, fwdCnt: 0xffff_0000 });
    assert.equal(text(machine.exchange()), '', 'a count of bytes that were never sent');
    machine.send({ ...PORTS, op: CREDIT_UPDATE, bufAlloc: 100, fwdCnt: 7 });
    assert.equal(text(machine.exchange()), 'h');
  });

  test('a guest is told of room when half the buffer has gone on, and when it asks', () => {
    using machine = new VsockMachine();
    connected(machine);
    machine.send({ ...PORTS, op: RW }, new Uint8Array(BUFFER_BYTES / 2 - 1));
    assert.deepEqual(machine.exchange(), []);
    machine.send({ ...PORTS, op: RW }, new Uint8Array(1));
    const [update] = machine.exchange();
    assert.deepEqual([update?.header.op, update?.header.fwdCnt], [CREDIT_UPDATE, BUFFER_BYTES / 2]);
    machine.send({ ...PORTS, op: CREDIT_REQUEST });
    assert.deepEqual(operations(machine.exchange()), [CREDIT_UPDATE]);
  });

  test('a host that does not read stalls its own stream only, and loses nothing', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    const sent = fillUp(machine);
    const other = { srcPort: 7, dstPort: HOST_PORT };
    machine.send({ ...other, op: REQUEST });
    machine.settle();
    machine.send({ ...other, op: RW }, Buffer.from('through'));
    machine.exchange();
    assert.equal(machine.host.peers.at(-1)?.read()?.toString(), 'through');
    let got = 0;
    for (let bytes = peer.read(); bytes && bytes.length > 0; bytes = peer.read()) {
      got += bytes.length;
      machine.settle(2);
    }
    assert.equal(got, sent);
    assert.equal(machine.exchange().at(-1)?.header.op, CREDIT_UPDATE);
  });

  test('a guest that sends more than it has credit for is reset', () => {
    using machine = new VsockMachine();
    const peer = connected(machine);
    fillUp(machine);
    machine.send({ ...PORTS, op: RW }, new Uint8Array(1));
    assert.deepEqual(operations(machine.exchange()), [RST]);
    machine.send({ ...PORTS, op: RW }, new Uint8Array(1));
    assert.deepEqual(operations(machine.exchange()), [RST]);
    while (peer.read()?.length);
    assert.equal(peer.read(), undefined);
  });
});

describe('a hostile guest', () => {
  for (const [name, header, answer] of [
    ['bytes without a connection', { ...PORTS, op: RW }, [RST]],
    ['an answer to nothing', { ...PORTS, op: RESPONSE }, [RST]],
    ['an end of nothing', { ...PORTS, op: SHUTDOWN, flags: 3 }, [RST]],
    ['an unknown operation', { ...PORTS, op: 77 }, [RST]],
    ['another type of socket', { ...PORTS, op: REQUEST, type: 2 }, [RST]],
    ['another machine', { ...PORTS, op: REQUEST, dstCid: 9 }, [RST]],
    ['a reset of nothing', { ...PORTS, op: RST }, []],
    ['a reset of another machine', { ...PORTS, op: RST, dstCid: 9 }, []],
    ["somebody else's name", { ...PORTS, op: REQUEST, srcCid: 4 }, []],
  ] as const) {
    test(`${name} gets ${answer.length === 0 ? 'no answer' : 'an RST'}`, () => {
      using machine = new VsockMachine();
      machine.host.offered.add(HOST_PORT);
      machine.send(header);
      const packets = machine.exchange();
      assert.deepEqual(operations(packets), answer);
      for (const { header: sent } of packets) {
        assert.deepEqual([sent.srcPort, sent.dstPort, sent.dstCid], [HOST_PORT, GUEST_PORT, CID]);
      }
      assert.deepEqual([machine.host.asked, machine.interrupt.resets], [[], []]);
    });
  }

  for (const [name, header, payload] of [
    ['a length past the packet', { op: RW, len: 11 }, 10],
    ['a length past every packet', { op: RW, len: 0xffff_ffff }, 10],
    ['a second request', { op: REQUEST }, 0],
    ['a response of the side that asked', { op: RESPONSE }, 0],
    ['an unknown operation', { op: 0 }, 0],
  ] as const) {
    test(`on a connection ${name} is reset`, () => {
      using machine = new VsockMachine();
      const peer = connected(machine);
      machine.send({ ...PORTS, ...header }, new Uint8Array(payload));
      assert.deepEqual(operations(machine.exchange()), [RST]);
      assert.equal(peer.read(), undefined);
    });
  }

  test('bytes before the answer to its request are reset', () => {
    using machine = new VsockMachine({ buffers: 0 });
    machine.host.offered.add(HOST_PORT);
    machine.send({ ...PORTS, op: REQUEST });
    machine.send({ ...PORTS, op: RW }, Buffer.from('early'));
    machine.settle();
    machine.addBuffers(4);
    assert.deepEqual(operations(machine.exchange()), [RST]);
  });

  test('a packet shorter than its header comes back, and nothing else', () => {
    using machine = new VsockMachine();
    machine.sendRaw(new Uint8Array(43));
    machine.transmit.add({ writableBytes: 100 });
    assert.deepEqual(machine.exchange(), []);
    assert.deepEqual(machine.interrupt.resets, []);
  });

  test('buffers without room for a packet come back empty', () => {
    using machine = new VsockMachine({ buffers: 0 });
    machine.addBuffers(2, 44);
    machine.addBuffers(1);
    machine.send({ ...PORTS, op: RW });
    machine.settle();
    assert.deepEqual([machine.receive.takeUsed()?.length, machine.receive.takeUsed()?.length], [0, 0]);
    assert.equal(machine.receive.takeUsed()?.length, 44);
  });

  test('a flood of packets whose answers it does not take stops at a bound, and goes on when it takes them', () => {
    using machine = new VsockMachine({ buffers: 0 });
    let sent = 0;
    for (let batch = 0; batch < RESETS_MAX / 16 + 4; batch++) {
      for (let count = 0; count < 16 && sent - machine.transmit.usedIndex < 16; count++, sent++) {
        machine.send({ ...PORTS, op: RW });
      }
      machine.settle(2);
    }
    assert.equal(machine.transmit.usedIndex, RESETS_MAX);
    let answers = 0;
    machine.addBuffers(16);
    for (let packets = machine.exchange(); packets.length > 0; packets = machine.exchange()) answers += packets.length;
    assert.deepEqual([machine.transmit.usedIndex, answers], [sent, sent]);
  });

  test('connections that end before the guest takes their answers leave nothing behind', () => {
    using machine = new VsockMachine({ buffers: 0 });
    machine.host.offered.add(HOST_PORT);
    for (let srcPort = 0; srcPort < 64; srcPort++) {
      for (const op of [REQUEST, RST]) machine.send({ srcPort, dstPort: HOST_PORT, op });
      machine.settle(2);
    }
    assert.equal(machine.host.asked.length, 64);
    assert.ok(queryObjects(Connection, { format: 'count' }) < 32);
    machine.addBuffers(16);
    assert.deepEqual(machine.exchange(), []);
  });

  test('connections have a bound; one whose host has left makes room', () => {
    using machine = new VsockMachine();
    machine.host.offered.add(HOST_PORT);
    const request = (srcPort: number): number[] => {
      machine.send({ srcPort, dstPort: HOST_PORT, op: REQUEST });
      return operations(machine.exchange());
    };
    for (let port = 0; port < CONNECTIONS_MAX; port++) assert.deepEqual(request(port), [RESPONSE]);
    assert.deepEqual(request(9999), [RST]);
    machine.host.peers[17]?.[Symbol.dispose]();
    assert.equal(machine.exchange()[0]?.header.op, SHUTDOWN);
    assert.deepEqual(request(9999), [RST, RESPONSE]);
  });
});
