import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { arrayUpTo, fixedArray, optional, struct } from '#msg-socket/composites.ts';
import { MESSAGE_BYTES_MAX } from '#msg-socket/message-type.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { bytesUpTo, descriptor, fixedBytes, nothing, textUpTo, u8, u32, u64AsNumber } from '#msg-socket/scalars.ts';
import { encode, randomMessage } from '#msg-socket/testing.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { FcntlCommand, fcntl, read, write } from '#sys/file.ts';
import { MESSAGE_FDS_MAX, MessageBuffer } from '#sys/message.ts';
import { SocketType, shutdown, socketpair } from '#sys/socket.ts';
import { Random } from '../../../fuzz/random.ts';
import { openFds } from './open-fds.ts';

const Command = struct({ id: u32, name: textUpTo(16), fd: optional(descriptor) });
const Answer = struct({ sizeBytes: u64AsNumber });
const FD_CLOEXEC = 1;

let fdsBefore: string[];
before(() => {
  // What the first uses set up for good.
  for (const end of MsgSocket.pair({ send: Command, recv: Answer })) end.close();
  fdsBefore = openFds();
});
after(() => assert.deepEqual(openFds(), fdsBefore));

/** A socket for `type` and the peer's bare descriptor, which can send anything. */
function withRawPeer(type: typeof Command): { socket: MsgSocket<never, object>; peer: Fd } {
  const [near, far] = socketpair(SocketType.SEQPACKET);
  return { socket: new MsgSocket(new Fd(near), { send: nothing, recv: type }), peer: new Fd(far) };
}

function sendRaw(peer: Fd, bytes: Uint8Array, fds: readonly Fd[] = []): void {
  const buffer = new MessageBuffer(Math.max(bytes.length, 1), MESSAGE_FDS_MAX);
  buffer.bytes.set(bytes);
  assert.equal(buffer.send(peer, bytes.length, fds, false), 0);
}

describe('messages', () => {
  test('pass in both directions, in order, with their bounds', () => {
    const [requester, responder] = MsgSocket.pair({ send: Command, recv: Answer });
    using _requester = requester;
    using _responder = responder;
    requester.send({ id: 1, name: 'one' });
    requester.send({ id: 2, name: 'two' });
    assert.deepEqual(responder.recv(), { id: 1, name: 'one', fd: undefined });
    responder.send({ sizeBytes: 2 ** 40 });
    assert.deepEqual(responder.recv(), { id: 2, name: 'two', fd: undefined });
    assert.deepEqual(requester.recv(), { sizeBytes: 2 ** 40 });
  });

  test('of the largest size pass', () => {
    const Large = struct({ data: fixedBytes(MESSAGE_BYTES_MAX) });
    const [sender, receiver] = MsgSocket.pair({ send: Large, recv: nothing });
    using _sender = sender;
    using _receiver = receiver;
    const data = new Uint8Array(MESSAGE_BYTES_MAX).fill(7);
    sender.send({ data });
    assert.deepEqual(receiver.recv(), { data });
  });

  test('pass over a borrowed descriptor, which stays open', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Answer, recv: nothing });
    using _sender = sender;
    using _receiver = receiver;
    const borrower = new MsgSocket({ borrowed: { fd: sender.fd } }, { send: Answer, recv: nothing });
    borrower.send({ sizeBytes: 1 });
    borrower.close();
    sender.send({ sizeBytes: 2 });
    assert.deepEqual([receiver.recv(), receiver.recv()], [{ sizeBytes: 1 }, { sizeBytes: 2 }]);
  });

  test('are read into an object that is used again', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Answer, recv: Answer });
    using _receiver = receiver;
    const answer = { sizeBytes: 0 };
    sender.send({ sizeBytes: 5 });
    assert.equal(receiver.recvInto(answer), true);
    assert.equal(answer.sizeBytes, 5);
    assert.equal(receiver.tryRecvInto(answer), undefined);
    sender.close();
    assert.equal(receiver.tryRecvInto(answer), false);
    assert.equal(receiver.recvInto(answer), false);
  });

  test('of any declaration arrive as they were sent, and leave no descriptor', () => {
    const opened = openFds();
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = new Random(seed);
        const choices = { below: (limit: number) => random.below(limit), word: () => random.u64() };
        const { type, value } = randomMessage(choices);
        const [sender, receiver] = MsgSocket.pair({ send: type, recv: nothing });
        using _sender = sender;
        using _receiver = receiver;
        const message = value(choices, () => Fd.open('/dev/null')) as object;
        const { bytes } = encode(type, message);
        sender.send(message);
        const received = receiver.recv() as object;
        // The same bytes again: a comparison without a second notion of equality.
        assert.deepEqual(encode(type, received).bytes, bytes);
        receiver.closeReceived();
      }),
      { numRuns: 300 },
    );
    assert.deepEqual(openFds(), opened);
  });
});

