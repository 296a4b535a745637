/** Memory that the guest gives back, as the host sees it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { main } from '#cli/main.ts';
import { MiB } from '#util/bits.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { hostMib } from './guest-memory.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 60_000 };
const COMMAND = { timeoutMs: 30_000 };
const BALLOON_MIB = 96;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
# The host gives all of this once.
dd if=/dev/zero of=/tmp/fill bs=1M count=90 2>/dev/null; rm /tmp/fill
echo "free $(grep MemFree /proc/meminfo | tr -dc 0-9) KiB"; read answer </dev/console
echo "squeezed $(grep MemFree /proc/meminfo | tr -dc 0-9) KiB"; read answer </dev/console
dd if=/dev/zero of=/tmp/fill bs=1M count=90 2>/dev/null; echo "fits $?"
`;

async function balloonIs(client: ControlClient, mib: number): Promise<void> {
  const deadlineMs = performance.now() + COMMAND.timeoutMs;
  while (client.balloonStats().actualBytes !== mib * MiB) {
    assert.ok(performance.now() < deadlineMs, JSON.stringify(client.balloonStats()));
    await setTimeout(50);
  }
}

async function run(...argv: string[]): Promise<string> {
  const printed: string[] = [];
  const print = (text: string): void => void printed.push(text);
  const status = await main(argv, { out: print, err: print });
  assert.equal(status, 0, printed.join(''));
  return printed.join('');
}

test('crosvm balloon takes memory from Linux, which the host gets, and gives it back', {
  skip: skipWithoutApt,
  timeout: 180_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-balloon-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [path, archive, disk] = [join(folder, 'vm.sock'), join(folder, 'script.cpio'), join(folder, 'disk')];
  writeFileSync(disk, new Uint8Array(MiB));
  writeScriptArchive(archive, SCRIPT, { programs: await kernelModules(['virtio_pci', 'virtio_balloon']) });
  const options = ['--socket', path, `--block=${disk}`];
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage(), archive], options });
  const [, free] = await vm.waitFor(/^free (\d+)/m, BOOT);
  using client = ControlClient.connect(path);
  const { pid } = client.status();
  const before = hostMib(pid);
  await run('balloon', `${BALLOON_MIB}M`, path);
  await balloonIs(client, BALLOON_MIB);
  const during = hostMib(pid);
  t.diagnostic(`host: ${before.toFixed(0)} MiB, with a balloon of ${BALLOON_MIB} MiB ${during.toFixed(0)} MiB`);
  // Free page reporting may have returned some of it before.
  assert.ok(during < Math.max(before - BALLOON_MIB / 2, 256 - BALLOON_MIB), `${before} MiB, then ${during} MiB`);
  const said = JSON.parse(await run('balloon_stats', path)) as { BalloonStats: { stats: Record<string, number> } };
  assert.ok((said.BalloonStats.stats['total_memory'] ?? 0) > 100 * MiB, JSON.stringify(said));
  vm.send('done\n');
  const [, squeezed] = await vm.waitFor(/^squeezed (\d+)/m, COMMAND);
  const lessMib = (Number(free) - Number(squeezed)) / 1024;
  assert.ok(Math.abs(lessMib - BALLOON_MIB) < 8, `the guest has ${lessMib} MiB less`);
  await run('balloon', '0', path);
  await balloonIs(client, 0);
  vm.send('done\n');
  const [, fits] = await vm.waitFor(/^fits (\d+)/m, COMMAND);
  assert.equal(fits, '0');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: 0, signal: null });
});
