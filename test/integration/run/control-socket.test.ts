/** `crosvm run --socket` and the commands that speak to it, with guests of a few bytes. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { bindUnix, connectUnix, listen, SocketType, socket, trySend } from '#sys/socket.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import { code, TinyGuest } from './tiny-guest.ts';

const limit = { timeout: 60_000 };
const CROSVM = resolve(import.meta.dirname, '../../../src/cli/main.ts');
const NOBODY = 65534;

/** Enables the power button's event and waits for its status bit: PM1 enable is at 0x602, status at 0x600. */
const WAIT_FOR_BUTTON = '66ba0206 66b80001 66ef 66ba0006 66ed f6c401 74f9';

interface Answer {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
}

/** Beside this process, which reads the machine's output. */
function crosvm(argv: readonly string[], user: { uid?: number; gid?: number } = {}): Promise<Answer> {
  return ended(spawn(process.execPath, [CROSVM, ...argv], { stdio: ['ignore', 'pipe', 'pipe'], ...user }));
}

function ended(child: ChildProcess): Promise<Answer> {
  let [output, errors] = ['', ''];
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr?.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return new Promise((resolveEnd, reject) => {
    child.once('error', reject);
    child.once('close', (status) => resolveEnd({ status, output, errors }));
  });
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-control-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A guest whose control socket is at `path`, after its first output. */
async function startGuest(path: string, pieces: readonly string[]): Promise<TinyGuest> {
  const guest = new TinyGuest([code.print('up'), ...pieces], ['--socket', path]);
  await guest.printed('up');
  return guest;
}

/** A socket file that nobody listens at. */
function staleSocket(path: string): void {
  using fd = new Fd(socket(SocketType.SEQPACKET));
  bindUnix(fd.fd, path);
}

describe('crosvm stop', limit, () => {
  for (const { name, piece } of [
    { name: 'spins', piece: code.spin },
    { name: 'has halted for ever', piece: code.haltForever },
  ]) {
    test(`ends a guest that ${name}, with status 0, and its socket is gone`, limit, async (t) => {
      const path = join(temporaryFolder(t), 'vm.sock');
      await using guest = await startGuest(path, [piece]);
      assert.equal(lstatSync(path).mode & 0o777, 0o600);
      assert.deepEqual(await crosvm(['stop', path]), { status: 0, output: '', errors: '' });
      assert.equal(existsSync(path), false);
      assert.equal((await guest.end()).status, 0);
    });
  }

  test('ends a guest as soon as there is a socket, before it has run', limit, async (t) => {
    const folder = temporaryFolder(t);
    await using guest = new TinyGuest([code.spin], ['--socket', folder]);
    while (readdirSync(folder).length === 0) await new Promise((resolveTurn) => setTimeout(resolveTurn, 2));
    const path = join(folder, `crosvm-${guest.child.pid}.sock`);
    // The file is there an instant before the socket listens.
    let answer = await crosvm(['stop', path]);
    if (answer.errors.includes('no virtual machine listens')) answer = await crosvm(['stop', path]);
    assert.deepEqual(answer, { status: 0, output: '', errors: '' });
    assert.equal((await guest.end()).status, 0);
    assert.deepEqual(readdirSync(folder), []);
  });

  test('ends a guest while clients are silent and send rubbish', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    await using guest = await startGuest(path, [code.haltForever]);
    using owned = new DisposableStack();
    for (let i = 0; i < 8; i++) {
      const fd = owned.use(new Fd(socket(SocketType.SEQPACKET)));
      connectUnix(fd.fd, path);
      if (i % 2 === 0) trySend(fd.fd, Buffer.from('rubbish'), 7);
    }
    assert.equal((await crosvm(['stop', path])).status, 0);
    assert.equal((await guest.end()).status, 0);
  });

  test('goes on after a path with no machine, and fails', limit, async (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'vm.sock');
    await using guest = await startGuest(path, [code.spin]);
    const missing = join(folder, 'missing');
    const errors = `crosvm: stop: ${JSON.stringify(missing)}: does not exist\n`;
    assert.deepEqual(await crosvm(['stop', missing, path]), { status: 1, output: '', errors });
    assert.equal((await guest.end()).status, 0);
  });
});