describe('descriptors', () => {
  test('belong to the receiver, are closed on exec, and closed at the sender', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Command, recv: nothing });
    using _sender = sender;
    using _receiver = receiver;
    const pipe = openPipe();
    using reader = pipe.reader;
    sender.send({ id: 1, name: 'pipe', fd: pipe.writer });
    assert.equal(pipe.writer.isOpen, false);
    using received = receiver.recv()?.fd as Fd;
    assert.equal(fcntl(received.fd, FcntlCommand.GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    write(received.fd, Uint8Array.of(42));
    const bytes = new Uint8Array(1);
    assert.equal(read(reader.fd, bytes), 1);
    assert.equal(bytes[0], 42);
    received.close();
    assert.equal(read(reader.fd, bytes), 0);
  });

  test('keep their order, up to the most that the kernel passes', () => {
    const Many = struct({ first: descriptor, rest: fixedArray(descriptor, MESSAGE_FDS_MAX - 1) });
    const [sender, receiver] = MsgSocket.pair({ send: Many, recv: nothing });
    using _sender = sender;
    using _receiver = receiver;
    const pipe = openPipe();
    using reader = pipe.reader;
    const rest = Array.from({ length: MESSAGE_FDS_MAX - 1 }, () => Fd.open('/dev/null'));
    sender.send({ first: pipe.writer, rest });
    const received = receiver.recv();
    write(received?.first.fd ?? -1, Uint8Array.of(1));
    assert.equal(read(reader.fd, new Uint8Array(1)), 1);
    receiver.closeReceived();
    assert.ok(received?.rest.every((fd) => !fd.isOpen));
  });

  test('of a message that could not be sent are closed', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Command, recv: nothing });
    using _sender = sender;
    receiver.close();
    const fd = Fd.open('/dev/null');
    assert.throws(() => sender.send({ id: 1, name: '', fd }), { name: 'MsgError', code: 'DISCONNECTED' });
    assert.equal(fd.isOpen, false);
  });

  test('are closed by closeReceived for the last message alone', () => {
    const { socket, peer } = withRawPeer(Command);
    using _socket = socket;
    using _peer = peer;
    using file = Fd.open('/dev/null');
    const { bytes } = encode(Command, { id: 1, name: '', fd: file });
    sendRaw(peer, bytes, [file]);
    using kept = (socket.recv() as { fd: Fd }).fd;
    sendRaw(peer, new Uint8Array(0));
    assert.throws(() => socket.recv(), { code: 'TOO_SHORT' });
    socket.closeReceived();
    assert.equal(kept.isOpen, true);
    sendRaw(peer, bytes, [file]);
    const { fd } = socket.recv() as { fd: Fd };
    socket.closeReceived();
    assert.deepEqual([kept.isOpen, fd.isOpen], [true, false]);
  });

  test('of a message without room stay open until it is sent or given up', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Command, recv: nothing });
    using _sender = sender;
    using _receiver = receiver;
    while (sender.trySend({ id: 1, name: '' }));
    const fd = Fd.open('/dev/null');
    assert.equal(sender.trySend({ id: 2, name: '', fd }), false);
    assert.equal(fd.isOpen, true);
    while (receiver.tryRecv() !== undefined);
    assert.equal(sender.trySend({ id: 3, name: '', fd }), true);
    assert.equal(fd.isOpen, false);
    receiver.recv()?.fd?.close();
    while (sender.trySend({ id: 1, name: '' }));
    const lost = Fd.open('/dev/null');
    assert.equal(sender.trySend({ id: 4, name: '', fd: lost }), false);
    sender.closeUnsent();
    assert.equal(lost.isOpen, false);
  });
});

