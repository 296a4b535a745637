/** The virtio console as Debian's driver uses it: hvc0 as the kernel's console, ports with names, the terminal's size. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { Peer } from './peer.ts';
import { FIRST_SIZE, skipWithoutTerminal, TerminalVm } from './terminal-vm.ts';
import { TestVm, type TestVmOptions } from './test-vm.ts';

const limit = { timeout: 180_000 };
const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
const PASTE = { timeoutMs: 120_000 };
/** Of 64 bytes each. */
const PASTE_LINES = 6000;

const INIT = 'etc/crosvm/console-init';
const CONSOLE = 'hardware=virtio-console,num=1,type=stdout,console,stdin';
/** What the kernel says before its module for hvc0 is there. */
const EARLY = 'hardware=serial,num=1,type=stdout,earlycon';

/** Debian's driver is a module: what runs first loads it, takes the console that is there then, and makes udev's links. */
const INIT_SCRIPT = `#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
rm /etc/crosvm/script
mount -t devtmpfs devtmpfs /dev
mount -t sysfs sysfs /sys
for module in /${MODULE_PREFIX}*; do insmod $module; done
# The driver learns of its ports by and by.
until grep -q hvc /sys/class/tty/console/active; do usleep 10000; done
until [ "$(cat /sys/class/virtio-ports/*/name 2>/dev/null | wc -l)" = "$NAMES" ]; do usleep 10000; done
mkdir -p /dev/virtio-ports
for port in /sys/class/virtio-ports/*; do
  name=$(cat $port/name 2>/dev/null)
  [ -n "$name" ] && ln -s /dev/$(basename $port) /dev/virtio-ports/$name
done
umount /sys
exec /init </dev/console >/dev/console 2>&1
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-console-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function machine(folder: string, options: Partial<TestVmOptions>): Promise<TestVmOptions> {
  const archive = join(folder, 'modules.cpio');
  const modules = await kernelModules(['virtio_pci', 'virtio_console']);
  writeScriptArchive(archive, '', { programs: { ...modules, [INIT]: Buffer.from(INIT_SCRIPT) } });
  const files = { kernel: await vmlinuz(), initrds: [await busyboxImage(), archive] };
  return { ...files, ...options, params: `rdinit=/${INIT} ${options.params ?? 'NAMES=0'}` };
}

/** The kernel's console is hvc0, its shell works, and what it says before and in a panic is heard; ports lead to programs of the host both ways. */
async function use(vm: TestVm, { agent, log }: { readonly agent: Peer; readonly log: Peer }): Promise<void> {
  assert.match(vm.console, /Linux version 6\.1/, 'the early console');
  vm.send('tty; cat /sys/class/tty/console/active; ls /dev/virtio-ports\r');
  await vm.waitFor(/\n\/dev\/hvc0\r\nhvc0\r\nlog +org\.agent\.0\r\n/, COMMAND);
  vm.send('exec 3<>/dev/virtio-ports/org.agent.0; echo to the agent >&3; read line <&3; echo "got $line"\r');
  agent.send('from the host\n');
  await vm.waitFor(/\ngot from the host\r\n/, COMMAND);
  await agent.expect('to the agent\n');
  vm.send('seq 1 20000 >/dev/virtio-ports/log; echo logged $?\r');
  await vm.waitFor(/\nlogged 0\r\n/, COMMAND);
  await log.expect(Array.from({ length: 20_000 }, (_, index) => `${index + 1}\n`).join(''));
  agent.hangUp();
  vm.send('cat <&3; echo "end of file"\r');
  await vm.waitFor(/\nend of file\r\n/, COMMAND);
}

/** More than waits anywhere on its way: main reads on when the guest has taken some. */
async function paste(vm: TestVm): Promise<void> {
  const text = Array.from({ length: PASTE_LINES }, (_, line) => `${String(line).padStart(63, '.')}\n`).join('');
  vm.send('stty -echo; echo ready; md5sum; stty echo\r');
  await vm.waitFor(/\nready\r\n/, COMMAND);
  vm.send(`${text}\x04`);
  const [, sum] = await vm.waitFor(/^([0-9a-f]{32}) {2}-\r\n/m, PASTE);
  assert.equal(sum, createHash('md5').update(text).digest('hex'));
}

async function panic(vm: TestVm): Promise<void> {
  vm.send('echo c >/proc/sysrq-trigger\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.panic, signal: null }, vm.errors);
}

/** Waits until the guest's terminal has this size. */
async function followSize(vm: TestVm, rows: number, columns: number): Promise<void> {
  vm.send(`until [ "$(stty size)" = "${rows} ${columns}" ]; do usleep 50000; done; echo follows\r`);
  await vm.waitFor(/\nfollows\r\n/, COMMAND);
}

async function usePorts(
  t: TestContext,
  work: (options: TestVmOptions, peers: { readonly agent: Peer; readonly log: Peer }) => Promise<void>,
): Promise<void> {
  const folder = temporaryFolder(t);
  await using agent = await Peer.listen(join(folder, 'agent'));
  await using log = await Peer.listen(join(folder, 'log'));
  const port = (num: number, peer: Peer, name: string): string =>
    `hardware=virtio-console,num=${num},type=unix-stream,path=${peer.path},name=${name}`;
  const serial = [EARLY, CONSOLE, port(2, agent, 'org.agent.0'), port(3, log, 'log')];
  await work(await machine(folder, { serial, params: 'NAMES=2 loglevel=6' }), { agent, log });
}

describe('the virtio console', () => {
  test('in its jail: hvc0 is the console, and named ports go both ways', {
    skip: skipWithoutApt,
    ...limit,
  }, async (t) => {
    await usePorts(t, async (options, peers) => {
      await using vm = new TestVm(options);
      await vm.waitFor(PROMPT, BOOT);
      await use(vm, peers);
      await paste(vm);
      await panic(vm);
    });
  });

  test('without a jail, on a terminal: the same, and hvc0 has the terminal’s size', {
    skip: skipWithoutTerminal,
    ...limit,
  }, async (t) => {
    await usePorts(t, async (options, peers) => {
      await using terminal = await TerminalVm.boot({ ...options, options: ['--disable-sandbox'] });
      const { vm } = terminal;
      await followSize(vm, FIRST_SIZE.rows, FIRST_SIZE.columns);
      terminal.resize(50, 132);
      await followSize(vm, 50, 132);
      await use(vm, peers);
      await panic(vm);
      assert.equal(terminal.after, terminal.before);
    });
  });

  test('with one port has the terminal’s size, and Ctrl-A x leaves', {
    skip: skipWithoutTerminal,
    ...limit,
  }, async (t) => {
    await using terminal = await TerminalVm.boot(await machine(temporaryFolder(t), { serial: [CONSOLE] }));
    const { vm } = terminal;
    await followSize(vm, FIRST_SIZE.rows, FIRST_SIZE.columns);
    terminal.resize(50, 132);
    await followSize(vm, 50, 132);
    vm.send('\x01x');
    assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.stopped, signal: null });
  });
});
