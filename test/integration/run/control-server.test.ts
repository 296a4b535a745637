/** The server of the control socket against clients that do not keep to the protocol, over real sockets. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { Fd } from '#sys/fd.ts';
import { MessageBuffer } from '#sys/message.ts';
import { connectUnix, SocketType, socket, trySend } from '#sys/socket.ts';
import type { Clock } from '#util/clock.ts';
import { VmControlError, VmRequest, VmResponse } from '#vm-control/vm-request.ts';
import { CLIENTS_MAX, ControlServer, SILENCE_LIMIT_MS } from '#vmm/control-server.ts';
import { ControlSocket } from '#vmm/control-socket.ts';
import type { SuspendDone } from '#vmm/suspension.ts';

const BALLOON = { targetBytes: 1, actualBytes: 2, sequence: 3, stats: { freeMemory: 4 } };
const STATUS = {
  state: 'running',
  pid: 7,
  version: '1',
  hypervisor: 'software',
  cpus: 1,
  memoryMib: 32,
  uptimeMs: 5,
};
const HELLO: VmRequest = { kind: 'hello', version: 1 };
/** One client's requests are answered one a turn. */
const TURNS = 64;

/** A server with what it was asked, whose clients are connected by hand. */
class Bench implements Disposable {
  readonly calls: string[] = [];
  /** Those that were asked for and not answered. */
  readonly suspensions: SuspendDone[] = [];
  nowNs = 0;
  readonly #folder = mkdtempSync(join(tmpdir(), 'crosvm-control-'));
  readonly #path = join(this.#folder, 'socket');
  readonly #socket = new ControlSocket(this.#path);
  readonly #owned = new DisposableStack();
  readonly server: ControlServer;

  constructor(t: TestContext, ownerUid = process.geteuid?.() ?? 0) {
    const clock: Clock = { nowNs: () => this.nowNs, wallMs: () => 0 };
    this.server = new ControlServer({
      listener: this.#socket,
      clock,
      ownerUid,
      handlers: {
        status: () => STATUS,
        stop: () => void this.calls.push('stop'),
        powerButton: () => {
          this.calls.push('powerButton');
          throw new VmControlError('WRONG_STATE', 'no button today');
        },
        suspend: (done) => void this.suspensions.push(done),
        resume: () => void this.calls.push('resume'),
        balloon: (sizeBytes) => void this.calls.push(`balloon ${sizeBytes}`),
        balloonStats: () => BALLOON,
        diskResize: (index, sizeBytes) => void this.calls.push(`diskResize ${index} ${sizeBytes}`),
      },
    });
    t.after(() => this[Symbol.dispose]());
  }