describe('the end', () => {
  test('is null after the messages before it', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Answer, recv: nothing });
    using _receiver = receiver;
    sender.send({ sizeBytes: 1 });
    sender.close();
    assert.deepEqual(receiver.recv(), { sizeBytes: 1 });
    assert.equal(receiver.recv(), null);
    assert.equal(receiver.tryRecv(), null);
  });

  test('comes also when the peer left messages unread', () => {
    const [first, second] = MsgSocket.pair({ send: Answer, recv: Answer });
    using _first = first;
    first.send({ sizeBytes: 1 });
    second.send({ sizeBytes: 2 });
    second.close();
    assert.deepEqual(first.recv(), { sizeBytes: 2 });
    assert.equal(first.recv(), null);
  });

  test('comes also when the peer shut its side down', () => {
    const { socket, peer } = withRawPeer(Command);
    using _socket = socket;
    using _peer = peer;
    shutdown(peer.fd, 1);
    assert.equal(socket.recv(), null);
  });
});

describe('a poll loop', () => {
  test('sees messages, room and the end', () => {
    const [sender, receiver] = MsgSocket.pair({ send: Answer, recv: nothing });
    using _receiver = receiver;
    using poll = new PollContext(namedTokens('sender', 'receiver'));
    poll.add(receiver, 'receiver');
    assert.equal(poll.wait(0).length, 0);
    assert.equal(receiver.tryRecv(), undefined);
    sender.send({ sizeBytes: 7 });
    assert.equal(poll.wait(0).at(0).token, 'receiver');
    assert.deepEqual(receiver.tryRecv(), { sizeBytes: 7 });
    while (sender.trySend({ sizeBytes: 8 }));
    poll.add(sender, 'sender', 'writable');
    assert.deepEqual(
      [...poll.wait(0)].map(({ token }) => token),
      ['receiver'],
    );
    while (receiver.tryRecv() !== undefined);
    assert.equal(poll.wait(0).at(0).token, 'sender');
    poll.remove(sender);
    sender.close();
    assert.equal(poll.wait(0).at(0).hungUp, true);
    assert.equal(receiver.tryRecv(), null);
  });
});

describe('timeouts', () => {
  test('end a receive and a send', () => {
    const [first, second] = MsgSocket.pair({ send: Answer, recv: Answer });
    using _first = first;
    using _second = second;
    first.setTimeouts({ sendMs: 30, receiveMs: 30 });
    const started = performance.now();
    assert.throws(() => first.recv(), { name: 'MsgError', code: 'TIMED_OUT' });
    assert.ok(performance.now() - started >= 29);
    while (first.trySend({ sizeBytes: 0 }));
    assert.throws(() => first.send({ sizeBytes: 0 }), { name: 'MsgError', code: 'TIMED_OUT' });
    second.send({ sizeBytes: 3 });
    assert.deepEqual(first.recv(), { sizeBytes: 3 });
  });

  test('end a receive that signals interrupt more often than that', async () => {
    const [first, second] = MsgSocket.pair({ send: Answer, recv: Answer });
    using _first = first;
    using _second = second;
    const ignore = (): void => undefined;
    process.on('SIGWINCH', ignore);
    const kills = `for i in $(seq 100); do kill -WINCH ${process.pid}; sleep 0.02; done`;
    const killer = spawn('sh', ['-c', kills], { stdio: 'ignore' });
    const ended = new Promise((resolve) => killer.once('close', resolve));
    try {
      first.setTimeouts({ receiveMs: 200 });
      const started = performance.now();
      assert.throws(() => first.recv(), { code: 'TIMED_OUT' });
      assert.ok(performance.now() - started < 1500);
    } finally {
      killer.kill();
      await ended;
      process.off('SIGWINCH', ignore);
    }
  });

  test('that are no whole milliseconds are a programmer error', () => {
    const [first, second] = MsgSocket.pair({ send: Answer, recv: Answer });
    using _first = first;
    using _second = second;
    for (const sendMs of [0, -1, 0.5]) assert.throws(() => first.setTimeouts({ sendMs }), { name: 'AssertionError' });
  });
});

