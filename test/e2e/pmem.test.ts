/** Persistent memory with Linux's drivers: what is on it, a file system, what is durable, what cannot be written; with the jail and without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 180_000 };
const MODULES = ['virtio_pci', 'virtio_pmem', 'nd_pmem'];
const MiB = 2 ** 20;
/** Neither of whole pages nor of 2 MiB. */
const READ_ONLY_BYTES = 3 * MiB + 1234;
const TEXT = 'kept in memory that lasts';

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "driver $(basename $(readlink /sys/bus/pci/devices/0000:00:02.0/virtio*/driver))"
echo "cmdline $(cat /proc/cmdline)"
echo "sizes $(cat /sys/block/pmem0/size) $(cat /sys/block/pmem1/size)"
echo "sum $(head -c ${READ_ONLY_BYTES} /dev/pmem1 | sha256sum | cut -d' ' -f1)"
echo "rest $(tail -c +${READ_ONLY_BYTES + 1} /dev/pmem1 | tr -d '\\0' | wc -c)"
echo x > /dev/pmem1; echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/zero of=/dev/pmem1 bs=4k seek=3 count=1 conv=fsync 2>/dev/null; echo "flush $?"
echo 3 > /proc/sys/vm/drop_caches
echo "again $(head -c ${READ_ONLY_BYTES} /dev/pmem1 | sha256sum | cut -d' ' -f1)"
mount -t ext4 -o dax /dev/pmem0 /mnt; echo "mount $? $(grep -c 'dax' /proc/mounts)"
echo "found $(cat /mnt/from-host)"
echo '${TEXT}' > /mnt/text
dd if=/dev/urandom of=/mnt/random bs=64k count=16 2>/dev/null
cp /bin/busybox /mnt/busybox; echo "runs $(/mnt/busybox echo from pmem)"
sync; echo "synced $(sha256sum < /mnt/random | cut -d' ' -f1)"
read answer </dev/console
umount /mnt; echo "unmounted $?"
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-pmem-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** An ext4 image with one file. */
function makeImage(folder: string): string {
  const image = join(folder, 'image');
  const from = join(folder, 'from-host');
  writeFileSync(from, 'hello');
  execFileSync('truncate', ['-s', '32M', image]);
  execFileSync('mke2fs', ['-q', '-t', 'ext4', '-b', '4096', image]);
  execFileSync('debugfs', ['-w', '-R', `write ${from} from-host`, image], { stdio: 'pipe' });
  return image;
}

/** A file of an ext4 image. */
function readImage(image: string, name: string, folder: string): Uint8Array {
  const to = join(folder, 'out');
  execFileSync('debugfs', ['-R', `dump /${name} ${to}`, image], { stdio: 'pipe' });
  return readFileSync(to);
}

const skipWithoutTools = missingProgram('mke2fs', 'e2fsprogs') || missingProgram('debugfs', 'e2fsprogs');

describe('persistent memory', { skip: skipWithoutApt || skipWithoutTools }, () => {
  for (const { name, options } of [
    { name: 'in its jail', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`is a disk of Linux, holds a file system, and keeps what was flushed, ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const image = makeImage(folder);
      const content = randomBytes(READ_ONLY_BYTES);
      const readOnly = join(folder, 'read-only');
      writeFileSync(readOnly, content, { mode: 0o444 });
      const archive = join(folder, 'script.cpio');
      writeScriptArchive(archive, SCRIPT, { programs: await kernelModules(MODULES) });
      await using vm = new TestVm({
        kernel: await vmlinuz(),
        initrds: [await busyboxImage(), archive],
        options: [`--pmem=${image},root`, `--pmem-device=${readOnly}`, ...options],
      });
      const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      await vm.waitFor(/^synced [0-9a-f]{64}/m, { timeoutMs: 120_000 });
      assert.equal(said('driver'), 'virtio_pmem', output());
      assert.match(said('cmdline') ?? '', / root=\/dev\/pmem0 rw( |$)/);
      assert.equal(said('sizes'), `${(32 * MiB) / 512} ${(4 * MiB) / 512}`);
      assert.deepEqual([said('sum'), said('again')], [sha256(content), sha256(content)], output());
      assert.deepEqual([said('rest'), said('flush')], ['0', '1'], output());
      assert.deepEqual([said('mount'), said('found'), said('runs')], ['0 1', 'hello', 'from pmem'], output());
      const copy = join(folder, 'copy');
      execFileSync('cp', [image, copy]);
      // The journal has what the file system's own places do not have yet.
      spawnSync('e2fsck', ['-fy', copy]);
      assert.equal(Buffer.from(readImage(copy, 'text', folder)).toString(), `${TEXT}\n`);
      assert.equal(sha256(readImage(copy, 'random', folder)), said('synced'), 'what was flushed is in the file');
      vm.send('done\n');
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 120_000 }), { status: 0, signal: null }, output());
      assert.equal(said('unmounted'), '0');
      assert.equal(spawnSync('e2fsck', ['-fn', image]).status, 0, 'the file system is whole');
      assert.ok(readFileSync(readOnly).equals(content));
      assert.equal(statSync(readOnly).size, READ_ONLY_BYTES);
    });
  }
});
