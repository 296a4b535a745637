import assert from 'node:assert/strict';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { encode } from '#msg-socket/testing.ts';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { VmRequest, VmResponse } from '#vm-control/vm-request.ts';
import { ControlServer } from '#vmm/control-server.ts';
import { lowestFree, mutatePacket, type Packet, sendPacket, showPacket, shrinkPacket } from '../packets.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

/** What a hostile client sends to the control socket of a machine, one message after the other. */
interface Conversation {
  readonly packets: readonly Packet[];
}

const PACKETS_MAX = 6;
const REQUESTS: readonly VmRequest[] = [
  { kind: 'hello', version: 1 },
  { kind: 'hello', version: 1 },
  { kind: 'status' },
  { kind: 'stop' },
  { kind: 'powerButton' },
  { kind: 'suspend' },
  { kind: 'resume' },
  { kind: 'balloon', sizeBytes: 2 ** 30 },
  { kind: 'balloonStats' },
  { kind: 'diskResize', index: 1, sizeBytes: 2 ** 40 },
];
const DEEDS: ReadonlySet<string> = new Set(['stop', 'powerButton', 'suspend', 'resume', 'balloon', 'diskResize']);
const STATUS = { state: 'running', pid: 7, version: '1', hypervisor: 'x', cpus: 1, memoryMib: 32, uptimeMs: 5 };

/** By number, docs/control-socket.md: what follows it in bytes. */
const KINDS = [
  ...(['hello', 'status', 'stop', 'powerButton', 'suspend', 'resume'] as const),
  ...(['balloon', 'balloonStats', 'diskResize'] as const),
];
const FIELDS_BYTES: Readonly<Partial<Record<string, number>>> = { hello: 2, balloon: 8, diskResize: 12 };
const FIELDS_AT = 5;

/** The request that is answered by something else than an error, if the bytes are one. */
function meant(bytes: Uint8Array): (typeof KINDS)[number] | undefined {
  const buffer = Buffer.from(bytes);
  if (buffer.length < FIELDS_AT || buffer.toString('latin1', 0, 4) !== 'CVMQ') return undefined;
  const kind = KINDS[buffer.readUInt8(4)];
  if (kind === undefined || buffer.length !== FIELDS_AT + (FIELDS_BYTES[kind] ?? 0)) return undefined;
  if (kind === 'hello' && buffer.readUInt16LE(FIELDS_AT) !== 1) return undefined;
  const sizeAt = kind === 'balloon' ? FIELDS_AT : kind === 'diskResize' ? FIELDS_AT + 4 : undefined;
  if (sizeAt !== undefined && buffer.readBigUInt64LE(sizeAt) > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return kind;
}

function generate(random: Random): Conversation {
  const packets = Array.from({ length: 1 + random.below(PACKETS_MAX) }, () => {
    const { bytes } = encode(VmRequest, random.pick(REQUESTS));
    return random.oneIn(2) ? { bytes, fdCount: 0 } : mutatePacket(bytes, 0, random);
  });
  return { packets };
}

/** A machine acts on what the protocol's client could have sent after its hello, and on nothing else; every message is answered. */
function check({ packets }: Conversation): void {
  const before = lowestFree();
  const done: string[] = [];
  {
    using listener = EventFd.create();
    using server = new ControlServer({
      listener,
      clock: { nowNs: () => 0, wallMs: () => 0 },
      ownerUid: process.geteuid?.() ?? 0,
      handlers: {
        status: () => STATUS,
        stop: () => void done.push('stop'),
        powerButton: () => void done.push('powerButton'),
        suspend: (answer) => {
          done.push('suspend');
          answer();
        },
        resume: () => void done.push('resume'),
        balloon: () => void done.push('balloon'),
        diskResize: () => void done.push('diskResize'),
        balloonStats: () => ({ targetBytes: 1, actualBytes: 2, sequence: 3, stats: {} }),
      },
    });
    const [near, far] = socketpair(SocketType.SEQPACKET);
    server.add(new Fd(near));
    using peer = new Fd(far);
    const client = new MsgSocket<VmRequest, VmResponse>({ borrowed: peer }, { send: VmRequest, recv: VmResponse });
    converse(packets, { server, peer, client, done });
  }
  assert.equal(lowestFree(), before, 'a descriptor is left open');
}

interface Ends {
  readonly server: ControlServer;
  readonly peer: Fd;
  readonly client: MsgSocket<VmRequest, VmResponse>;
  readonly done: readonly string[];
}

function converse(packets: readonly Packet[], { server, peer, client, done }: Ends): void {
  let saidHello = false;
  const expected: string[] = [];
  for (const packet of packets) {
    sendPacket(peer, packet);
    server.turn();
    const response = client.tryRecv();
    assert.ok(response, 'an answer');
    const request = packet.fdCount === 0 ? meant(packet.bytes) : undefined;
    if (request === 'hello') saidHello = true;
    if (saidHello && request !== undefined && DEEDS.has(request)) expected.push(request);
    assert.equal(response.kind === 'error', request === undefined || !saidHello, JSON.stringify(response));
    assert.deepEqual(done, expected);
    if (response.kind === 'error' && (response.code === 'BAD_REQUEST' || response.code === 'HELLO_FIRST')) {
      assert.equal(client.tryRecv(), null, 'the end');
      return;
    }
  }
}

function* shrink({ packets }: Conversation): Iterable<Conversation> {
  for (let at = 0; at < packets.length; at++) yield { packets: packets.toSpliced(at, 1) };
  for (const [at, packet] of packets.entries()) {
    for (const smaller of shrinkPacket(packet)) yield { packets: packets.with(at, smaller) };
  }
}

export const target = inputTarget<Conversation>({
  name: 'control',
  generate,
  check,
  show: ({ packets }) => packets.map(showPacket).join('; '),
  shrink,
});
