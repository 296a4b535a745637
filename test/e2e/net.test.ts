/** A guest's network by passt, as Debian's driver uses it: with the jail and without, no privilege needed. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 180_000 };
const FILE_BYTES = 1 << 20;
const GUEST_PORT = 8080;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "mac $(cat /sys/class/net/eth0/address)"
ip link set lo up
ip link set eth0 up
printf '#!/bin/sh\\n[ "$1" = bound ] || exit 0\\nip addr add $ip/$mask dev eth0\\nip route add default via $router\\nip link set eth0 mtu $mtu\\n' > /tmp/dhcp
chmod +x /tmp/dhcp
udhcpc -i eth0 -q -n -f -t 10 -T 1 -O mtu -s /tmp/dhcp > /tmp/log 2>&1 || cat /tmp/log
echo "address $(ip addr show dev eth0 | grep -o 'inet [0-9./]*') mtu $(cat /sys/class/net/eth0/mtu)"
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-net-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function runScript(folder: string, script: string, options: readonly string[]): Promise<TestVm> {
  const archive = join(folder, 'script.cpio');
  writeScriptArchive(archive, SCRIPT + script, { programs: await kernelModules(['virtio_pci', 'virtio_net']) });
  return new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage(), archive], options });
}

/** On the host's loopback; ends with the test. */
async function portOf(t: TestContext, server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A port that nobody had a moment ago. */
async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Sends `message` to a port of the host's loopback and returns all that comes back. */
async function exchange(port: number, message: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(message);
  return await text(socket);
}

/** The child of that machine that is passt, which is there before the guest runs. */
async function passtOf({ pid }: TestVm): Promise<number> {
  for (let tries = 0; tries < 600; tries++) {
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
    const found = children.find((child) => child !== '' && commandOf(child).startsWith('passt'));
    if (found !== undefined) return Number(found);
    await setTimeout(50);
  }
  throw new Error('passt does not run');
}

/** Empty for a process that has ended. */
function commandOf(pid: string): string {
  const path = `/proc/${pid}/comm`;
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

async function bootWithPasst(): Promise<TestVm> {
  return new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage()], options: ['--net=user'] });
}

const isAlive = (pid: number): boolean =>
  existsSync(`/proc/${pid}/status`) && !/^State:\sZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));

const said = (vm: TestVm, word: string): string | undefined =>
  new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
const output = (vm: TestVm): string => `${vm.console.slice(-3000)}\n${vm.errors}`;

const skipWithoutPasst = missingProgram('passt', 'passt');

describe('a guest with --net user', { skip: skipWithoutApt || skipWithoutPasst }, () => {
  for (const { name, options } of [
    { name: 'in its jail', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`fetches a file from the host's loopback, the device being ${name}`, limit, async (t) => {
      const content = randomBytes(FILE_BYTES);
      const port = await portOf(
        t,
        createServer((_request, response) => void response.end(content)),
      );
      const script = `echo "sum $(wget -q -O - http://10.0.2.2:${port}/file | sha256sum | cut -d' ' -f1)"`;
      const net = ['--net=user,host-loopback,mac=52:54:00:12:34:56'];
      await using vm = await runScript(temporaryFolder(t), script, [...net, ...options]);
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 120_000 }), { status: 0, signal: null }, output(vm));
      assert.equal(said(vm, 'mac'), '52:54:00:12:34:56', output(vm));
      assert.equal(said(vm, 'address'), 'inet 10.0.2.15/24 mtu 32000', output(vm));
      assert.equal(said(vm, 'sum'), createHash('sha256').update(content).digest('hex'), output(vm));
    });
  }

  test('answers at a port of the host, and does not reach its loopback unless that is asked for', limit, async (t) => {
    const forbidden = await portOf(
      t,
      createServer((_request, response) => void response.end('secret')),
    );
    const port = await freePort();
    const script = `
echo "secret [$(wget -q -T 3 -O - http://10.0.2.2:${forbidden}/ 2>/dev/null)]"
echo from-guest > /tmp/answer
nc -l -p ${GUEST_PORT} < /tmp/answer > /tmp/got &
until netstat -ltn | grep -q :${GUEST_PORT}; do sleep 0.1; done
echo "listens"
wait
echo "got $(cat /tmp/got)"
`;
    const net = `--net=user,hostfwd=${port}-${GUEST_PORT}`;
    await using vm = await runScript(temporaryFolder(t), script, [net]);
    await vm.waitFor(/^listens/m, { timeoutMs: 100_000 });
    const answer = await exchange(port, 'from-host');
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 0, signal: null }, output(vm));
    assert.equal(answer, 'from-guest\n', output(vm));
    assert.equal(said(vm, 'got'), 'from-host', output(vm));
    assert.equal(said(vm, 'secret'), '[]', output(vm));
  });

  test('ends when passt ends, and says so', limit, async () => {
    await using vm = await bootWithPasst();
    process.kill(await passtOf(vm), 'SIGKILL');
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 30_000 }), { status: 1, signal: null }, output(vm));
    assert.match(vm.errors, /net0: passt, which is its network, has ended/);
  });

  test('takes passt along when crosvm is killed', limit, async () => {
    await using vm = await bootWithPasst();
    const pid = await passtOf(vm);
    process.kill(vm.pid, 'SIGKILL');
    await vm.waitForExit({ timeoutMs: 30_000 });
    for (let tries = 0; isAlive(pid) && tries < 100; tries++) await setTimeout(50);
    assert.equal(isAlive(pid), false);
  });

  test('does not start at a port that is taken, and says why', limit, async (t) => {
    const port = await portOf(t, createTcpServer());
    await using vm = await runScript(temporaryFolder(t), 'sleep 1000', [`--net=user,hostfwd=${port}`]);
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 1, signal: null }, output(vm));
    assert.match(vm.errors, new RegExp(`net0: passt.* has ended: .*${port}`));
  });
});

test('without passt, --net user names the package', { skip: skipWithoutApt, ...limit }, async () => {
  await using vm = new TestVm({
    kernel: await vmlinuz(),
    initrds: [],
    options: ['--net=user'],
    within: (command) => ['env', 'PATH=/nonexistent', ...command],
  });
  assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 35, signal: null }, output(vm));
  assert.match(vm.errors, /^crosvm: --net: user needs the program passt.*install the package passt$/m);
});
