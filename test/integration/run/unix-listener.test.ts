import assert from 'node:assert/strict';
import { existsSync, lstatSync, mkdtempSync, rmSync, statSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { bindUnix, SocketType, socket, tryAccept } from '#sys/socket.ts';
import { connectStream, UnixListener } from '#vmm/unix-listener.ts';

function pathIn(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-listener-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'socket');
}

test('a listening socket is its owner’s alone, and goes with its file', (t) => {
  const path = pathIn(t);
  const before = process.umask(0);
  t.after(() => process.umask(before));
  const listener = new UnixListener(path);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(tryAccept(listener.fd), undefined);
  using _ = connectStream(path);
  new Fd(tryAccept(listener.fd) as number).close();
  listener[Symbol.dispose]();
  assert.equal(existsSync(path), false);
});

test('a socket that a process left behind is replaced', (t) => {
  const path = pathIn(t);
  const left = new Fd(socket(SocketType.STREAM));
  bindUnix(left.fd, path);
  left.close();
  using _ = new UnixListener(path);
  connectStream(path).close();
});

test('a socket at which somebody listens, a file and a link are refused and stay', (t) => {
  const path = pathIn(t);
  using first = new UnixListener(path);
  assert.throws(() => new UnixListener(path), { code: 'IN_USE' });
  connectStream(path).close();
  assert.equal(tryAccept(first.fd) !== undefined, true);
  writeFileSync(`${path}-file`, 'x');
  assert.throws(() => new UnixListener(`${path}-file`), { code: 'NOT_A_SOCKET' });
  symlinkSync('nowhere', `${path}-link`);
  assert.throws(() => new UnixListener(`${path}-link`), { code: 'NOT_A_SOCKET' });
  assert.ok(lstatSync(`${path}-link`).isSymbolicLink());
});

test('a file that took the socket’s place stays', (t) => {
  const path = pathIn(t);
  const listener = new UnixListener(path);
  unlinkSync(path);
  writeFileSync(path, 'x');
  listener[Symbol.dispose]();
  assert.ok(existsSync(path));
});

test('a connection does not wait: a full backlog and nobody at all refuse it', (t) => {
  const path = pathIn(t);
  assert.throws(() => connectStream(path), { code: 'ENOENT' });
  using _ = new UnixListener(path);
  using waiting = new DisposableStack();
  const connectAll = () => {
    for (let count = 0; count < 1000; count++) waiting.use(connectStream(path));
  };
  assert.throws(connectAll, { code: 'EAGAIN' });
});
