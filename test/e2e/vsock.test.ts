/** AF_VSOCK streams of Debian's kernel to and from Unix sockets of the host, with the jail and without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 180_000 };
const MODULES = ['virtio_pci', 'vmw_vsock_virtio_transport'];
const PROGRAM = 'etc/crosvm/vsock';
const STREAM_BYTES = 3 << 20;
const CID = 42;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
# The driver resets the device when it goes: all that follows is a second life.
rmmod vmw_vsock_virtio_transport && insmod /${MODULE_PREFIX}*-vmw_vsock_virtio_transport.ko
echo "second life $?"
cp /etc/crosvm/data /tmp/data
/${PROGRAM} connect 5000 < /tmp/data > /tmp/back
echo "connected $? $(sha256sum < /tmp/back | cut -d' ' -f1)"
/${PROGRAM} listen 6000 < /tmp/data > /tmp/taken
echo "listened $? $(sha256sum < /tmp/taken | cut -d' ' -f1)"
/${PROGRAM} connect 5001 < /dev/null
echo "refused $?"
`;

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';
const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-vsock-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What a stream has until its end; the other half stays open. */
async function all(socket: Socket): Promise<Buffer> {
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  await once(socket, 'end');
  return Buffer.concat(parts);
}

async function listenAt(t: TestContext, path: string): Promise<Server> {
  const server = createServer({ allowHalfOpen: true });
  t.after(() => server.close());
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** Takes a connection, reads to the end, then sends `answer`; what was read. */
async function answerOne(server: Server, answer: Uint8Array): Promise<Buffer> {
  const [socket] = (await once(server, 'connection')) as [Socket];
  const got = await all(socket);
  socket.end(answer);
  return got;
}

/** Connects to a port of the guest, sends all of `bytes` and reads to the end: the answer to CONNECT, and the stream. */
async function exchange(path: string, port: number, bytes: Uint8Array): Promise<{ line: string; got: Buffer }> {
  const socket = connect({ path, allowHalfOpen: true });
  socket.write(`CONNECT ${port}\n`);
  socket.end(bytes);
  const got = await all(socket);
  const end = got.indexOf('\n');
  return { line: got.subarray(0, end).toString(), got: got.subarray(end + 1) };
}

describe('virtio-vsock', { skip: skipWithoutApt || skipWithoutCompiler }, () => {
  for (const { name, options } of [
    { name: 'in its jail', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`streams go both ways, begun by either side, ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const program = join(folder, 'program');
      execFileSync('cc', ['-O1', '-static', '-o', program, join(import.meta.dirname, 'vsock.c')]);
      const [data, first, second] = [randomBytes(STREAM_BYTES), randomBytes(STREAM_BYTES), randomBytes(STREAM_BYTES)];
      const archive = join(folder, 'script.cpio');
      const programs = { ...(await kernelModules(MODULES)), [PROGRAM]: readFileSync(program), 'etc/crosvm/data': data };
      writeScriptArchive(archive, SCRIPT, { programs });
      const path = join(folder, 'socket');
      const fromGuest = answerOne(await listenAt(t, `${path}_5000`), first);
      await using vm = new TestVm({
        kernel: await vmlinuz(),
        initrds: [await busyboxImage(), archive],
        options: [`--vsock=cid=${CID},socket=${path}`, ...options],
      });
      const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
      await vm.waitFor(/connected (\S+) (\S+)/, { timeoutMs: 120_000 });
      assert.equal(statSync(path).mode & 0o777, 0o600);
      assert.equal(sumOf(await fromGuest), sumOf(data));
      await vm.waitFor(/listening/, { timeoutMs: 60_000 });
      const { line, got } = await exchange(path, 6000, second);
      assert.match(line, /^OK \d+$/);
      assert.equal(sumOf(got), sumOf(data));
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 0, signal: null }, output());
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      assert.equal(said('connected'), `0 ${sumOf(first)}`, output());
      assert.equal(said('second'), 'life 0');
      assert.equal(said('peer'), '2');
      assert.equal(said('listened'), `0 ${sumOf(second)}`, output());
      assert.equal(said('refused'), '3');
      assert.equal(existsSync(path), false, 'the socket goes with the machine');
    });
  }

  test('a socket at which somebody listens, and a file, are refused', limit, async (t) => {
    const folder = temporaryFolder(t);
    const [file, used] = [join(folder, 'file'), join(folder, 'used')];
    writeFileSync(file, 'x');
    await listenAt(t, used);
    for (const [path, problem] of [
      [file, 'is a file, not a socket'],
      [used, 'somebody listens at this socket already'],
    ] as const) {
      const options = [`--vsock=cid=3,socket=${path}`];
      await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage()], options });
      assert.equal((await vm.waitForExit({ timeoutMs: 60_000 })).status, 35);
      assert.match(vm.errors, new RegExp(`--vsock: .*${problem}`));
    }
  });
});
