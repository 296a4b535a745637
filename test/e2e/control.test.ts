/** What Linux sees of the commands that speak to a running machine. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ControlClient } from '#vm-control/control-client.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 60_000 };
const COMMAND = { timeoutMs: 30_000 };

/** An event of evdev is 24 bytes: time, type EV_KEY (1), code KEY_POWER (116), value; input.h. */
const BUTTON_SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
grep '' /sys/class/input/input*/name
head -c 24 /dev/input/event0 >/tmp/event &
# Until the reader has opened it: no event is kept for later.
until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q input/event0; do usleep 10000; done
echo "waiting with $(grep acpi /proc/interrupts | tr -s ' ' | cut -d' ' -f3) interrupts"
wait
echo "event $(tail -c 8 /tmp/event | hexdump -e '8/1 "%02x"')"
echo "after $(grep acpi /proc/interrupts | tr -s ' ' | cut -d' ' -f3) interrupts"
`;

/** How long the machine stands still: longer than Linux's watchdogs of clock source and RCU are patient with a second's jump. */
const STANDSTILL_MS = 10_000;
const DISK_BYTES = 4 << 20;
/** The disk is read again and again, so that it has work when the machine is to stand still; the console tells the guest's time. */
const STANDSTILL_SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
(while :; do dd if=/dev/vda of=/dev/null bs=64k iflag=direct 2>/dev/null; done) &
reader=$!
for i in $(seq 40); do echo "now $(cut -d' ' -f1 /proc/uptime)"; usleep 100000; done
kill $reader
echo "sum $(sha256sum < /dev/vda | cut -d' ' -f1)"
echo "complaints $(dmesg | grep -ciE 'clocksource:.*(unstable|skew|watchdog)|rcu.*(stall|detected)|lockup|hung|blocked for|irq.*nobody')"
dmesg | tail -5
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-control-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test("the power button is a key press of Linux's button driver", {
  skip: skipWithoutApt,
  timeout: 180_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const [path, archive] = [join(folder, 'vm.sock'), join(folder, 'script.cpio')];
  writeScriptArchive(archive, BUTTON_SCRIPT, { programs: await kernelModules(['button', 'evdev']) });
  const initrds = [await busyboxImage(), archive];
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds, options: ['--socket', path] });
  const [, before] = await vm.waitFor(/^waiting with (\d+) interrupts\r?\n/m, BOOT);
  {
    using client = ControlClient.connect(path);
    client.powerButton();
  }
  const [, event] = await vm.waitFor(/^event (\w+)\r?\n/m, COMMAND);
  assert.equal(event, '0100740001000000', vm.console);
  const [, after] = await vm.waitFor(/^after (\d+) interrupts\r?\n/m, COMMAND);
  assert.equal(Number(after), Number(before) + 1);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null });
});

test('Linux that stood still for 10 s goes on, does not complain, and its memory did not change', {
  skip: skipWithoutApt,
  timeout: 180_000,
}, async (t) => {
  const folder = temporaryFolder(t);
  const [path, archive, disk] = [join(folder, 'vm.sock'), join(folder, 'script.cpio'), join(folder, 'disk')];
  const content = randomBytes(DISK_BYTES);
  writeFileSync(disk, content);
  writeScriptArchive(archive, STANDSTILL_SCRIPT, { programs: await kernelModules(['virtio_pci', 'virtio_blk']) });
  const options = ['--socket', path, `--block=${disk},ro`];
  const initrds = [await busyboxImage(), archive];
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds, options });
  await vm.waitFor(/^now .*\r?\nnow .*\r?\n/m, BOOT);
  {
    using client = ControlClient.connect(path);
    const { pid } = client.status();
    const moving = memoryHash(pid);
    const asked = performance.now();
    client.suspend();
    t.diagnostic(`suspended in ${(performance.now() - asked).toFixed(1)} ms`);
    assert.equal(client.status().state, 'suspended');
    const before = memoryHash(pid);
    assert.notEqual(before, moving, 'memory changes while the guest runs');
    // What was written before is on its way to this process.
    await sleep(STANDSTILL_MS / 10);
    const { length } = vm.console;
    await sleep((STANDSTILL_MS * 9) / 10);
    assert.equal(memoryHash(pid), before);
    assert.equal(vm.console.length, length);
  }
  const suspendedAt = Number(/^now ([\d.]+)\s*$/m.exec(vm.console.slice(vm.console.lastIndexOf('now')))?.[1]);
  {
    using client = ControlClient.connect(path);
    client.resume();
    assert.equal(client.status().state, 'running');
  }
  await vm.waitFor(/^now .*\r?\nnow .*\r?\n/m, COMMAND);
  const [, sum] = await vm.waitFor(/^sum (\w+)/m, COMMAND);
  assert.equal(sum, createHash('sha256').update(content).digest('hex'));
  const [, complaints] = await vm.waitFor(/^complaints (\d+)/m, COMMAND);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null });
  assert.equal(complaints, '0', vm.console.slice(-2000));
  const times = [...vm.console.matchAll(/^now ([\d.]+)/gm)].map(([, time]) => Number(time));
  const after = times.find((time) => time > suspendedAt) ?? 0;
  assert.ok(after - suspendedAt < STANDSTILL_MS / 2000, `its clock went from ${suspendedAt} to ${after} s`);
});

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Of all guest memory, by the memfd of the machine's process. */
function memoryHash(pid: number): string {
  const fds = `/proc/${pid}/fd`;
  const memory = readdirSync(fds).find((fd) => readlinkSync(join(fds, fd)).includes('memfd:'));
  assert.ok(memory, 'guest memory is a memfd');
  return createHash('sha256')
    .update(readFileSync(join(fds, memory)))
    .digest('hex');
}
