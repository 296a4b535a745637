/** A whole Debian on a virtio disk: its own init, a login, apt over passt, and the processes of its devices, with the jail and without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { main } from '#cli/main.ts';
import type { DebianDisk } from '../../tools/guest/debian-image.ts';
import { searchPath } from '../../tools/guest/host-programs.ts';
import { missingProgram } from '../host-needs.ts';
import { checkDeviceProcesses, type ExpectedDevice } from './device-views.ts';
import { debianDisk, PROMPT, skipWithoutApt } from './guest-files.ts';
import { GREETING, HELLO, servePackages } from './package-server.ts';
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

interface Machine {
  readonly vm: TestVm;
  /** The layer that takes what the guest writes. */
  readonly overlay: string;
  /** What is below it. */
  readonly image: string;
}

/** The devices of the machine, and what their descriptors lead to besides what all have. */
function expectedDevices(diskPaths: readonly string[]): ExpectedDevice[] {
  return [
    { name: 'rng', own: ['/dev/urandom'] },
    { name: 'block0', own: diskPaths },
    // The other end is passt's.
    { name: 'net0', own: ['socket'] },
    // The one that the host connects to, and those that main opens for the guest's connections.
    { name: 'vsock', own: ['socket', 'socket'] },
    // Sizes asked for, statistics told.
    { name: 'balloon', own: ['socket'] },
  ];
}

/** With every device that can be asked for. */
async function start(folder: string, options: readonly string[]): Promise<Machine> {
  const disk: DebianDisk = await debianDisk();
  const overlay = join(folder, 'overlay.qcow2');
  const below = [`--backing=${disk.image}`, '--backing-format=raw'];
  assert.equal(await main(['create_qcow2', ...below, overlay, String(disk.sizeBytes)]), 0);
  const devices = [
    `--block=${overlay},format=qcow2,root`,
    '--net=user,host-loopback',
    `--vsock=3,socket=${join(folder, 'vsock')}`,
  ];
  const vm = new TestVm({
    kernel: disk.kernel.image,
    initrds: [disk.initramfs],
    memoryMib: 512,
    options: [...devices, ...options],
  });
  return { vm, overlay, image: disk.image };
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
function checkProcesses(t: TestContext, { vm, overlay, image }: Machine, isJailed: boolean): void {
  if (process.getuid?.() === 0) checkDeviceProcesses(vm.pid, expectedDevices([overlay, image]), isJailed);
  else t.diagnostic('not asked of /proc: only root can look into device processes');
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
  for (const { name, options, isJailed } of [
    { name: 'with its devices in their jails', options: [], isJailed: true },
    { name: 'without jails', options: ['--disable-sandbox'], isJailed: false },
  ]) {
    test(`boots to a login, installs a package by apt and powers off, ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const { mtimeMs } = statSync((await debianDisk()).image);
      const machine = await start(folder, options);
      await using vm = machine.vm;
      await logIn(vm);
      await checkSystem(vm);
      checkProcesses(t, machine, isJailed);
      const { port, requests } = await servePackages(t, folder);
      vm.send(`echo 'deb [trusted=yes] http://10.0.2.2:${port} ./' >/etc/apt/sources.list\r`);
      await vm.waitFor(PROMPT, COMMAND);
      assert.equal(await ask(vm, `(apt-get update && apt-get install -y ${HELLO}) >/tmp/log 2>&1 || cat /tmp/log`), '');
      assert.equal(await ask(vm, HELLO), GREETING);
      assert.ok(requests.includes(`/${HELLO}.deb`), requests.join(' '));
      vm.send('poweroff\r');
      assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null }, vm.errors);
      checkFileSystem(folder, machine);
      assert.equal(statSync((await debianDisk()).image).mtimeMs, mtimeMs, 'nothing wrote to the image in the cache');
    });
  }
});
