/** What comes to the warden and from it: the messages of its socket, changed in all ways. */
import { BASE_JAIL } from '#jail/jail-config.ts';
import { WardenReply, WardenRequest } from '#jail/warden-wire.ts';
import type { MessageType } from '#msg-socket/message-type.ts';
import { encode } from '#msg-socket/testing.ts';
import { Fd } from '#sys/fd.ts';
import { mutatePacket, type Packet, showPacket, shrinkPacket } from '../packets.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';
import { checkPacket } from './msg-socket.ts';

interface WardenPacket extends Packet {
  readonly isReply: boolean;
}

/** Encoding only looks at it. */
const FAKE_FD = new Fd(1_000_000);

const ROOTS = ['empty', 'host', { folder: '/srv/shared', readOnly: true }] as const;

function requestOf(random: Random): WardenRequest {
  if (random.oneIn(10)) return { kind: 'guestMemory', memfd: FAKE_FD };
  const map = [{ inside: 0, outside: random.u32(), count: 1 }];
  const jail = {
    ...BASE_JAIL,
    root: random.pick(ROOTS),
    ...(random.oneIn(2) && { uidMap: map, gidMap: map, capabilities: random.below(2 ** 30) }),
    ...(random.oneIn(2) && { seccomp: new Uint8Array(8 * random.below(20)), denied: 'kill' as const }),
  };
  return {
    kind: 'fork',
    id: random.u32(),
    device: 'block',
    name: 'block0',
    jail,
    usesGuestMemory: random.oneIn(2),
    parameters: new Uint8Array(random.below(50)),
    socket: FAKE_FD,
    fds: new Array<Fd>(random.below(7)).fill(FAKE_FD),
  };
}

function replyOf(random: Random): WardenReply {
  const id = random.u32();
  return random.pick<WardenReply>([
    { kind: 'forked', id, pid: random.u32(), pidfd: FAKE_FD },
    { kind: 'refused', id, message: 'no device of this name' },
    { kind: 'ready', id },
    { kind: 'notJailed', id, refusal: { step: 'limits', errno: random.below(200), message: 'EPERM' } },
    { kind: 'denied', id, call: random.below(500) },
    { kind: 'ended', id, status: random.oneIn(2) ? { signal: 31 } : { exitCode: 1 } },
  ]);
}

function generate(random: Random): WardenPacket {
  const isReply = random.oneIn(3);
  const { bytes, fds } = isReply ? encode(WardenReply, replyOf(random)) : encode(WardenRequest, requestOf(random));
  return { isReply, ...mutatePacket(bytes, fds.length, random) };
}

export const target = inputTarget<WardenPacket>({
  name: 'warden',
  generate,
  check: ({ isReply, ...packet }) => {
    const type: MessageType<object> = isReply ? WardenReply : WardenRequest;
    checkPacket(type, packet, (socket) => socket.recv());
  },
  show: (packet) => `${packet.isReply ? 'reply' : 'request'}, ${showPacket(packet)}`,
  shrink: shrinkPacket,
});
