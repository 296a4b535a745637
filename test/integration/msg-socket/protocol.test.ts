import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { struct } from '#msg-socket/composites.ts';
import { type Client, type ClientOptions, type ProtocolServer, protocol, request } from '#msg-socket/protocol.ts';
import { descriptor, u32, unit } from '#msg-socket/scalars.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd, openPipe } from '#sys/fd.ts';
import { read, write } from '#sys/file.ts';
import { MESSAGE_FDS_MAX, MessageBuffer } from '#sys/message.ts';
import { openFds } from './open-fds.ts';
import { Shelf, type ShelfState, shelfHandlers } from './shelf.ts';

const SERVER = new URL('./shelf-server.ts', import.meta.url).pathname;

/** Runs `use` with a client whose server is another process; that one must end well and have leaked nothing. */
async function withServer(use: (client: Client<typeof Shelf>) => void, options: ClientOptions = {}): Promise<void> {
  const before = openFds();
  const ends = Shelf.pair();
  const child = spawn(process.execPath, [SERVER], { stdio: ['ignore', 'inherit', 'inherit', ends.server.fd] });
  const ended = new Promise((resolve) => child.once('close', resolve));
  ends.server.close();
  const client = Shelf.client(ends.client, options);
  try {
    // The process has to start: the first answer may take longer than the test's timeout.
    while (options.receiveMs !== undefined && !hasStarted(client));
    use(client);
  } finally {
    client.close();
    assert.equal(await ended, 0);
  }
  assert.deepEqual(openFds(), before);
}

function hasStarted(client: Client<typeof Shelf>): boolean {
  try {
    return client.count() >= 0;
  } catch {
    return false;
  }
}

describe('a client of a server in another process', () => {
  test('gets the response of its request, and descriptors pass in both', async () => {
    await withServer((client) => {
      const pipe = openPipe();
      using reader = pipe.reader;
      assert.equal(client.put({ name: 'pipe', fd: pipe.writer }), 1);
      assert.equal(client.put({ name: 'left', fd: Fd.open('/dev/null') }), 2);
      const { name, fd } = client.take({ name: 'pipe' });
      assert.equal(name, 'pipe');
      write(fd.fd, Uint8Array.of(9));
      fd.close();
      const bytes = new Uint8Array(2);
      assert.equal(read(reader.fd, bytes), 1);
      assert.equal(read(reader.fd, bytes), 0);
      assert.equal(client.read({ offset: 3, length: 4 }), 3 * 256 + 4);
      assert.equal(client.count(), 1);
    });
  });

  test('does not wait for what it posts, which comes in order', async () => {
    await withServer((client) => {
      for (let i = 0; i < 1000; i++) client.write({ offset: i, length: 1 });
      assert.equal(client.count(), 1000);
    });
  });

  test('learns why the server refused; the descriptors of the request are gone', async () => {
    await withServer((client) => {
      assert.equal(client.put({ name: 'a', fd: Fd.open('/dev/null') }), 1);
      const again = Fd.open('/dev/null');
      const taken = { name: 'RemoteError', code: 'TAKEN', message: 'there is a "a" already' };
      assert.throws(() => client.put({ name: 'a', fd: again }), taken);
      assert.equal(again.isOpen, false);
      const long = { code: 'C'.repeat(100), message: '€'.repeat(300) };
      const cut = { name: 'RemoteError', code: 'C'.repeat(64), message: '€'.repeat(170) };
      assert.throws(() => client.fail(long), cut);
      assert.equal(client.count(), 1);
    });
  });

  test('drops the responses of requests that have timed out, with their descriptors', async () => {
    await withServer(
      (client) => {
        const opened = openFds();
        for (let i = 0; i < 3; i++) assert.throws(() => client.sleep({ ms: 350 }), { code: 'TIMED_OUT' });
        // Served after the sleeps: it may need several timeouts, and gets none of their answers.
        while (!hasStarted(client));
        assert.equal(client.read({ offset: 1, length: 1 }), 257);
        assert.deepEqual(openFds(), opened);
      },
      { receiveMs: 250, sendMs: 250 },
    );
  });
});

