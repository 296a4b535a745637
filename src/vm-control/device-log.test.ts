import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { write } from '#sys/file.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import type { Log } from '#util/log.ts';
import { DeviceLogServer, deviceLogSink } from './device-log.ts';

function pair() {
  const [first, second] = socketpair(SocketType.SEQPACKET);
  const lines: string[] = [];
  const taker = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  const log: Log = {
    error: taker('error'),
    warn: taker('warn'),
    info: taker('info'),
    debug: taker('debug'),
    trace: taker('trace'),
  };
  const server = new DeviceLogServer(new Fd(first), log);
  return { lines, server, socket: new Fd(second) };
}

test('reports of a device arrive in order with their levels, cut to their maximum', () => {
  const { lines, server, socket } = pair();
  using _ = server;
  const sink = deviceLogSink(socket);
  sink('warn', 'block0', 'one');
  sink('trace', 'block0', 'é'.repeat(1000));
  assert.deepEqual([server.tryServeOne(), server.tryServeOne(), server.tryServeOne()], [true, true, undefined]);
  assert.deepEqual(lines, ['warn one', `trace ${'é'.repeat(250)}`]);
  socket.close();
  assert.equal(server.tryServeOne(), false);
});

test('a device does not wait for a main process that does not read, and goes on without one', () => {
  const { lines, server, socket } = pair();
  using _ = socket;
  const sink = deviceLogSink({ borrowed: socket });
  for (let i = 0; i < 100_000; i++) sink('info', 'rng', `${i}`);
  while (server.tryServeOne() === true);
  assert.ok(lines.length > 0 && lines.length < 100_000, `${lines.length} reports have room`);
  assert.deepEqual(lines[0], 'info 0');
  server[Symbol.dispose]();
  sink('info', 'rng', 'nobody hears it');
});

test('what is no report is an error of the device', () => {
  const { lines, server, socket } = pair();
  using _ = server;
  using theirs = socket;
  const sink = deviceLogSink({ borrowed: theirs });
  sink('off' as 'error', 'rng', 'of a level that has no messages');
  assert.throws(() => server.tryServeOne(), { code: 'BAD_VALUE' });
  write(theirs.fd, new Uint8Array(2000));
  assert.throws(() => server.tryServeOne(), { code: 'TOO_LONG' });
  assert.deepEqual(lines, []);
});