describe('crosvm status', limit, () => {
  test('tells of a machine, also two clients at once', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    await using guest = await startGuest(path, [code.haltForever]);
    using first = ControlClient.connect(path);
    using second = ControlClient.connect(path);
    for (const { state, pid, cpus, memoryMib, hypervisor } of [first.status(), second.status(), first.status()]) {
      assert.deepEqual([state, pid, cpus, memoryMib, hypervisor], ['running', guest.child.pid, 1, 32, 'software']);
    }
    const { status, output } = await crosvm(['status', '--json', path]);
    assert.equal(status, 0);
    assert.equal((JSON.parse(output) as { pid: number }).pid, guest.child.pid);
    assert.match((await crosvm(['status', path])).output, /^state {7}running$/m);
  });

  for (const [name, make, words] of [
    ['nothing listens', staleSocket, 'no virtual machine listens there'],
    ['a file is there', (path: string) => writeFileSync(path, ''), 'no virtual machine listens there'],
    ['nothing is there', () => {}, 'does not exist'],
  ] as const) {
    test(`where ${name}, fails with one line`, limit, async (t) => {
      const path = join(temporaryFolder(t), 'vm.sock');
      make(path);
      const errors = `crosvm: status: ${JSON.stringify(path)}: ${words}\n`;
      assert.deepEqual(await crosvm(['status', path]), { status: 1, output: '', errors });
    });
  }

  test('of another user fails: the file keeps them out, and where it does not the machine does', {
    ...limit,
    skip: process.geteuid?.() === 0 ? false : 'only root can become another user',
  }, async (t) => {
    const folder = temporaryFolder(t);
    chmodSync(folder, 0o755);
    const path = join(folder, 'vm.sock');
    await using _guest = await startGuest(path, [code.haltForever]);
    const nobody = { uid: NOBODY, gid: NOBODY };
    const line = `crosvm: status: ${JSON.stringify(path)}: `;
    const kept = await crosvm(['status', path], nobody);
    assert.deepEqual(kept, { status: 1, output: '', errors: `${line}permission denied\n` });
    chmodSync(path, 0o666);
    const refused = await crosvm(['status', path], nobody);
    const words = 'only the user that runs the virtual machine may control it';
    assert.deepEqual(refused, { status: 1, output: '', errors: `${line}${words}\n` });
  });
});

test('crosvm powerbtn: the guest sees the button, and powers itself off', limit, async (t) => {
  const path = join(temporaryFolder(t), 'vm.sock');
  await using guest = await startGuest(path, [WAIT_FOR_BUTTON, code.print('pressed'), code.powerOff, code.spin]);
  assert.deepEqual(await crosvm(['powerbtn', path]), { status: 0, output: '', errors: '' });
  const { status, output } = await guest.end();
  assert.deepEqual([status, output], [0, 'uppressed']);
});