describe('a server', () => {
  const start = (): { client: Client<typeof Shelf>; server: ProtocolServer; state: ShelfState } => {
    const state: ShelfState = { writes: 0, items: new Map() };
    const ends = Shelf.pair();
    const handlers = shelfHandlers(state, () => Fd.open('/dev/null'));
    return { client: Shelf.client(ends.client), server: Shelf.server(ends.server, handlers), state };
  };

  test('serves in a poll loop without waiting', () => {
    const { client, server, state } = start();
    using _server = server;
    using poll = new PollContext(namedTokens('request'));
    poll.add(server, 'request');
    assert.equal(server.tryServeOne(), undefined);
    client.write({ offset: 1, length: 1 });
    assert.equal(poll.wait(0).length, 1);
    assert.equal(server.tryServeOne(), true);
    assert.equal(state.writes, 1);
    assert.equal(server.tryServeOne(), undefined);
    client.close();
    assert.equal(server.tryServeOne(), false);
    assert.equal(server.serveOne(), false);
  });

  test('refuses what is no request of its protocol', () => {
    const { client, server } = start();
    using _client = client;
    using _server = server;
    const opened = openFds();
    const buffer = new MessageBuffer(16, MESSAGE_FDS_MAX);
    using file = Fd.open('/dev/null');
    assert.equal(buffer.send(client, 16, [file], false), 0);
    file.close();
    assert.throws(() => server.tryServeOne(), { name: 'MsgError', code: 'WRONG_KIND' });
    assert.deepEqual(openFds(), opened);
  });

  test('is not stopped by a client that does not read', () => {
    const Give = protocol({ give: request(unit, descriptor) });
    const ends = Give.pair();
    using server = Give.server(ends.server, { give: () => Fd.open('/dev/null') });
    using client = Give.client(ends.client, { receiveMs: 1 });
    assert.throws(() => client.give(), { code: 'TIMED_OUT' });
    // The request once more, again and again: a client of ours would read.
    const buffer = new MessageBuffer(64, 0);
    const sizeBytes = buffer.receive(server, false);
    const flood = (): void => {
      for (let i = 0; i < 100_000; i++) {
        assert.equal(buffer.send(client, sizeBytes, [], false), 0);
        server.tryServeOne();
      }
    };
    const opened = openFds();
    assert.throws(flood, { name: 'MsgError', code: 'NO_ROOM' });
    assert.deepEqual(openFds(), opened);
  });

  test('lets errors pass that are no refusals, and closes the descriptors of the request', () => {
    const Give = protocol({ give: request(descriptor, unit) });
    const ends = Give.pair();
    using client = Give.client(ends.client, { receiveMs: 1 });
    let given: Fd | undefined;
    const give = (fd: Fd): void => {
      given = fd;
      throw new TypeError('a bug');
    };
    using server = Give.server(ends.server, { give });
    assert.throws(() => client.give(Fd.open('/dev/null')), { code: 'TIMED_OUT' });
    assert.throws(() => server.serveOne(), { name: 'TypeError' });
    assert.equal(given?.isOpen, false);
  });
});

