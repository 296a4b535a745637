import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { EpollContext } from '#poll/epoll-context.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { SignalError, SignalFd, SignalPipe } from '#poll/signal-fd.ts';
import { TimerFd } from '#poll/timer-fd.ts';
import { encodedTokens, namedTokens } from '#poll/token.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { OpenFlag, write } from '#sys/file.ts';
import { kill, Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { u64 } from '#util/struct.ts';

describe('EventFd', () => {
  test('counts up, and a read takes it all', () => {
    using event = EventFd.create();
    assert.equal(event.read(), undefined);
    event.write();
    event.write(41);
    assert.equal(event.read(), 42n);
    assert.equal(event.read(), undefined);
  });

  test('a clone is the same counter', () => {
    using event = EventFd.create(5);
    using clone = event.clone();
    assert.equal(clone.read(), 5n);
    assert.equal(event.read(), undefined);
  });

  test('a count that a number would round comes back exactly', () => {
    using event = EventFd.create();
    for (let i = 0; i < 3; i++) event.write(Number.MAX_SAFE_INTEGER);
    assert.equal(event.read(), 3n * BigInt(Number.MAX_SAFE_INTEGER));
  });

  test('a full counter stays full and readable', () => {
    using event = EventFd.create();
    for (let i = 0; i < 2049; i++) event.write(Number.MAX_SAFE_INTEGER);
    // One more would go beyond 2^64 - 2.
    assert.equal(event.read(), 2048n * BigInt(Number.MAX_SAFE_INTEGER));
  });
});

describe('PollContext', () => {
  test('reports what is readable, by its token, until it is read', () => {
    using poll = new PollContext(namedTokens('a', 'b'));
    using a = EventFd.create();
    using b = EventFd.create();
    poll.add(a, 'a');
    poll.add(b, 'b');
    assert.equal(poll.wait(0).length, 0);
    b.write();
    for (let i = 0; i < 2; i++)
      assert.deepEqual(
        [...poll.wait(0)].map(({ token }) => token),
        ['b'],
      );
    b.read();
    assert.equal(poll.wait(0).length, 0);
  });

  test('any 64-bit token comes back exactly', () => {
    using poll = new PollContext(u64);
    using event = EventFd.create(1);
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 64n - 1n), (token) => {
        poll.add(event, token);
        assert.equal(poll.wait(0).at(0).token, token);
        poll.remove(event);
      }),
    );
    for (const token of [0n, 2n ** 63n, 2n ** 64n - 1n]) {
      poll.add(event, token);
      assert.equal(poll.wait(0).at(0).token, token);
      poll.remove(event);
    }
  });

  test('tokens of any shape keep it', () => {
    const tokens = encodedTokens<{ queue: number; kind: 'kick' | 'timer' }>({
      encode: ({ queue, kind }) => (BigInt(queue) << 1n) | (kind === 'timer' ? 1n : 0n),
      decode: (raw) => ({ queue: Number(raw >> 1n), kind: raw & 1n ? 'timer' : 'kick' }),
    });
    using poll = new PollContext(tokens);
    using event = EventFd.create(1);
    poll.add(event, { queue: 7, kind: 'timer' });
    assert.deepEqual(poll.wait(0).at(0).token, { queue: 7, kind: 'timer' });
  });

  test('a closed other end is reported as hung up, with what is left to read', () => {
    using poll = new PollContext(namedTokens('pipe'));
    const { reader, writer } = openPipe();
    using _reader = reader;
    poll.add(reader, 'pipe');
    write(writer.fd, Uint8Array.of(1));
    writer.close();
    const [event] = poll.wait(1000);
    assert.deepEqual([event?.readable, event?.hungUp], [true, true]);
  });

  test('a writer whose reader is gone gets an error', () => {
    using poll = new PollContext(namedTokens('pipe'));
    const { reader, writer } = openPipe();
    using _writer = writer;
    reader.close();
    poll.add(writer, 'pipe', 'hangup');
    assert.equal(poll.wait(1000).at(0).error, true);
  });

  test('what to wait for can be changed', () => {
    using poll = new PollContext(namedTokens('socket', 'changed'));
    const [one, other] = socketpair(SocketType.STREAM).map((fd) => new Fd(fd)) as [Fd, Fd];
    using _one = one;
    using _other = other;
    poll.add(one, 'socket');
    assert.equal(poll.wait(0).length, 0);
    poll.modify(one, 'changed', 'both');
    assert.deepEqual(
      [...poll.wait(0)].map(({ token, writable }) => [token, writable]),
      [['changed', true]],
    );
  });

  test('after the removal nothing is reported, and the descriptor can be added anew', () => {
    using poll = new PollContext(namedTokens('a'));
    using event = EventFd.create(1);
    poll.add(event, 'a');
    assert.throws(() => poll.add(event, 'a'));
    poll.remove(event);
    assert.equal(poll.wait(0).length, 0);
    poll.add(event, 'a');
    assert.equal(poll.wait(0).length, 1);
  });

  test('a regular file, which is always ready, is refused with EPERM', () => {
    using poll = new PollContext(namedTokens('file'));
    using file = new Fd(openSync(import.meta.filename, 'r'));
    assert.throws(
      () => poll.add(file, 'file'),
      (error) => error instanceof SyscallError && error.code === 'EPERM',
    );
  });

  test('more events than one wait returns come with the next', () => {
    using epoll = new EpollContext(u64, 2);
    const events = Array.from({ length: 5 }, () => EventFd.create(1));
    events.forEach((event, i) => {
      epoll.add(event, BigInt(i));
    });
    const seen = new Set<bigint>();
    for (let i = 0; i < 10; i++) {
      const got = epoll.wait(0);
      assert.ok(got.length <= 2);
      for (const { token } of got) seen.add(token);
    }
    assert.equal(seen.size, 5);
    for (const event of events) event.close();
  });

  test('a wait with a timeout lasts at least as long', () => {
    using poll = new PollContext(namedTokens('a'));
    const started = performance.now();
    assert.equal(poll.wait(30).length, 0);
    assert.ok(performance.now() - started >= 30);
  });

  test('contexts nest', () => {
    using outer = new PollContext(namedTokens('inner'));
    using inner = new PollContext(namedTokens('a'));
    using event = EventFd.create();
    inner.add(event, 'a');
    outer.add(inner, 'inner');
    assert.equal(outer.wait(0).length, 0);
    event.write();
    assert.equal(outer.wait(0).at(0).token, 'inner');
  });
});

