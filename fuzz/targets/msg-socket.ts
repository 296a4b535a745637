import assert from 'node:assert/strict';
import { MsgError } from '#msg-socket/errors.ts';
import type { MessageType } from '#msg-socket/message-type.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { nothing } from '#msg-socket/scalars.ts';
import { encode, randomMessage } from '#msg-socket/testing.ts';
import { Fd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { MessageBuffer } from '#sys/message.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { mutate } from '../mutate.ts';
import { Random } from '../random.ts';
import { inputTarget, showBytes, shrinkBytes } from '../target.ts';

/** What a peer sends to a socket whose declaration is that of `declaration`, a seed. */
export interface Packet {
  readonly declaration: number;
  readonly bytes: Uint8Array;
  readonly fdCount: number;
}

/** Receives one message and gives up its descriptors: MsgSocket, or what a test takes for it. */
export type Receive = (socket: MsgSocket<never, object>) => unknown;

const FDS_MAX = 8;
/** A declaration's header, which mutations spare mostly, as without it nothing else is looked at. */
const HEADER_SIZE_BYTES = 4;

function declare(seed: number) {
  const random = new Random(seed);
  const choices = { below: (limit: number) => random.below(limit), word: () => random.u64() };
  return { choices, sample: randomMessage(choices) };
}

function generate(random: Random): Packet {
  const declaration = random.u32();
  const { choices, sample } = declare(declaration);
  let fdCount = 0;
  const value = sample.value(choices, () => {
    fdCount++;
    return FAKE_FD;
  });
  const { bytes } = encode(sample.type, value as object);
  if (random.oneIn(10)) return { declaration, bytes: mutate(bytes, random), fdCount: random.below(FDS_MAX) };
  const body = random.oneIn(3) ? bytes.slice(HEADER_SIZE_BYTES) : mutate(bytes.slice(HEADER_SIZE_BYTES), random);
  return {
    declaration,
    bytes: Buffer.concat([bytes.subarray(0, HEADER_SIZE_BYTES), body]),
    fdCount: random.oneIn(3) ? random.below(FDS_MAX) : Math.min(fdCount, FDS_MAX),
  };
}

/** Encoding only looks at it. */
const FAKE_FD = new Fd(1_000_000);

/** The lowest free descriptor: one that was left open moves it, as the kernel always hands out the lowest. */
function lowestFree(): number {
  const probe = new Fd(dup(0));
  using _probe = probe;
  return probe.fd;
}

function sendRaw(peer: Fd, bytes: Uint8Array, fdCount: number): void {
  const buffer = new MessageBuffer(Math.max(bytes.length, 1), FDS_MAX);
  buffer.bytes.set(bytes);
  const end = Array.from({ length: fdCount }, () => peer);
  assert.equal(buffer.send(peer, bytes.length, end, false), 0);
}

/** A message that was received is the packet, byte for byte; any other is a MsgError. No descriptor is left open. */
export function checkPacket({ declaration, bytes, fdCount }: Packet, receive: Receive): void {
  const { type } = declare(declaration).sample as { type: MessageType<object> };
  const [near, far] = socketpair(SocketType.SEQPACKET);
  using socket = new MsgSocket(new Fd(near), { send: nothing, recv: type });
  using peer = new Fd(far);
  sendRaw(peer, bytes, fdCount);
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
  return inputTarget<Packet>({
    name,
    generate,
    check: (packet) => checkPacket(packet, receive),
    show: ({ declaration, bytes, fdCount }) =>
      `declaration ${declaration}, ${fdCount} descriptors, ${showBytes(bytes)}`,
    *shrink(packet) {
      for (let fdCount = 0; fdCount < packet.fdCount; fdCount++) yield { ...packet, fdCount };
      for (const bytes of shrinkBytes(packet.bytes)) yield { ...packet, bytes };
    },
  });
}

export const target = messageTarget('msg-socket', (socket) => socket.recv());
