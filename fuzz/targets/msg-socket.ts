import assert from 'node:assert/strict';
import { MsgError } from '#msg-socket/errors.ts';
import type { MessageType } from '#msg-socket/message-type.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { nothing } from '#msg-socket/scalars.ts';
import { encode, randomMessage } from '#msg-socket/testing.ts';
import { Fd } from '#sys/fd.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { lowestFree, mutatePacket, type Packet, sendPacket, showPacket, shrinkPacket } from '../packets.ts';
import { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

/** What a peer sends to a socket whose declaration is that of `declaration`, a seed. */
export interface Message extends Packet {
  readonly declaration: number;
}

/** Receives one message and gives up its descriptors: MsgSocket, or what a test takes for it. */
export type Receive = (socket: MsgSocket<never, object>) => unknown;

function declare(seed: number) {
  const random = new Random(seed);
  const choices = { below: (limit: number) => random.below(limit), word: () => random.u64() };
  return { choices, sample: randomMessage(choices) };
}

function generate(random: Random): Message {
  const declaration = random.u32();
  const { choices, sample } = declare(declaration);
  let fdCount = 0;
  const value = sample.value(choices, () => {
    fdCount++;
    return FAKE_FD;
  });
  const { bytes } = encode(sample.type, value as object);
  return { declaration, ...mutatePacket(bytes, fdCount, random) };
}

/** Encoding only looks at it. */
const FAKE_FD = new Fd(1_000_000);

/** A message that was received is the packet, byte for byte; any other is a MsgError. No descriptor is left open. */
export function checkMessage({ declaration, ...packet }: Message, receive: Receive): void {
  const { type } = declare(declaration).sample as { type: MessageType<object> };
  checkPacket(type, packet, receive);
}

/** The same of one declaration, whose values have one form on the wire each. */
export function checkPacket(type: MessageType<object>, { bytes, fdCount }: Packet, receive: Receive): void {
  const [near, far] = socketpair(SocketType.SEQPACKET);
  using socket = new MsgSocket(new Fd(near), { send: nothing, recv: type });
  using peer = new Fd(far);
  sendPacket(peer, { bytes, fdCount });
  const before = lowestFree();
  try {
    const value = receive(socket) as object;
    const again = encode(type, value);
    assert.deepEqual([...again.bytes], [...bytes]);
    assert.equal(again.fds.length, fdCount);
  } catch (error) {
    if (!(error instanceof MsgError)) throw error;
  } finally {
    socket.closeReceived();
  }
  assert.equal(lowestFree(), before, 'a descriptor is left open');
  assert.equal(socket.tryRecv(), undefined);
}

/** The target for any receiver; `name` is its file's. */
export function messageTarget(name: string, receive: Receive) {
  return inputTarget<Message>({
    name,
    generate,
    check: (message) => checkMessage(message, receive),
    show: (message) => `declaration ${message.declaration}, ${showPacket(message)}`,
    shrink: shrinkPacket,
  });
}

export const target = messageTarget('msg-socket', (socket) => socket.recv());