describe('EpollContext', () => {
  test('an edge is reported once', () => {
    using epoll = new EpollContext(namedTokens('a'));
    using event = EventFd.create();
    epoll.add(event, 'a', { readable: true, edgeTriggered: true });
    event.write();
    assert.equal(epoll.wait(0).length, 1);
    assert.equal(epoll.wait(0).length, 0);
    event.write();
    assert.equal(epoll.wait(0).length, 1);
  });
});

describe('TimerFd', () => {
  test('becomes readable after its delay and counts its intervals', () => {
    using timer = new TimerFd();
    using poll = new PollContext(namedTokens('timer'));
    poll.add(timer, 'timer');
    assert.equal(poll.wait(0).length, 0);
    const started = performance.now();
    timer.arm(5e6, 1e6);
    assert.equal(poll.wait(5000).length, 1);
    assert.ok(performance.now() - started >= 5);
    assert.ok((timer.read() ?? 0) >= 1);
  });

  test('a disarmed timer stays silent', () => {
    using timer = new TimerFd();
    using poll = new PollContext(namedTokens('timer'));
    poll.add(timer, 'timer');
    timer.arm(1e6);
    timer.disarm();
    assert.equal(poll.wait(20).length, 0);
    assert.equal(timer.read(), undefined);
  });
});

describe('signals', () => {
  test('a SignalPipe gets what is sent to this process, whichever of its threads takes it', () => {
    using signals = new SignalPipe([Signal.SIGUSR2, Signal.SIGHUP]);
    using poll = new PollContext(namedTokens('signal'));
    poll.add(signals, 'signal');
    for (const signal of [Signal.SIGUSR2, Signal.SIGHUP, Signal.SIGUSR2]) {
      kill(process.pid, signal);
      assert.equal(poll.wait(5000).length, 1);
      assert.equal(signals.read(), signal);
    }
    assert.equal(signals.read(), undefined);
  });

  test('a SignalFd is refused in a process whose other threads would take the signals', () => {
    assert.throws(
      () => new SignalFd([Signal.SIGUSR2]),
      (error) => error instanceof SignalError && error.code === 'SIGNALS_NOT_BLOCKED',
    );
  });
});

test('an open descriptor is closed once, and its number is not to be had afterwards', () => {
  const fd = Fd.open('/dev/null', OpenFlag.RDWR);
  fd.close();
  assert.throws(() => fd.fd);
  assert.throws(() => fd.close());
});

test('a failed call names call, errno and path', () => {
  assert.throws(
    () => Fd.open('/nonexistent/file'),
    (error) => {
      assert.ok(error instanceof SyscallError);
      assert.deepEqual([error.syscall, error.code, error.path], ['open', 'ENOENT', '/nonexistent/file']);
      return true;
    },
  );
});