  /** The raw end of a client, which is non-blocking: whatever waits here would be a bug. */
  connectRaw(): Fd {
    const fd = this.#owned.use(new Fd(socket(SocketType.SEQPACKET | SocketType.NONBLOCK)));
    connectUnix(fd.fd, this.#path);
    return fd;
  }

  connect(): Client {
    return new Client(this.connectRaw(), this.server);
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
    this.server[Symbol.dispose]();
    this.#socket[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

class Client {
  readonly #socket: MsgSocket<VmRequest, VmResponse>;
  readonly #server: ControlServer;

  constructor(fd: Fd, server: ControlServer) {
    this.#socket = new MsgSocket({ borrowed: fd }, { send: VmRequest, recv: VmResponse });
    this.#server = server;
  }

  /** The response; null when the server has closed, undefined when it has nothing to say. */
  ask(request: VmRequest): VmResponse | null | undefined {
    assert.equal(this.#socket.trySend(request), true);
    return this.answer();
  }

  answer(): VmResponse | null | undefined {
    for (let turn = 0; turn < 3; turn++) this.#server.turn();
    return this.#socket.tryRecv();
  }
}

const codeOf = (response: VmResponse | null | undefined): string | undefined =>
  response?.kind === 'error' ? response.code : response?.kind;

const raw = (text: string): Uint8Array => Buffer.from(text, 'latin1');

describe('the control server', () => {
  test('answers hello, status and stop', (t) => {
    const bench = new Bench(t);
    const client = bench.connect();
    assert.deepEqual({ ...client.ask(HELLO) }, { kind: 'hello', version: 1 });
    assert.deepEqual({ ...client.ask({ kind: 'status' }) }, { kind: 'status', ...STATUS });
    assert.equal(codeOf(client.ask({ kind: 'stop' })), 'done');
    assert.deepEqual(bench.calls, ['stop']);
  });

  test('answers what a handler refuses with its code and words, and goes on', (t) => {
    const client = new Bench(t).connect();
    client.ask(HELLO);
    const refused = { kind: 'error', code: 'WRONG_STATE', message: 'no button today' };
    assert.deepEqual({ ...client.ask({ kind: 'powerButton' }) }, refused);
    assert.equal(codeOf(client.ask({ kind: 'status' })), 'status');
  });

  test('the balloon gets its size and tells of itself', (t) => {
    const bench = new Bench(t);
    const client = bench.connect();
    client.ask(HELLO);
    assert.deepEqual({ ...client.ask({ kind: 'balloon', sizeBytes: 4096 }) }, { kind: 'done' });
    assert.deepEqual(bench.calls, ['balloon 4096']);
    const answer = client.ask({ kind: 'balloonStats' });
    assert.ok(answer?.kind === 'balloonStats');
    assert.deepEqual([answer.targetBytes, answer.actualBytes, answer.sequence], [1, 2, 3]);
    assert.equal(answer.stats.freeMemory, 4);
  });

  test('a disk gets its size', (t) => {
    const bench = new Bench(t);
    const client = bench.connect();
    client.ask(HELLO);
    assert.equal(codeOf(client.ask({ kind: 'diskResize', index: 1, sizeBytes: 2 ** 40 })), 'done');
    assert.deepEqual(bench.calls, [`diskResize 1 ${2 ** 40}`]);
  });

  test('an unknown version is refused, and another may be tried', (t) => {
    const client = new Bench(t).connect();
    assert.equal(codeOf(client.ask({ kind: 'hello', version: 999 })), 'UNKNOWN_VERSION');
    assert.equal(codeOf(client.ask(HELLO)), 'hello');
  });

  test('a request before hello is refused, does nothing, and ends the connection', (t) => {
    const bench = new Bench(t);
    const client = bench.connect();
    assert.equal(codeOf(client.ask({ kind: 'stop' })), 'HELLO_FIRST');
    assert.equal(client.answer(), null);
    assert.deepEqual(bench.calls, []);
  });

  test('an unknown request is answered, and others are after it', (t) => {
    const bench = new Bench(t);
    const fd = bench.connectRaw();
    const client = new Client(fd, bench.server);
    client.ask(HELLO);
    trySend(fd.fd, raw('CVMQ\xc8more'), 9);
    assert.equal(codeOf(client.answer()), 'UNKNOWN_REQUEST');
    assert.equal(codeOf(client.ask({ kind: 'status' })), 'status');
  });

  for (const [name, bytes] of [
    ['rubbish', raw('GET / HTTP/1.1\r\n\r\n')],
    ['a message beyond every size', new Uint8Array(60_000)],
    ['an empty message', new Uint8Array(0)],
    ['half a request', raw('CVMQ\0')],
  ] as const) {
    test(`${name} is answered with BAD_REQUEST, ends the connection and disturbs no other`, (t) => {
      const bench = new Bench(t);
      const other = bench.connect();
      other.ask(HELLO);
      const fd = bench.connectRaw();
      trySend(fd.fd, bytes, bytes.length);
      const client = new Client(fd, bench.server);
      assert.equal(codeOf(client.answer()), 'BAD_REQUEST');
      assert.equal(client.answer(), null);
      assert.equal(codeOf(other.ask({ kind: 'status' })), 'status');
    });
  }

  test('descriptors that a client sends are not kept, and are none of the protocol', (t) => {
    const bench = new Bench(t);
    const fd = bench.connectRaw();
    bench.server.turn();
    const before = readdirSync('/proc/self/fd').length;
    const buffer = new MessageBuffer(8, 4);
    buffer.bytes.set(raw('CVMQ\x01'));
    buffer.send(fd, 5, [fd, fd, fd], false);
    assert.equal(codeOf(new Client(fd, bench.server).answer()), 'BAD_REQUEST');
    // The server's end of the connection is closed.
    assert.equal(readdirSync('/proc/self/fd').length, before - 1);
  });

  test('a client that never reads its answers is closed, and others are served meanwhile', (t) => {
    const bench = new Bench(t);
    const other = bench.connect();
    other.ask(HELLO);
    const deaf = bench.connectRaw();
    let sent = 0;
    let isClosed = false;
    while (!isClosed && sent < 100_000) {
      try {
        if (trySend(deaf.fd, raw('CVMQ\xc8'), 5) !== undefined) sent++;
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'EPIPE');
        isClosed = true;
      }
      bench.server.turn();
      if (sent % 100 === 0) assert.equal(codeOf(other.ask({ kind: 'status' })), 'status');
    }
    assert.ok(isClosed);
  });

  test('a client that floods gets one answer a turn, as every other does', (t) => {
    const bench = new Bench(t);
    const flood = bench.connectRaw();
    bench.server.turn();
    for (let i = 0; i < TURNS; i++) trySend(flood.fd, raw('CVMQ\xc8'), 5);
    const other = bench.connect();
    assert.equal(codeOf(other.ask(HELLO)), 'hello');
  });

  test('one client more than there may be is told so; when another goes there is room', (t) => {
    const bench = new Bench(t);
    const clients = Array.from({ length: CLIENTS_MAX }, () => {
      const fd = bench.connectRaw();
      assert.equal(codeOf(new Client(fd, bench.server).ask(HELLO)), 'hello');
      return fd;
    });
    const surplus = bench.connect();
    assert.equal(codeOf(surplus.answer()), 'TOO_MANY_CLIENTS');
    assert.equal(surplus.answer(), null);
    clients[0]?.close();
    bench.server.turn();
    assert.equal(codeOf(bench.connect().ask(HELLO)), 'hello');
  });

  test('who is silent for too long is closed; who asks is not', (t) => {
    const bench = new Bench(t);
    const [silent, busy] = [bench.connect(), bench.connect()];
    silent.ask(HELLO);
    busy.ask(HELLO);
    bench.nowNs += SILENCE_LIMIT_MS * 0.9e6;
    busy.ask({ kind: 'status' });
    bench.nowNs += SILENCE_LIMIT_MS * 0.2e6;
    bench.server.tidy();
    assert.equal(silent.answer(), null);
    assert.equal(codeOf(busy.ask({ kind: 'status' })), 'status');
  });

  test('who is not the owner is told so and closed, whatever it asks', (t) => {
    const bench = new Bench(t, (process.geteuid?.() ?? 0) + 1);
    const client = bench.connect();
    assert.equal(codeOf(client.answer()), 'NOT_OWNER');
    assert.equal(client.answer(), null);
  });

  test('suspend is answered when the machine stands still, and requests that follow after it', (t) => {
    const bench = new Bench(t);
    const [client, other] = [bench.connect(), bench.connect()];
    client.ask(HELLO);
    other.ask(HELLO);
    assert.equal(client.ask({ kind: 'suspend' }), undefined);
    assert.equal(client.ask({ kind: 'resume' }), undefined);
    assert.equal(codeOf(other.ask({ kind: 'status' })), 'status');
    bench.nowNs += SILENCE_LIMIT_MS * 2e6;
    other.ask({ kind: 'status' });
    bench.server.tidy();
    assert.deepEqual(bench.calls, []);
    bench.suspensions[0]?.();
    assert.deepEqual([codeOf(client.answer()), codeOf(client.answer())], ['done', 'done']);
    assert.deepEqual(bench.calls, ['resume']);
  });

  test('a suspension that fails is answered so; one whose client has left is answered to nobody', (t) => {
    const bench = new Bench(t);
    const client = bench.connect();
    const fd = bench.connectRaw();
    const leaving = new Client(fd, bench.server);
    for (const each of [client, leaving]) {
      each.ask(HELLO);
      each.ask({ kind: 'suspend' });
    }
    fd.close();
    bench.server.turn();
    for (const done of bench.suspensions) done(new VmControlError('TOO_LATE', 'too late'));
    assert.equal(codeOf(client.answer()), 'TOO_LATE');
  });
});
