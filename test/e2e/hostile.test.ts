/** A hostile guest from inside: a program of its own drives the devices of a jailed machine as no driver should. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { documentedTable, verdictTable } from '../verdict-table.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const PROGRAM = 'etc/crosvm/hostile';
const DISK_BYTES = 1 << 20;
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_rng', 'virtio_balloon', 'vmw_vsock_virtio_transport'];

/** Afterwards Linux's drivers find the devices as they should be. */
const SCRIPT = `
/${PROGRAM} || echo "hostile: exit status $?"
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "disk $(sha256sum < /dev/vda | cut -d' ' -f1)"
echo "random $(dd if=/dev/hwrng bs=16 count=1 2>/dev/null | wc -c)"
echo "drivers $(ls -d /sys/bus/virtio/drivers/*/virtio* | wc -l)"
`;

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';

describe('a hostile guest', { skip: skipWithoutApt || skipWithoutCompiler }, () => {
  test('breaks no device but for its own life, and Linux drives all of them afterwards', {
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
    await using vm = new TestVm({
      kernel: await vmlinuz(),
      initrds: [await busyboxImage(), archive],
      options: [`--block=${disk}`, `--vsock=cid=42,socket=${join(folder, 'socket')}`],
    });
    const exit = await vm.waitForExit({ timeoutMs: 200_000 });
    const output = `${vm.console.slice(-3000)}\n${vm.errors}`;
    assert.deepEqual(exit, { status: 0, signal: null }, output);
    const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
    assert.match(vm.console, /^survived\s*$/m, output);
    const lines = vm.console.matchAll(/^verdict (\S+): (.*): (.*?)\s*$/gm);
    const verdicts = [...lines].map(([, device = '', name = '', verdict = '']) => ({ device, name, verdict }));
    const table = verdictTable(['rng', 'block', 'vsock', 'balloon'], verdicts);
    t.diagnostic(`\n${table}`);
    assert.equal(said('disk'), createHash('sha256').update(content).digest('hex'), output);
    assert.equal(said('random'), '16');
    assert.equal(said('drivers'), '4');
    assert.equal(table, documentedTable('From inside'));
  });
});