describe('a hostile peer', () => {
  const fd = (): Fd => Fd.open('/dev/null');
  const header = [...encode(Command, { id: 0, name: '' }).bytes.subarray(0, 4)];
  const command = (hasFd: number): Uint8Array => Uint8Array.from([...header, 1, 0, 0, 0, 1, 65, hasFd]);
  const cases: readonly { name: string; code: string; bytes: Uint8Array; fds: number }[] = [
    { name: 'an empty message', code: 'TOO_SHORT', bytes: new Uint8Array(0), fds: 0 },
    { name: 'an empty message with a descriptor', code: 'TOO_SHORT', bytes: new Uint8Array(0), fds: 1 },
    { name: 'a short message', code: 'TOO_SHORT', bytes: command(1).subarray(0, 9), fds: 1 },
    { name: 'a message with bytes after it', code: 'TOO_LONG', bytes: Uint8Array.from([...command(1), 0]), fds: 1 },
    { name: 'a message beyond the buffer', code: 'TOO_LONG', bytes: new Uint8Array(60_000), fds: 1 },
    { name: 'another kind', code: 'WRONG_KIND', bytes: Uint8Array.of(1, 2, 3, 4, 5), fds: 1 },
    { name: 'no descriptor', code: 'WRONG_DESCRIPTORS', bytes: command(1), fds: 0 },
    { name: 'a descriptor too many', code: 'WRONG_DESCRIPTORS', bytes: command(0), fds: 1 },
    { name: 'two descriptors for one', code: 'WRONG_DESCRIPTORS', bytes: command(1), fds: 2 },
    { name: 'as many descriptors as pass', code: 'WRONG_DESCRIPTORS', bytes: command(1), fds: MESSAGE_FDS_MAX },
    { name: 'a value that is none', code: 'BAD_VALUE', bytes: command(9), fds: 1 },
  ];
  for (const { name, code, bytes, fds: count } of cases) {
    test(`${name}: ${code}, no descriptor is left, and the next message passes`, () => {
      const { socket, peer } = withRawPeer(Command);
      using _socket = socket;
      using _peer = peer;
      const opened = openFds();
      for (const receive of [() => socket.recv(), () => socket.tryRecv(), () => socket.recvInto({})]) {
        const fds = Array.from({ length: count }, fd);
        sendRaw(peer, bytes, fds);
        for (const sent of fds) sent.close();
        assert.throws(receive, { name: 'MsgError', code });
        assert.deepEqual(openFds(), opened);
      }
      sendRaw(peer, command(0));
      assert.deepEqual(socket.recv(), { id: 1, name: 'A', fd: undefined });
    });
  }

  test('descriptors for a type that has none are not opened', () => {
    const [near, far] = socketpair(SocketType.SEQPACKET);
    using socket = new MsgSocket(new Fd(near), { send: nothing, recv: Answer });
    using peer = new Fd(far);
    using file = fd();
    sendRaw(peer, encode(Answer, { sizeBytes: 1 }).bytes, [file]);
    const opened = openFds();
    assert.throws(() => socket.recv(), { code: 'WRONG_DESCRIPTORS' });
    assert.deepEqual(openFds(), opened);
  });

  test('descriptors that were taken before a later field fails are closed', () => {
    const Late = struct({ fds: arrayUpTo(descriptor, 4), kind: u8, data: bytesUpTo(4) });
    const [near, far] = socketpair(SocketType.SEQPACKET);
    using socket = new MsgSocket(new Fd(near), { send: nothing, recv: Late });
    using peer = new Fd(far);
    const fds = [fd(), fd(), fd()];
    const { bytes } = encode(Late, { fds, kind: 1, data: Uint8Array.of(1, 2) });
    sendRaw(peer, bytes.subarray(0, -1), fds);
    for (const sent of fds) sent.close();
    const opened = openFds();
    assert.throws(() => socket.recv(), { code: 'TOO_SHORT' });
    assert.deepEqual(openFds(), opened);
  });

  test('more descriptors than this process may open: WRONG_DESCRIPTORS, and those that it could open are closed', () => {
    const program = new URL('./full-table.ts', import.meta.url).pathname;
    const command = 'ulimit -n 128 && exec "$0" "$1"';
    const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, program], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });
});
