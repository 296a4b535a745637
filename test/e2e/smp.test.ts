/** Machines with several vCPUs, each in a thread of its own. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { ControlClient } from '#vm-control/control-client.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const PROGRAM = 'etc/crosvm/smp';
const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 120_000 };
const DISK_BYTES = 2 << 20;
const COMPLAINTS = 'unstable|skew|stall|lockup|LOCKUP|hung|blocked for|BUG:|WARNING:|Oops|nobody cared|not responding';

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';

/**
 * The program; static keys turned on and off, whose jumps are patched in the kernel's code while all processors run it; processes that
 * are started on all processors.
 */
const trialScript = (cpus: number): string => `
echo "processors $(grep ^processor /proc/cpuinfo | wc -l), ids $(grep ^initial.apicid /proc/cpuinfo | cut -d: -f2 | tr -d '\\n')"
echo "siblings $(grep ^siblings /proc/cpuinfo | sort -u | cut -d: -f2), cores $(grep ^cpu.cores /proc/cpuinfo | sort -u | cut -d: -f2)"
/${PROGRAM} || echo "smp: exit status $?"
for i in $(seq ${2 * cpus}); do
  (for j in $(seq 10); do head -c 50000 /bin/busybox | md5sum; done | sort -u | wc -l) &
done | sort | uniq -c | tr -s ' ' | sed 's/^/sums/' &
for i in $(seq 10); do
  for value in 1 0; do echo $value > /proc/sys/kernel/sched_schedstats; done
done
wait
for i in 1 2; do for value in 0 1; do echo $value > /sys/devices/system/cpu/cpu1/online; cat /sys/devices/system/cpu/online; done; done | tr '\\n' ' ' | sed 's/^/online /'; echo
echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
echo "shootdowns $(grep TLB: /proc/interrupts | tr -s ' ' | cut -d' ' -f3- | sed 's/ TLB.*//')"
echo "complaints $(dmesg | grep -cE '${COMPLAINTS}')"
dmesg | grep -E '${COMPLAINTS}' | head -5
`;

/** All processors compute and read the disk, and tell that they go on. */
const BUSY_SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
for i in 1 2 3; do (while :; do head -c 200000 /dev/vda | md5sum >/dev/null; done) & done
for i in $(seq 600); do echo "now $i"; usleep 50000; done &
for i in $(seq 20); do echo "sum $(sha256sum < /dev/vda | cut -d' ' -f1)"; done
wait
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-smp-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

describe('several vCPUs', { skip: skipWithoutApt }, () => {
  for (const cpus of [2, 4]) {
    test(`${cpus} vCPUs: locked instructions, the order of memory, code and pages that others change`, {
      skip: skipWithoutCompiler,
      timeout: 300_000,
    }, async (t) => {
      const folder = temporaryFolder(t);
      const [program, archive] = [join(folder, 'program'), join(folder, 'script.cpio')];
      execFileSync('cc', ['-O1', '-static', '-pthread', '-o', program, join(import.meta.dirname, 'smp.c')]);
      writeScriptArchive(archive, trialScript(cpus), { programs: { [PROGRAM]: readFileSync(program) } });
      const initrds = [await busyboxImage(), archive];
      await using vm = new TestVm({ kernel: await vmlinuz(), initrds, options: [`--cpus=${cpus}`] });
      const exit = await vm.waitForExit({ timeoutMs: 280_000 });
      const output = `${vm.console.slice(-4000)}\n${vm.errors}`;
      assert.deepEqual(exit, { status: 0, signal: null }, output);
      const ids = Array.from({ length: cpus }, (_, id) => id).join(' ');
      assert.match(vm.console, new RegExp(`^processors ${cpus}, ids +${ids}\\r?$`, 'm'), output);
      assert.match(vm.console, new RegExp(`^siblings +${cpus}, cores +${cpus}\\r?$`, 'm'), output);
      assert.match(vm.console, new RegExp(`^processors: ${cpus}\\r?$`, 'm'), output);
      const trials = [...vm.console.matchAll(/^([a-z][^:\r\n]*): ([^\r\n]*)\r?$/gm)].filter(([, name = '']) =>
        programTrials().has(name),
      );
      assert.deepEqual(new Set(trials.map(([, name]) => name)), programTrials(), output);
      const wrong = trials.filter(([, , verdict]) => verdict !== 'ok').map(([line]) => line.trimEnd());
      assert.deepEqual(wrong, [], output);
      assert.match(vm.console, /^done\r?$/m, output);
      assert.match(vm.console, new RegExp(`^sums ${2 * cpus} 1\\r?$`, 'm'), output);
      assert.match(vm.console, /^online (0(?:,2-3)? 0-\d ){2}\r?$/m, output);
      assert.match(vm.console, /^complaints 0\r?$/m, output);
      assert.match(vm.console, /^clock (?:kvm-clock|tsc)\r?$/m, output);
      assert.doesNotMatch(vm.console, /^shootdowns (?:0 ?)+\r?$/m, output);
    });
  }

  test('4 vCPUs stand still, go on and stop within a second, busy with a disk', { timeout: 240_000 }, async (t) => {
    const folder = temporaryFolder(t);
    const [path, archive, disk] = [join(folder, 'vm.sock'), join(folder, 'script.cpio'), join(folder, 'disk')];
    const content = randomBytes(DISK_BYTES);
    writeFileSync(disk, content);
    writeScriptArchive(archive, BUSY_SCRIPT, { programs: await kernelModules(['virtio_pci', 'virtio_blk']) });
    const options = ['--cpus=4', '--cpu-affinity=0-7', '--socket', path, `--block=${disk},ro`];
    await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage(), archive], options });
    await vm.waitFor(/^now 2\r?\n/m, BOOT);
    for (let round = 0; round < 3; round++) {
      using client = ControlClient.connect(path);
      client.suspend();
      assert.equal(client.status().state, 'suspended');
      await setTimeout(300);
      const before = vm.console.length;
      await setTimeout(500);
      assert.equal(vm.console.length, before, 'nothing is said while the machine stands still');
      client.resume();
      assert.equal(client.status().state, 'running');
      await vm.waitFor(/^now \d+\r?\n/m, COMMAND);
    }
    const [, sum] = await vm.waitFor(/^sum (\w+)\r?\n/m, COMMAND);
    assert.equal(sum, createHash('sha256').update(content).digest('hex'));
    using client = ControlClient.connect(path);
    const startedMs = performance.now();
    client.stop();
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 5000 }), { status: 0, signal: null }, vm.errors);
    t.diagnostic(`stopped after ${Math.round(performance.now() - startedMs)} ms`);
    assert.equal(vm.errors.includes('did not end'), false, vm.errors);
  });
});

/** The names of the program's trials, as its source has them. */
function programTrials(): ReadonlySet<string> {
  const source = readFileSync(join(import.meta.dirname, 'smp.c'), 'utf8');
  const table = source.slice(
    source.indexOf('static const struct trial trials[]'),
    source.indexOf('#define TRIAL_COUNT'),
  );
  const places = ['aligned', 'inside 8 bytes', 'across 8 bytes', 'across a cache line', 'across a page'];
  const everywhere = [...table.matchAll(/AT_ALL\((\w+)/g)].flatMap(([, name]) =>
    places.map((place) => `${name} ${place}`),
  );
  return new Set([...everywhere, ...[...table.matchAll(/\{"([^"]+)"/g)].map(([, name = '']) => name)]);
}
