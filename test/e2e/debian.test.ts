/**
 * A whole Debian on a virtio disk, with every device that a typical machine has: its own init, logins on the serial port and on hvc0, a
 * shared directory, streams to and from the host, apt over passt, a disk that grows, a balloon, and the processes of its devices, with
 * the jail and without.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { main } from '#cli/main.ts';
import { MiB } from '#util/bits.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import type { DebianDisk } from '../../tools/guest/debian-image.ts';
import { searchPath } from '../../tools/guest/host-programs.ts';
import { missingProgram } from '../host-needs.ts';
import { checkDeviceProcesses, type ExpectedDevice } from './device-views.ts';
import { debianDisk, PROMPT, skipWithoutApt } from './guest-files.ts';
import { hostMib } from './guest-memory.ts';
import { GREETING, HELLO, servePackages } from './package-server.ts';
import { Peer } from './peer.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 1_500_000 };
const BOOT = { timeoutMs: 600_000 };
const COMMAND = { timeoutMs: 240_000 };

const skip =
  skipWithoutApt ||
  missingProgram('mmdebstrap', 'mmdebstrap') ||
  missingProgram('passt', 'passt') ||
  missingProgram('qemu-img', 'qemu-utils');

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-debian-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const MEMORY_MIB = 512;
const BALLOON_MIB = 256;
/** What a program of the guest fills, which is there only without the balloon. */
const FILL_MIB = 220;
const GROWN_BYTES = 64 * MiB;
const WORD = 'shared';
const FROM_HOST = 'file of the host';
const FROM_GUEST = 'file of the guest';
const PORT = { AT_HOST: 5000, AT_GUEST: 6000 } as const;
/** A stream to the host and one from it, linux/vm_sockets.h: AF_VSOCK is 40, the host is 2, any address is 2^32 - 1. */
const STREAMS = `use Socket;
sub address { pack 'S S L L x4', 40, 0, @_ }
socket(my $out, 40, SOCK_STREAM, 0) or die "socket: $!";
connect($out, address(${PORT.AT_HOST}, 2)) or die "connect: $!";
syswrite $out, "to the host\n";
print "got ", scalar <$out>;
socket(my $port, 40, SOCK_STREAM, 0) or die "socket: $!";
bind($port, address(${PORT.AT_GUEST}, 0xffffffff)) && listen($port, 1) or die "listen: $!";
syswrite $out, "listening\n";
accept(my $in, $port) or die "accept: $!";
print "got ", scalar <$in>;
syswrite $in, "to whom connects\n";
`;

interface Machine {
  readonly vm: TestVm;
  readonly vsockPath: string;
  /** Of crosvm. */
  readonly control: string;
  /** The directory of the host that the guest shares. */
  readonly shared: string;
  /** The other ends of hvc0 and of the port for programs. */
  readonly console: Peer;
  readonly agent: Peer;
  /** The layer that takes what the guest writes. */
  readonly overlay: string;
  /** What is below it. */
  readonly image: string;
}

/** The devices of the machine, and what their descriptors lead to besides what all have. */
function expectedDevices({ overlay, image, shared }: Machine, isJailed: boolean): ExpectedDevice[] {
  return [
    { name: 'rng', own: ['/dev/urandom'] },
    // Sizes asked for come by the socket.
    { name: 'block0', own: [overlay, image, 'socket'] },
    // The other end is passt's.
    { name: 'net0', own: ['socket'] },
    // Sizes of the terminal and a panic; each port's stream for either direction.
    { name: 'console', own: Array(6).fill('socket') },
    // The directory, which a jail has as its root, and the way to open what it has a handle of, in a jail a mount of its own.
    { name: 'fs0', own: isJailed ? ['/', '/'] : [shared, '/proc/PID/fd'], rootEntries: ['from-host', 'streams.pl'] },
    // The one that the host connects to, and those that main opens for the guest's connections.
    { name: 'vsock', own: ['socket', 'socket'] },
    // Sizes asked for, statistics told.
    { name: 'balloon', own: ['socket'] },
  ];
}

