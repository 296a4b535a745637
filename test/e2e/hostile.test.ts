/** A hostile guest from inside: a program of its own drives the devices of a machine as no driver should, with the jail and without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { documentedTable, verdictTable } from '../verdict-table.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const PROGRAM = 'etc/crosvm/hostile';
const DISK_BYTES = 1 << 20;
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio_rng',
  'virtio_net',
  'virtio_balloon',
  'vmw_vsock_virtio_transport',
];
const DEVICES = ['rng', 'block', 'net', 'vsock', 'balloon'];

/** Afterwards Linux's drivers find the devices as they should be. */
const SCRIPT = `
/${PROGRAM} || echo "hostile: exit status $?"
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "disk $(sha256sum < /dev/vda | cut -d' ' -f1)"
echo "random $(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c)"
ip link set eth0 up
echo "network $(udhcpc -i eth0 -q -n -f -t 10 -T 1 -s /bin/true 2>&1 | grep -c 'lease of')"
echo "drivers $(ls -d /sys/bus/virtio/drivers/*/virtio* | wc -l)"
`;

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';

describe('a hostile guest', { skip: skipWithoutApt || skipWithoutCompiler || missingProgram('passt', 'passt') }, () => {
  for (const { name, options } of [
    { name: 'in their jails', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`breaks no device but for its own life, ${name}, and Linux drives all of them afterwards`, {
      timeout: 240_000,
    }, async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'crosvm-hostile-'));
      t.after(() => rmSync(folder, { recursive: true, force: true }));
      const [program, disk, archive] = [join(folder, 'program'), join(folder, 'disk'), join(folder, 'script.cpio')];
      execFileSync('cc', ['-O1', '-static', '-pthread', '-o', program, join(import.meta.dirname, 'hostile.c')]);
      const content = randomBytes(DISK_BYTES);
      writeFileSync(disk, content);
      writeScriptArchive(archive, SCRIPT, {
        programs: { ...(await kernelModules(MODULES)), [PROGRAM]: readFileSync(program) },
      });
      const devices = [`--block=${disk}`, '--net=user', `--vsock=cid=42,socket=${join(folder, 'socket')}`];
      await using vm = new TestVm({
        kernel: await vmlinuz(),
        initrds: [await busyboxImage(), archive],
        options: [...devices, ...options],
      });
      const exit = await vm.waitForExit({ timeoutMs: 200_000 });
      const output = `${vm.console.slice(-3000)}\n${vm.errors}`;
      assert.deepEqual(exit, { status: 0, signal: null }, output);
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      assert.match(vm.console, /^survived\s*$/m, output);
      const lines = vm.console.matchAll(/^verdict (\S+): (.*): (.*?)\s*$/gm);
      const verdicts = [...lines].map(([, device = '', name = '', verdict = '']) => ({ device, name, verdict }));
      const table = verdictTable(DEVICES, verdicts);
      t.diagnostic(`\n${table}`);
      assert.equal(said('disk'), createHash('sha256').update(content).digest('hex'), output);
      assert.equal(said('random'), '16');
      assert.equal(said('network'), '1', output);
      assert.equal(said('drivers'), String(DEVICES.length));
      assert.equal(table, documentedTable('From inside'));
    });
  }
});