describe('a client of a hostile server', () => {
  const Twice = protocol({ first: request(unit, u32), second: request(unit, descriptor) });
  const start = () => {
    const ends = Twice.pair();
    return { client: Twice.client(ends.client, { receiveMs: 50 }), peer: ends.server };
  };
  /** The signature of a response, which is no secret. */
  const header = (() => {
    const ends = Twice.pair();
    using server = Twice.server(ends.server, { first: () => 0, second: () => Fd.open('/dev/null') });
    using client = Twice.client(ends.client, { receiveMs: 1 });
    assert.throws(() => client.first(), { code: 'TIMED_OUT' });
    server.serveOne();
    const buffer = new MessageBuffer(64, 0);
    assert.equal(buffer.receive(client, false), 4 + 4 + 1 + 4);
    return [...buffer.bytes.subarray(0, 4)];
  })();
  const respond = (peer: Fd, bytes: readonly number[], fdCount: number): void => {
    const buffer = new MessageBuffer(64, 4);
    buffer.bytes.set([...header, ...bytes]);
    const fds = Array.from({ length: fdCount }, () => peer);
    assert.equal(buffer.send(peer, header.length + bytes.length, fds, false), 0);
  };
  const text = (value: string): number[] => [...Buffer.from(value)];
  const cases: readonly { name: string; code: string; bytes: number[]; fds: number }[] = [
    { name: 'another request answered', code: 'WRONG_KIND', bytes: [1, 0, 0, 0, 1], fds: 1 },
    { name: 'no kind of response', code: 'WRONG_KIND', bytes: [1, 0, 0, 0, 3], fds: 1 },
    { name: 'a descriptor beside a number', code: 'WRONG_DESCRIPTORS', bytes: [1, 0, 0, 0, 0, 1, 2, 3, 4], fds: 1 },
    {
      name: 'a failure whose code is none',
      code: 'BAD_VALUE',
      bytes: [1, 0, 0, 0, 2, 1, ...text('\n'), 0, 0],
      fds: 0,
    },
  ];
  for (const { name, code, bytes, fds } of cases) {
    test(`${name}: ${code}, and no descriptor is left`, () => {
      const { client, peer } = start();
      using _client = client;
      using _peer = peer;
      const opened = openFds();
      respond(peer, bytes, fds);
      assert.throws(() => client.first(), { name: 'MsgError', code });
      assert.deepEqual(openFds(), opened);
    });
  }

  test('passes over late responses, but not without end', () => {
    const { client, peer } = start();
    using _client = client;
    using _peer = peer;
    const opened = openFds();
    for (let i = 0; i < 100; i++) respond(peer, [9, 0, 0, 0, 1], 1);
    assert.throws(() => client.first(), { name: 'MsgError', code: 'WRONG_KIND' });
    while (new MessageBuffer(64, 0).receive(client, false) > 0);
    assert.deepEqual(openFds(), opened);
  });

  test('learns a reason of one line', () => {
    const { client, peer } = start();
    using _client = client;
    using _peer = peer;
    const message = text('a\n\u001b[2J');
    respond(peer, [1, 0, 0, 0, 2, 1, ...text('E'), message.length, 0, ...message], 0);
    assert.throws(() => client.first(), { name: 'RemoteError', code: 'E', message: 'a\\u000a\\u001b[2J' });
  });
});

test('clients of one socket that share the number do not take late responses for theirs', () => {
  const Count = protocol({ next: request(unit, u32) });
  const ends = Count.pair();
  using owner = ends.client;
  let count = 0;
  using server = Count.server(ends.server, { next: () => ++count });
  const options = { receiveMs: 20, sequence: new Uint32Array(new SharedArrayBuffer(4)) };
  const [first, second] = [1, 2].map(() => Count.client({ borrowed: owner }, options));
  assert.throws(() => first?.next(), { code: 'TIMED_OUT' });
  server.serveOne();
  assert.throws(() => second?.next(), { code: 'TIMED_OUT' });
  assert.deepEqual([count, options.sequence[0]], [1, 2]);
});

describe('a declaration', () => {
  test('of no requests, or of one named as what a client has, is a programmer error', () => {
    assert.throws(() => protocol({}), { name: 'AssertionError' });
    for (const name of ['fd', 'close', 'constructor']) {
      assert.throws(() => protocol({ [name]: request(unit, unit) }), { name: 'AssertionError' });
    }
  });

  test('types its clients and servers', () => {
    const Counter = protocol({ add: request(struct({ by: u32 }), u32), reset: request(unit, unit) });
    const check = (client: Client<typeof Counter>): void => {
      const sum: number = client.add({ by: 1 });
      client.reset();
      // @ts-expect-error no such field
      client.add({ to: sum });
      // @ts-expect-error no such request
      client.subtract({ by: 1 });
    };
    // @ts-expect-error a handler is missing
    const server = (fd: Fd) => Counter.server(fd, { add: ({ by }) => by });
    assert.deepEqual([check.length, server.length], [1, 1]);
  });
});