/** With every device that a typical machine has; `owned` gets its peers. */
async function start(folder: string, options: readonly string[], owned: AsyncDisposableStack): Promise<Machine> {
  const disk: DebianDisk = await debianDisk();
  const overlay = join(folder, 'overlay.qcow2');
  const below = [`--backing=${disk.image}`, '--backing-format=raw'];
  assert.equal(await main(['create_qcow2', ...below, overlay, String(disk.sizeBytes)]), 0);
  const shared = join(folder, WORD);
  mkdirSync(shared);
  writeFileSync(join(shared, 'from-host'), FROM_HOST);
  writeFileSync(join(shared, 'streams.pl'), STREAMS);
  const [console, agent] = [
    owned.use(await Peer.listen(join(folder, 'hvc0'))),
    owned.use(await Peer.listen(join(folder, 'agent'))),
  ];
  const [vsockPath, control] = [join(folder, 'vsock'), join(folder, 'control')];
  const devices = [
    `--block=${overlay},format=qcow2,root`,
    '--net=user,host-loopback',
    `--serial=hardware=virtio-console,num=1,type=unix-stream,path=${console.path}`,
    `--serial=hardware=virtio-console,num=2,type=unix-stream,path=${agent.path},name=agent`,
    `--shared-dir=${shared}:${WORD}`,
    `--vsock=3,socket=${vsockPath}`,
    `--socket=${control}`,
  ];
  const vm = new TestVm({
    kernel: disk.kernel.image,
    initrds: [disk.initramfs],
    memoryMib: MEMORY_MIB,
    options: [...devices, ...options],
  });
  owned.use(vm);
  return { vm, overlay, image: disk.image, shared, vsockPath, control, console, agent };
}

/** What a command prints. */
async function ask(vm: TestVm, command: string): Promise<string> {
  vm.send(`echo "<[$(${command})]>"\r`);
  const [, answer = ''] = await vm.waitFor(/^<\[([\s\S]*?)\]>\r$/m, COMMAND);
  await vm.waitFor(PROMPT, COMMAND);
  return answer.replaceAll('\r', '').trim();
}

async function logIn(vm: TestVm): Promise<void> {
  await vm.waitFor(/^Debian GNU\/Linux 12 crosvm ttyS0\r$[\s\S]*^crosvm login: /m, BOOT);
  vm.send('root\r');
  await vm.waitFor(PROMPT, COMMAND);
}

/** Every unit has started, and none has failed. */
async function checkSystem(vm: TestVm): Promise<void> {
  assert.equal(await ask(vm, 'systemctl is-system-running --wait; systemctl --failed --plain --no-legend'), 'running');
  assert.equal(
    await ask(vm, 'cat /proc/1/comm; findmnt -nro SOURCE,FSTYPE,OPTIONS /'),
    'systemd\n/dev/vda ext4 rw,relatime',
  );
}

/** The processes are not dumpable, so their own user cannot look into them. */
function checkProcesses(t: TestContext, machine: Machine, isJailed: boolean): void {
  if (process.getuid?.() === 0) checkDeviceProcesses(machine.vm.pid, expectedDevices(machine, isJailed), isJailed);
  else t.diagnostic('not asked of /proc: only root can look into device processes');
}

/** Files go both ways through the shared directory. */
async function share({ vm, shared }: Machine): Promise<void> {
  assert.equal(await ask(vm, `mount -t virtiofs ${WORD} /mnt && cat /mnt/from-host`), FROM_HOST);
  assert.equal(
    await ask(vm, `printf '%s' '${FROM_GUEST}' >/mnt/from-guest; ls /mnt`),
    'from-guest\nfrom-host\nstreams.pl',
  );
  assert.equal(readFileSync(join(shared, 'from-guest'), 'utf8'), FROM_GUEST);
}

/** A stream that the guest begins, and one that the host begins. */
async function stream(t: TestContext, { vm, vsockPath }: Machine): Promise<void> {
  const heard: string[] = [];
  const server = createServer((socket) => {
    socket.write('from the host\n');
    createInterface(socket).on('line', (line) => {
      heard.push(line);
      if (line !== 'listening') return;
      const connection = connect(vsockPath);
      connection.write(`CONNECT ${PORT.AT_GUEST}\nfrom whom connects\n`);
      createInterface(connection).on('line', (answer) => heard.push(answer.replace(/^OK \d+$/, 'OK')));
    });
  });
  server.listen(`${vsockPath}_${PORT.AT_HOST}`);
  t.after(() => server.close());
  await once(server, 'listening');
  assert.equal(await ask(vm, 'perl /mnt/streams.pl 2>&1'), 'got from the host\ngot from whom connects');
  assert.deepEqual(heard, ['to the host', 'listening', 'OK', 'to whom connects']);
}

/** A login on hvc0, and words through a port for programs. */
async function talk({ vm, console, agent }: Machine): Promise<void> {
  assert.equal(await ask(vm, 'systemctl start serial-getty@hvc0'), '');
  await console.waitFor(/^crosvm login: /m);
  console.send('root\r');
  await console.waitFor(PROMPT);
  console.send('tty\r');
  await console.waitFor(/^\/dev\/hvc0\r$/m);
  agent.send('from the host\n');
  const words = 'exec 3<>/dev/virtio-ports/agent; echo to the agent >&3; read -r line <&3; echo $line';
  assert.equal(await ask(vm, words), 'from the host');
  await agent.expect('to the agent\n');
}