describe('crosvm suspend', limit, () => {
  // inc dword [0x5000]; rdtsc, to 0x5008; jmp back
  const COUNT = 'ff042500500000 0f31 890425 08500000 891425 0c500000 ebe7';
  const suspended = { status: 0, output: '', errors: '' };

  test('makes guest memory stand still, with its TSC, and resume lets both go on', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    await using guest = await startGuest(path, [COUNT]);
    const memory = guestMemory(guest.child.pid ?? 0);
    const sample = () => ({ count: memory.readUInt32LE(0), tscNs: Number(memory.readBigUInt64LE(8)) });
    const [first, later] = [sample(), await afterwards(sample)];
    assert.ok(later.count !== first.count && later.tscNs > first.tscNs, 'the guest counts');
    assert.deepEqual(await crosvm(['suspend', path]), suspended);
    assert.match((await crosvm(['status', path])).output, /^state {7}suspended$/m);
    const still = sample();
    assert.deepEqual(await afterwards(sample), still);
    assert.deepEqual(await crosvm(['suspend', path]), suspended);
    const resumedMs = performance.now();
    assert.deepEqual(await crosvm(['resume', path]), suspended);
    assert.match((await crosvm(['status', path])).output, /^state {7}running$/m);
    const { count, tscNs } = await afterwards(sample);
    assert.notEqual(count, still.count);
    assert.ok((tscNs - still.tscNs) / 1e6 < performance.now() - resumedMs, 'its time went on from where it stood');
  });

  for (const { name, piece } of [
    { name: 'spins', piece: code.spin },
    { name: 'has halted for ever', piece: code.haltForever },
  ]) {
    test(`a guest that ${name} can be stopped while it stands still, and by a signal too`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const [first, second] = [join(folder, '1'), join(folder, '2')];
      await using stopped = await startGuest(first, [piece]);
      await using killed = await startGuest(second, [piece]);
      assert.deepEqual(await crosvm(['suspend', first, second]), suspended);
      assert.equal((await crosvm(['stop', first])).status, 0);
      killed.child.kill('SIGTERM');
      const ends = [await stopped.end(), await killed.end()];
      assert.deepEqual(
        ends.map(({ status, errors }) => [status, errors.split('\n').length]),
        [
          [0, 2],
          [143, 2],
        ],
      );
    });
  }

  test('of a guest that waits for the reader of its console fails in words, and it goes on', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    await using guest = await startGuest(path, [code.flood]);
    guest.child.stdout.pause();
    // Until the buffers are full.
    await afterwards(() => {});
    const { status, errors } = await crosvm(['suspend', path]);
    assert.equal(status, 1);
    assert.match(errors, /did not stand still within 900 ms; it goes on\n$/);
    assert.match((await crosvm(['status', path])).output, /^state {7}running$/m);
    guest.child.stdout.resume();
    assert.deepEqual(await crosvm(['suspend', path]), suspended);
  });
});

/** The guest's page at 0x5000, read anew at each access. */
function guestMemory(pid: number) {
  const fds = `/proc/${pid}/fd`;
  const number = readdirSync(fds).find((fd) => readlinkSync(join(fds, fd)).includes('memfd:'));
  assert.ok(number, 'guest memory is a memfd');
  const read = (offset: number, size: number): Buffer => {
    const bytes = Buffer.alloc(size);
    const fd = openSync(join(fds, number), 'r');
    readSync(fd, bytes, 0, size, 0x5000 + offset);
    closeSync(fd);
    return bytes;
  };
  return {
    readUInt32LE: (offset: number) => read(offset, 4).readUInt32LE(),
    readBigUInt64LE: (offset: number) => read(offset, 8).readBigUInt64LE(),
  };
}

/** After the guest has had time to do what it should not. */
async function afterwards<T>(look: () => T): Promise<T> {
  await new Promise((resolveSleep) => setTimeout(resolveSleep, 500));
  return look();
}

describe('crosvm run --socket', limit, () => {
  const runAt = (path: string): TinyGuest => new TinyGuest([code.powerOff, code.spin], ['--socket', path]);

  test('replaces a file that nobody listens at, and removes its own at the end', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    staleSocket(path);
    await using guest = runAt(path);
    assert.equal((await guest.end()).status, 0);
    assert.equal(existsSync(path), false);
  });

  test('leaves a socket that somebody listens at, and a file that is no socket', limit, async (t) => {
    const folder = temporaryFolder(t);
    using listener = new Fd(socket(SocketType.STREAM));
    const [taken, file] = [join(folder, 'taken'), join(folder, 'file')];
    bindUnix(listener.fd, taken);
    listen(listener.fd);
    writeFileSync(file, 'content');
    for (const [path, words] of [
      [taken, 'another process listens there'],
      [file, 'is a file, not a socket'],
      [join(folder, 'x'.repeat(110)), "bytes; a socket's path has at most 107"],
      [join(folder, 'none', 'vm.sock'), 'there is no directory'],
    ] as const) {
      await using guest = runAt(path);
      const { status, errors } = await guest.end();
      assert.equal(status, 35, errors);
      assert.ok(errors.includes('crosvm: --socket: ') && errors.includes(words), errors);
    }
    assert.deepEqual(readdirSync(folder).sort(), ['file', 'taken']);
  });

  test('leaves a file that took the place of its own', limit, async (t) => {
    const path = join(temporaryFolder(t), 'vm.sock');
    await using guest = await startGuest(path, [code.haltForever]);
    rmSync(path);
    staleSocket(path);
    guest.child.kill('SIGTERM');
    assert.equal((await guest.end()).status, 143);
    assert.equal(existsSync(path), true);
  });
});
