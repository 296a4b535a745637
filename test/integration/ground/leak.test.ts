import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { GuestMemory } from '#memory/guest-memory.ts';
import { MemoryMapping } from '#memory/memory-mapping.ts';
import { SharedMemory } from '#memory/shared-memory.ts';
import { fixedArray, struct } from '#msg-socket/composites.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, nothing } from '#msg-socket/scalars.ts';
import { EpollContext } from '#poll/epoll-context.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { SignalPipe } from '#poll/signal-fd.ts';
import { TimerFd } from '#poll/timer-fd.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { Signal } from '#sys/signal.ts';
import { SocketType, socket, socketpair } from '#sys/socket.ts';
import { u64 } from '#util/struct.ts';

const COUNT = 10_000;
const PAGE = 4096;

const WithFd = struct({ fd: descriptor });
const messagePair = MsgSocket.pair({ send: WithFd, recv: nothing });
/** The receiver is of another declaration, which has room for the descriptor too. */
const wrongPair = ((): [MsgSocket<{ fd: Fd }, never>, MsgSocket<never, object>] => {
  const [first, second] = socketpair(SocketType.SEQPACKET);
  const recv = struct({ fds: fixedArray(descriptor, 2) });
  return [
    new MsgSocket(new Fd(first), { send: WithFd, recv: nothing }),
    new MsgSocket(new Fd(second), { send: nothing, recv }),
  ];
})();
const EchoFd = protocol({ echo: request(descriptor, descriptor) });

/** Opens and closes one of each kind. */
const KINDS: Readonly<Record<string, () => void>> = {
  'open file': () => Fd.open('/dev/null', OpenFlag.RDWR).close(),
  duplicate: () => {
    using file = Fd.open('/dev/null');
    file.duplicate().close();
  },
  pipe: () => {
    const { reader, writer } = openPipe();
    reader.close();
    writer.close();
  },
  socket: () => new Fd(socket(SocketType.STREAM)).close(),
  'socket pair': () => {
    for (const fd of socketpair(SocketType.SEQPACKET)) new Fd(fd).close();
  },
  'MsgSocket pair with a message unread': () => {
    const [sender, receiver] = MsgSocket.pair({ send: WithFd, recv: nothing });
    sender.send({ fd: Fd.open('/dev/null') });
    sender.close();
    receiver.close();
  },
  'descriptor in a message': () => {
    const [sender, receiver] = messagePair;
    sender.send({ fd: Fd.open('/dev/null') });
    receiver.recv()?.fd.close();
  },
  'descriptor in a message of the wrong kind': () => {
    const [sender, receiver] = wrongPair;
    sender.send({ fd: Fd.open('/dev/null') });
    assert.throws(() => receiver.recv(), { code: 'WRONG_KIND' });
  },
  'ends of a protocol': () => {
    const ends = EchoFd.pair();
    using server = EchoFd.server(ends.server, { echo: (fd) => fd });
    EchoFd.client(ends.client).close();
    assert.equal(server.serveOne(), false);
  },
  EventFd: () => EventFd.create().close(),
  TimerFd: () => new TimerFd().close(),
  SignalPipe: () => new SignalPipe([Signal.SIGUSR2]).close(),
  EpollContext: () => new EpollContext(u64).close(),
  'PollContext with a descriptor': () => {
    using poll = new PollContext(namedTokens('event'));
    using event = EventFd.create();
    poll.add(event, 'event');
    poll.remove(event);
  },
  SharedMemory: () => SharedMemory.create('leak', PAGE).close(),
  'anonymous mapping': () => MemoryMapping.anonymous(PAGE).close(),
  'shared mapping': () => {
    using memory = SharedMemory.create('leak', PAGE);
    memory.map().close();
  },
  GuestMemory: () => GuestMemory.create([{ start: 0, sizeBytes: PAGE }]).close(),
  'GuestMemory with a clone': () => {
    using memory = GuestMemory.create([{ start: 0, sizeBytes: PAGE }]);
    memory.clone().close();
  },
};

const descriptors = (): string[] => readdirSync('/proc/self/fd').sort();
/** Mappings that are not the heap's: of files and memfds by name, and shared ones. */
const mappings = (): string[] =>
  readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => /memfd:|leak|guest-ram|anon_inode/.test(line) || / r..s /.test(line));
const mappingCount = (): number => readFileSync('/proc/self/maps', 'latin1').split('\n').length;

for (const [name, openAndClose] of Object.entries(KINDS)) {
  test(`${COUNT} of ${name} leave no descriptor and no mapping`, () => {
    // What the first use sets up for good.
    openAndClose();
    const before = { descriptors: descriptors(), mappings: mappings(), count: mappingCount() };
    for (let i = 0; i < COUNT; i++) openAndClose();
    assert.deepEqual(descriptors(), before.descriptors);
    assert.deepEqual(mappings(), before.mappings);
    // The garbage collector maps and unmaps as it likes, but not a mapping for every one of ten thousand.
    assert.ok(mappingCount() < before.count + COUNT / 20, `${before.count} mappings before, ${mappingCount()} after`);
  });
}
