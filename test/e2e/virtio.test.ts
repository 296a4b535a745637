/** Disks and entropy of device processes, as Debian's drivers use them, with the jail and without. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { main } from '#cli/main.ts';
import { RecordedIo } from '#cli/testing.ts';
import { diskOfChain, openChain } from '#disk/image-chain.ts';
import { RequestBuffer } from '#disk/qcow2/testing/buffer.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 180_000 };
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio-rng', 'virtio_balloon'];
const DISK_BYTES = 8 << 20;
const GROWN_BYTES = 80 << 20;
const PIECE_BYTES = 64 << 10;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "disks $(ls /sys/block | grep vd | tr '\\n' ' ')"
echo "serial $(cat /sys/block/vda/serial) ro $(cat /sys/block/vda/ro) size $(cat /sys/block/vda/size)"
echo "driver $(basename $(readlink /sys/bus/pci/devices/0000:00:02.0/virtio*/driver))"
echo "balloon $(basename $(readlink /sys/bus/pci/devices/0000:00:05.0/virtio*/driver))"
echo "interrupts $(grep -c 'virtio.*-req' /proc/interrupts)"
echo "sum $(sha256sum < /dev/vda | cut -d' ' -f1)"
dd if=/dev/vda of=/dev/vdb bs=64k conv=fsync 2>/dev/null
dd if=/dev/vda of=/dev/vdc bs=64k conv=fsync 2>/dev/null
dd if=/dev/zero of=/dev/vdc bs=4k seek=3 count=1 conv=fsync 2>/dev/null
echo "copied $(sha256sum < /dev/vdb | cut -d' ' -f1)"
echo x > /dev/vda; echo "write $?"
echo "rng $(cat /sys/class/misc/hw_random/rng_current) $(head -c 4096 /dev/hwrng | gzip | wc -c)"
echo "queues $(ls /sys/block/vda/mq | wc -l)"
echo "grow them"; read answer </dev/console
for disk in vdb vdc; do
  while [ $(cat /sys/block/$disk/size) = ${DISK_BYTES / 512} ]; do usleep 20000; done
  echo "$disk has $(cat /sys/block/$disk/size)"
  dd if=/dev/vda of=/dev/$disk bs=64k count=1 seek=${GROWN_BYTES / PIECE_BYTES - 1} conv=fsync,notrunc 2>/dev/null; echo "$disk written $?"
