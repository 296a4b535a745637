/** Debian's kernel as a guest of KVM, with its devices in jailed processes: boots, uses them, is suspended, stopped, powers off. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { ControlClient } from '#vm-control/control-client.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, vmlinuz } from '../e2e/guest-files.ts';
import { TestVm } from '../e2e/test-vm.ts';
import { missingKvmHardware } from '../host-needs.ts';

const skip = missingKvmHardware();
const limit = { timeout: 120_000 };
const BOOT = { timeoutMs: 90_000 };
const END = { timeoutMs: 20_000 };
const STANDSTILL_MS = 1500;
const DISK_BYTES = 2 << 20;
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio-rng'];

const LOAD = `for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done`;
const SCRIPT = `
${LOAD}
echo "processors $(grep -c ^processor /proc/cpuinfo), hypervisor $(grep -c 'flags.* hypervisor' /proc/cpuinfo)"
echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "sum $(sha256sum < /dev/vda | cut -d' ' -f1)"
echo "rng $(head -c 64 /dev/hwrng | wc -c)"
echo "requests $(grep -c 'virtio.*-req' /proc/interrupts)"
`;
const TICKING = `i=0; while :; do echo "tick $i"; i=$((i + 1)); usleep 100000; done`;

/** Spreads the vCPUs over two processors, the first of which other threads may be on. */
function affinity(cpus: number): string {
  return `--cpu-affinity=${Array.from({ length: cpus }, (_, vcpu) => `${vcpu}=${(vcpu + 1) % 2}`).join(':')}`;
}

async function boot(
  t: TestContext,
  script: string,
  options: readonly string[],
): Promise<{ vm: TestVm; sum: string; socket: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-kvm-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [disk, archive, socket] = [join(folder, 'disk'), join(folder, 'script.cpio'), join(folder, 'socket')];
  const content = randomBytes(DISK_BYTES);
  writeFileSync(disk, content);
  writeScriptArchive(archive, script, { programs: await kernelModules(MODULES) });
  const vm = new TestVm({
    kernel: await vmlinuz(),
    initrds: [await busyboxImage(), archive],
    options: ['--hypervisor=kvm', `--block=path=${disk},ro`, `--socket=${socket}`, ...options],
  });
  return { vm, sum: createHash('sha256').update(content).digest('hex'), socket };
}

describe("Debian's kernel on KVM", { skip }, () => {
  for (const cpus of [1, 2, 4]) {
    test(`${cpus} vCPUs: sees them, reads its disk, gets entropy and powers off`, limit, async (t) => {
      const { vm, sum } = await boot(t, SCRIPT, [`--cpus=${cpus}`, affinity(cpus)]);
      await using _ = vm;
      assert.deepEqual(await vm.waitForExit(BOOT), { status: EXIT_CODES['power-off'], signal: null }, vm.errors);
      t.diagnostic(
        vm.console
          .replaceAll('\r', '')
          .split('\n')
          .filter((line) => /^\w+ /.test(line))
          .join('; '),
      );
      assert.match(vm.console, new RegExp(`^processors ${cpus}, hypervisor ${cpus}\\r?$`, 'm'));
      assert.match(vm.console, /^clock kvm-clock\r?$/m);
      assert.match(vm.console, new RegExp(`^sum ${sum}\\r?$`, 'm'));
      assert.match(vm.console, /^rng 64\r?$/m);
      assert.match(vm.console, /^requests [1-9]/m);
    });
  }

  test('stands still while it is suspended, goes on, and is stopped', limit, async (t) => {
    const { vm, socket } = await boot(t, TICKING, ['--cpus=2', affinity(2)]);
    await using _ = vm;
    await vm.waitFor(/^tick 3\r?$/m, BOOT);
    using client = ControlClient.connect(socket);
    client.suspend();
    // What was written before is on its way to this process.
    await setTimeout(200);
    const { length } = vm.console;
    await setTimeout(STANDSTILL_MS);
    assert.equal(vm.console.length, length);
    client.resume();
    await vm.waitFor(/^tick \d+\r?\n/m, END);
    client.stop();
    assert.deepEqual(await vm.waitForExit(END), { status: EXIT_CODES['stopped'], signal: null }, vm.errors);
  });
});