/** The disk grows, and what is new can be read. */
async function grow({ vm, control }: Machine): Promise<void> {
  const size = 'cat /sys/block/vda/size';
  const before = await ask(vm, size);
  const after = Number(before) + GROWN_BYTES / 512;
  assert.equal(await main(['disk', 'resize', '0', String(after * 512), control]), 0);
  assert.equal(await ask(vm, `while [ $(${size}) = ${before} ]; do sleep 0.1; done; ${size}`), String(after));
  const read = `dd if=/dev/vda bs=64k skip=${(Number(before) * 512) / 65_536} 2>/dev/null | wc -c`;
  assert.equal(await ask(vm, read), String(GROWN_BYTES));
}

/** The balloon takes memory from the guest, which the host gets, and gives it back. */
async function squeeze(t: TestContext, { vm, control }: Machine): Promise<void> {
  const fill = `head -c ${FILL_MIB}M /dev/zero >/dev/shm/fill; rm /dev/shm/fill`;
  assert.equal(await ask(vm, fill), '');
  const before = hostMib(vm.pid);
  await setBalloon(control, BALLOON_MIB);
  const during = hostMib(vm.pid);
  await setBalloon(control, 0);
  assert.equal(await ask(vm, fill.split(';')[0] ?? ''), '');
  const after = hostMib(vm.pid);
  assert.equal(await ask(vm, 'rm /dev/shm/fill'), '');
  t.diagnostic(
    `host: ${[before, during, after].map((mib) => mib.toFixed(0)).join(', ')} MiB before, with and after the balloon`,
  );
  assert.ok(during <= MEMORY_MIB - BALLOON_MIB, `${during} MiB`);
  assert.ok(Math.min(before, after) > FILL_MIB && after > during, `${before}, ${during}, ${after} MiB`);
}

async function setBalloon(control: string, mib: number): Promise<void> {
  assert.equal(await main(['balloon', `${mib}M`, control]), 0);
  using client = ControlClient.connect(control);
  const deadlineMs = performance.now() + COMMAND.timeoutMs;
  while (client.balloonStats().actualBytes !== mib * MiB) {
    assert.ok(performance.now() < deadlineMs, JSON.stringify(client.balloonStats()));
    await setTimeout(50);
  }
}

async function pressPowerButton({ control }: Machine): Promise<void> {
  assert.equal(await main(['powerbtn', control]), 0);
}

async function sayPowerOff({ vm }: Machine): Promise<void> {
  vm.send('poweroff\r');
}

/** What is on the disk after the guest's end is whole, and nothing has to be done to it. */
function checkFileSystem(folder: string, { overlay }: Machine): void {
  const flat = join(folder, 'flat');
  execFileSync('qemu-img', ['convert', '-O', 'raw', overlay, flat]);
  const { status, stdout, stderr } = spawnSync('e2fsck', ['-fn', flat], {
    encoding: 'utf8',
    env: { ...process.env, PATH: searchPath() },
  });
  assert.equal(status, 0, stdout + stderr);
  assert.doesNotMatch(stdout, /recover|journal/i);
}

describe('Debian on a disk', { skip }, () => {
  for (const { name, options, isJailed, powerOff } of [
    { name: 'with its devices in their jails', options: [], isJailed: true, powerOff: pressPowerButton },
    { name: 'without jails', options: ['--disable-sandbox'], isJailed: false, powerOff: sayPowerOff },
  ]) {
    test(`boots to a login, installs a package by apt and powers off, ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const { mtimeMs } = statSync((await debianDisk()).image);
      await using owned = new AsyncDisposableStack();
      const machine = await start(folder, options, owned);
      const { vm } = machine;
      await logIn(vm);
      await checkSystem(vm);
      checkProcesses(t, machine, isJailed);
      await share(machine);
      await stream(t, machine);
      await talk(machine);
      await grow(machine);
      await squeeze(t, machine);
      const { port, requests } = await servePackages(t, folder);
      vm.send(`echo 'deb [trusted=yes] http://10.0.2.2:${port} ./' >/etc/apt/sources.list\r`);
      await vm.waitFor(PROMPT, COMMAND);
      assert.equal(await ask(vm, `(apt-get update && apt-get install -y ${HELLO}) >/tmp/log 2>&1 || cat /tmp/log`), '');
      assert.equal(await ask(vm, HELLO), GREETING);
      assert.ok(requests.includes(`/${HELLO}.deb`), requests.join(' '));
      await powerOff(machine);
      assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null }, vm.errors);
      checkFileSystem(folder, machine);
      assert.equal(statSync((await debianDisk()).image).mtimeMs, mtimeMs, 'nothing wrote to the image in the cache');
    });
  }
});