done
echo "truncate it"; read answer </dev/console
echo 3 > /proc/sys/vm/drop_caches
dd if=/dev/vdb of=/dev/null bs=64k 2>/dev/null; echo "read $?"
blkdiscard -o 65536 -l 65536 /dev/vdc
`;

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-virtio-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A raw image that is not zeros, for below a qcow2 image. */
function base(folder: string): string {
  const path = join(folder, 'base');
  writeFileSync(path, new Uint8Array(DISK_BYTES).fill(0xbb));
  return path;
}

/** `crosvm disk resize`: what it says on standard error, with the exit status. */
async function resize(index: number, size: string, socket: string): Promise<string> {
  const io = new RecordedIo();
  const status = await main(['disk', 'resize', String(index), size, socket], io);
  return `${status} ${io.stderr}`;
}

async function growDisks(vm: TestVm, socket: string): Promise<void> {
  await vm.waitFor(/^grow them/m, { timeoutMs: 120_000 });
  assert.match(await resize(0, '80M', socket), /^1 .*the disk is open for reading$/m);
  assert.match(await resize(3, '80M', socket), /^1 .*the virtual machine has 3 disks$/m);
  for (const disk of [1, 2]) {
    assert.match(await resize(disk, '4M', socket), /^1 .*has 8388608 bytes already, and cannot become smaller$/m);
    assert.match(await resize(disk, '83886081', socket), /^1 .*must be a multiple of 512$/m);
    assert.equal(await resize(disk, '80M', socket), '0 ');
  }
  vm.send('done\n');
}

/** All of a disk, by our own reader: test/integration/disk compares that with qemu-img. */
function readQcow2(path: string): Uint8Array {
  const chain = openChain(path, { format: 'qcow2', readOnly: true, lock: true });
  const [fds, formats] = [chain.map(({ fd }) => fd), chain.map(({ format }) => format)];
  using disk = diskOfChain(fds, formats, true);
  using buffer = new RequestBuffer(GROWN_BYTES);
  return buffer.read(disk, 0, GROWN_BYTES);
}

/** `image` is open as descriptor 9. */
async function runScript(folder: string, image: string, options: readonly string[]): Promise<TestVm> {
  const archive = join(folder, 'script.cpio');
  writeScriptArchive(archive, SCRIPT, { programs: await kernelModules(MODULES) });
  const within = (command: readonly string[]) => ['sh', '-c', 'exec 9<"$0"; exec "$@"', image, ...command];
  return new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage(), archive], options, within });
}

describe('virtio devices', { skip: skipWithoutApt || missingProgram('qemu-img', 'qemu-utils') }, () => {
  for (const { name, options } of [
    { name: 'in their jails', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`raw and qcow2 disks and the entropy device work ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const [source, target] = [join(folder, 'source'), join(folder, 'target')];
      const content = randomBytes(DISK_BYTES);
      writeFileSync(source, content);
      writeFileSync(target, new Uint8Array(DISK_BYTES));
      const qcow2 = join(folder, 'qcow2');
      assert.equal(
        await main(['create_qcow2', qcow2, String(DISK_BYTES), `--backing=${base(folder)}`, '--backing-format=raw']),
        0,
      );
      const socket = join(folder, 'control');
      const raw = ['--block=/proc/self/fd/9,ro,id=source-disk,num-queues=4', `--rwdisk=${target}`];
      const disks = [...raw, `--block=${qcow2},format=qcow2`, `--socket=${socket}`];
      await using vm = await runScript(folder, source, [...disks, ...options]);
      const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
      await growDisks(vm, socket);
      await vm.waitFor(/^truncate it/m, { timeoutMs: 120_000 });
      const grown = Buffer.concat([content, Buffer.alloc(GROWN_BYTES - DISK_BYTES)]);
      content.copy(grown, GROWN_BYTES - PIECE_BYTES, 0, PIECE_BYTES);
      assert.ok(readFileSync(target).equals(grown), 'what the guest flushed is in the image');
      truncateSync(target, DISK_BYTES / 2);
      vm.send('done\n');
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 120_000 }), { status: 0, signal: null }, output());
      const sum = createHash('sha256').update(content).digest('hex');
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      assert.equal(said('disks'), 'vda vdb vdc', output());
      assert.equal(said('serial'), `source-disk ro 1 size ${DISK_BYTES / 512}`);
      assert.equal(said('driver'), 'virtio_blk');
      assert.equal(said('balloon'), 'virtio_balloon');
      assert.equal(said('interrupts'), '3');
      assert.equal(said('sum'), sum);
      assert.equal(said('copied'), sum);
      // One processor uses one queue.
      assert.equal(said('queues'), '1');
      for (const disk of ['vdb', 'vdc']) {
        assert.equal(said(`${disk} has`), String(GROWN_BYTES / 512));
        assert.equal(said(`${disk} written`), '0');
      }
      assert.equal(said('write'), '1');
      assert.match(said('rng') ?? '', /^virtio_rng\.0 4[01]\d\d$/);
      assert.equal(said('read'), '1');
      assert.match(vm.errors, /^crosvm: error: block1: a request failed: the image ended at \d+: it was truncated$/m);
      assert.equal(statSync(source).size, DISK_BYTES);
      grown.fill(0, 3 * 4096, 4 * 4096);
      // Nothing flushed it: the end of the machine did.
      grown.fill(0, 65536, 2 * 65536);
      assert.ok(Buffer.from(readQcow2(qcow2)).equals(grown), 'what the guest flushed is in the qcow2 image');
      const check = spawnSync('qemu-img', ['check', qcow2], { encoding: 'utf8' });
      assert.equal(check.status, 0, `${check.stdout}${check.stderr}`);
    });
  }
});
