import assert from 'node:assert/strict';
import { MsgError } from '#msg-socket/errors.ts';
import { posted, protocol, RemoteError, request } from '#msg-socket/protocol.ts';
import { randomMessage } from '#msg-socket/testing.ts';
import { Fd } from '#sys/fd.ts';
import { MESSAGE_FDS_MAX, MessageBuffer } from '#sys/message.ts';
import { Shutdown, shutdown } from '#sys/socket.ts';
import { CodedError } from '#util/errors.ts';
import { lowestFree, mutatePacket, type Packet, sendPacket, showPacket, shrinkPacket } from '../packets.ts';
import { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

/** What a hostile client sends to a server, or a hostile server to a client. */
interface ProtocolPacket extends Packet {
  /** A seed. */
  readonly declaration: number;
  readonly to: 'server' | 'client';
}

/** After the signature and the sequence number. Three requests, a failure, and one that is none. */
const TAG_OFFSET = 8;
const TAGS = 5;
const ROOM = { sizeBytes: 2 ** 16 + 16, fds: MESSAGE_FDS_MAX };

const openNull = (): Fd => Fd.open('/dev/null');

/** A protocol with values for its first request and its response. */
function declare(seed: number) {
  const random = new Random(seed);
  const choices = { below: (limit: number) => random.below(limit), word: () => random.u64() };
  const [asked, answered, told] = [randomMessage(choices), randomMessage(choices), randomMessage(choices)];
  const ask = request(asked.type, answered.type);
  // The response to `also` is one to `ask` in all but its tag.
  const requests = { ask, also: ask, tell: posted(told.type) };
  return {
    declared: protocol(requests),
    question: () => asked.value(choices, openNull) as object,
    answer: () => answered.value(choices, openNull) as object,
  };
}

type Declared = ReturnType<typeof declare>;

/** What comes at `peer`; its descriptors are closed. */
function receivePacket(peer: { readonly fd: number }): Packet {
  const buffer = new MessageBuffer(ROOM.sizeBytes, ROOM.fds);
  const size = buffer.receive(peer, false);
  assert.ok(size > 0);
  const { fdCount } = buffer;
  buffer.closeReceived();
  return { bytes: buffer.bytes.slice(0, size), fdCount };
}

/** A request as a client sends it. */
function validRequest({ declared, question }: Declared): Packet {
  const ends = declared.pair();
  using peer = ends.server;
  using client = declared.client(ends.client);
  // No response, so that the call ends at once.
  sendPacket(peer, { bytes: Uint8Array.of(0), fdCount: 0 });
  assert.throws(() => client.ask(question()), MsgError);
  return receivePacket(peer);
}

/** A response as a server sends it, or a refusal. */
function validResponse(declaration: Declared, isRefused: boolean): Packet {
  const { declared, answer } = declaration;
  const { bytes, fdCount } = validRequest(declaration);
  const ends = declared.pair();
  using peer = ends.client;
  const ask = (asked: object): object => {
    closeAll(asked);
    return isRefused ? refuse() : answer();
  };
  using server = declared.server(ends.server, { ask, also: ask, tell: () => undefined });
  const buffer = new MessageBuffer(bytes.length, fdCount);
  buffer.bytes.set(bytes);
  const fds = Array.from({ length: fdCount }, openNull);
  assert.equal(buffer.send(peer, bytes.length, fds, false), 0);
  for (const fd of fds) fd.close();
  server.tryServeOne();
  return receivePacket(peer);
}

function refuse(): never {
  throw new CodedError('REFUSED', 'no');
}

/** Closes every descriptor in a value. */
function closeAll(value: unknown): void {
  if (value instanceof Fd) value.close();
  else if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) closeAll(part);
}

/** A request is served, refused or a MsgError. */
function checkServer(packet: ProtocolPacket): void {
  const { declared } = declare(packet.declaration);
  const ends = declared.pair();
  using peer = ends.client;
  using server = declared.server(ends.server, { ask: refuse, also: refuse, tell: refuse });
  sendPacket(peer, packet);
  const before = lowestFree();
  try {
    assert.equal(server.tryServeOne(), true);
    receivePacket(peer);
  } catch (error) {
    if (!(error instanceof MsgError) && !(error instanceof CodedError && error.code === 'REFUSED')) throw error;
  }
  assert.equal(lowestFree(), before, 'a descriptor is left open');
}

/** A call gives the response, a RemoteError or a MsgError. */
function checkClient(packet: ProtocolPacket): void {
  const { declared, question } = declare(packet.declaration);
  const ends = declared.pair();
  using peer = ends.server;
  using client = declared.client(ends.client);
  sendPacket(peer, packet);
  // Who waits for another response meets the end instead.
  shutdown(peer.fd, Shutdown.WRITE);
  const before = lowestFree();
  try {
    closeAll(client.ask(question()));
  } catch (error) {
    if (!(error instanceof MsgError || error instanceof RemoteError)) throw error;
    assert.doesNotMatch(error.message, /\p{Cc}/u);
  }
  receivePacket(peer);
  assert.equal(lowestFree(), before, 'a descriptor is left open');
}

export const target = inputTarget<ProtocolPacket>({
  name: 'protocol',
  generate(random) {
    const declaration = random.u32();
    const declared = declare(declaration);
    const to = random.pick(['server', 'client'] as const);
    const valid = to === 'server' ? validRequest(declared) : validResponse(declared, random.oneIn(2));
    if (random.oneIn(8)) valid.bytes[TAG_OFFSET] = random.below(TAGS);
    return { declaration, to, ...mutatePacket(valid.bytes, valid.fdCount, random) };
  },
  check: (packet) => (packet.to === 'server' ? checkServer(packet) : checkClient(packet)),
  show: (packet) => `declaration ${packet.declaration} to the ${packet.to}, ${showPacket(packet)}`,
  shrink: shrinkPacket,
});
