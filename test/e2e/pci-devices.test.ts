/** The functions of virtio devices as Debian's lspci and drivers see them, by MSI-X and by INTx alone; all jailed. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, pciUtilsImage, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 180_000 };
const LSPCI = join(import.meta.dirname, 'lspci.txt');
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio-rng',
  'virtio_net',
  'virtio_balloon',
  'vmw_vsock_virtio_transport',
];
const LOAD = `for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done`;
const BYTES = 1 << 20;

/** lspci says what the kernel's modules are, for which it wants their index. */
const LIST = `
${LOAD}
index=/lib/modules/$(uname -r)
mkdir -p $index
touch $index/modules.order $index/modules.builtin
printf 'none.license=GPL\\0' > $index/modules.builtin.modinfo
depmod
echo "list begins"
lspci -nnvvv 2>&1
lspci -s 2 -xxxx 2>&1
echo "list ends"
`;

/** rng and vdd share GSI 17, vda and the network GSI 18: both at once. */
const WORK = `
${LOAD}
ip link set eth0 up
printf '#!/bin/sh\\n[ "$1" = bound ] || exit 0\\nip addr add $ip/$mask dev eth0\\nip route add default via $router\\n' > /tmp/dhcp
chmod +x /tmp/dhcp
udhcpc -i eth0 -q -n -f -t 10 -T 1 -s /tmp/dhcp > /tmp/log 2>&1 || cat /tmp/log
wget -q -O /tmp/fetched http://10.0.2.2:PORT/file &
dd if=/dev/vda of=/dev/vdb bs=16k iflag=direct oflag=direct 2>/dev/null
wait
echo "fetched $(sha256sum < /tmp/fetched | cut -d' ' -f1)"
echo "copied $(sha256sum < /dev/vdb | cut -d' ' -f1)"
dd if=/dev/vda of=/dev/vdd bs=16k iflag=direct oflag=direct 2>/dev/null &
echo "rng $(head -c 65536 /dev/hwrng | wc -c)"
wait
echo "shared $(sha256sum < /dev/vdd | cut -d' ' -f1)"
grep virtio /proc/interrupts | sed 's/^/interrupts /'
dmesg | grep -iE 'nobody cared|disabling irq' | sed 's/^/complaint /'
`;

async function boot(t: TestContext, script: string, options: readonly string[]): Promise<TestVm> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-pci-devices-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const archive = join(folder, 'script.cpio');
  writeScriptArchive(archive, script, { programs: await kernelModules(MODULES) });
  const image = script === LIST ? await pciUtilsImage() : await busyboxImage();
  const vm = new TestVm({ kernel: await vmlinuz(), initrds: [image, archive], options });
  t.after(() => vm[Symbol.asyncDispose]());
  assert.deepEqual(await vm.waitForExit({ timeoutMs: 120_000 }), { status: 0, signal: null }, vm.errors);
  return vm;
}

/** Files of random bytes and of zeros. */
function disks(t: TestContext, contents: readonly Uint8Array[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-pci-disks-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return contents.map((content, index) => {
    const path = join(folder, String(index));
    writeFileSync(path, content);
    return path;
  });
}

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('virtio devices on the PCI bus', { skip: skipWithoutApt || missingProgram('passt', 'passt') }, () => {
  test('are what lspci expects of such devices', limit, async (t) => {
    const [disk = ''] = disks(t, [new Uint8Array(BYTES)]);
    const options = [`--block=${disk}`, '--net=user', `--vsock=cid=3,socket=${disk}.vsock`];
    const { console } = await boot(t, LIST, options);
    const listed = /^list begins\r?\n(.*)^list ends/ms.exec(console)?.[1]?.replaceAll('\r', '');
    assert.equal(listed, readFileSync(LSPCI, 'utf8'));
  });

  test('work with INTx alone, also where two share a line', limit, async (t) => {
    const content = randomBytes(BYTES);
    const server = createServer((_request, response) => void response.end(content)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const zeros = new Uint8Array(BYTES);
    const options = disks(t, [content, zeros, zeros, zeros]).map((path) => `--block=${path}`);
    const more = ['--net=user,host-loopback', '--params=pci=nomsi'];
    const { console, errors } = await boot(t, WORK.replace('PORT', String(port)), [...options, ...more]);
    const output = `${console.slice(-3000)}\n${errors}`;
    const said = (word: string): string[] =>
      [...console.matchAll(new RegExp(`^${word} (.*?)\\s*$`, 'gm'))].map(([, text = '']) => text);
    for (const word of ['fetched', 'copied', 'shared']) assert.deepEqual(said(word), [sumOf(content)], output);
    assert.deepEqual(said('rng'), ['65536'], output);
    const interrupts = said('interrupts').map((line) =>
      /^(\d+): +(\d+) +IO-APIC +\d+-fasteoi +(.*)$/.exec(line.trim())?.slice(1),
    );
    // The order of two at a line is that of their drivers' start.
    const drivers = (names = ''): string => names.split(', ').toSorted().join(', ');
    assert.deepEqual(
      interrupts.map((row) => [row?.[0], drivers(row?.[2])]),
      [
        ['16', 'virtio3'],
        ['17', 'virtio0, virtio4'],
        ['18', 'virtio1, virtio5'],
        ['19', 'virtio2, virtio6'],
      ],
      output,
    );
    for (const row of [interrupts[1], interrupts[2]]) assert.ok(Number(row?.[1]) > 64, output);
    assert.deepEqual(said('complaint'), [], output);
  });
});
