/** A guest behind a tap of two queues, with the offloads and the filters that Debian's driver takes, jailed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { NetFeature } from '#devices/virtio/net/constants.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingTap } from '../host-needs.ts';
import { kernelModules, MODULE_PREFIX, packagesImage, skipWithoutApt, vmlinuz } from './guest-files.ts';
import {
  DOWNLOAD_PORT,
  OTHER_ADDRESS,
  OTHER_FRAMES,
  OTHER_MAC,
  TAP_ADDRESS,
  tapFile,
  UPLOAD_PORT,
} from './tap-server.ts';
import { TestVm } from './test-vm.ts';

const MAC = '52:54:00:77:00:02';
const SECOND_MAC = '52:54:00:77:00:03';
const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
ip link set lo up
ip link set eth0 address ${MAC}
ip link set eth0 up
ip addr add 192.168.77.2/24 dev eth0
ip link add link eth0 name eth0.5 type vlan id 5 && ip link set eth0.5 address ${SECOND_MAC} && ip link set eth0.5 up
ethtool -L eth0 combined 2
echo "pairs $(ethtool -l eth0 | tr -d '\n')"
echo "features $(cat /sys/class/net/eth0/device/features)"
received() { cat /sys/class/net/eth0/statistics/rx_packets; }
others() { before=$(received); wget -q -O /dev/null http://${TAP_ADDRESS}:${DOWNLOAD_PORT}/others; echo $(($(received) - before)); }
echo "filtered $(others)"
ip link set eth0 promisc on
echo "promiscuous $(others)"
ip link set eth0 promisc off
ip link del eth0.5
echo "mac $(cat /sys/class/net/eth0/address)"
echo "refused [$(dmesg | grep 'virtio_net.*Failed')]"
wget -q -O /tmp/file http://${TAP_ADDRESS}:${DOWNLOAD_PORT}/
ethtool -K eth0 rx-gro-hw off
echo "offloads $?"
echo "down $(sha256sum < /tmp/file | cut -d' ' -f1)"
echo "up $(nc ${TAP_ADDRESS} ${UPLOAD_PORT} < /tmp/file)"
`;

/** Makes the tap in a network namespace of its own, starts the other end there, and becomes the command. */
const SETUP = `
ip tuntap add dev crosvm0 mode tap vnet_hdr multi_queue && ip addr add ${TAP_ADDRESS}/24 dev crosvm0 && ip link set crosvm0 up && ip neigh add ${OTHER_ADDRESS} lladdr ${OTHER_MAC} nud permanent dev crosvm0 || exit 99
server=$1 ready=$2; shift 2
"$1" "$server" "$ready" >&2 &
until [ -e "$ready" ]; do sleep 0.1; done
exec "$@"
`;

const said = (vm: TestVm, word: string): string | undefined =>
  new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];

test('a guest moves a file both ways through a tap with offloads, and gets what it asks for', {
  skip: skipWithoutApt || missingTap(),
  timeout: 180_000,
}, async (t: TestContext) => {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-tap-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const archive = join(folder, 'script.cpio');
  writeScriptArchive(archive, SCRIPT, { programs: await kernelModules(['virtio_pci', 'virtio_net', '8021q']) });
  const server = join(import.meta.dirname, 'tap-server.ts');
  await using vm = new TestVm({
    kernel: await vmlinuz(),
    initrds: [await packagesImage(['ethtool']), archive],
    options: ['--net=tap-name=crosvm0,vq-pairs=2'],
    within: (command) => ['unshare', '-n', 'sh', '-c', SETUP, 'sh', server, join(folder, 'ready'), ...command],
  });
  const output = (): string => `${vm.console.slice(-3000)}\n${vm.errors}`;
  assert.deepEqual(await vm.waitForExit({ timeoutMs: 120_000 }), { status: 0, signal: null }, output());
  const sum = createHash('sha256').update(tapFile()).digest('hex');
  assert.equal(said(vm, 'mac'), MAC, output());
  assert.equal(said(vm, 'refused'), '[]', output());
  assert.ok(Number(said(vm, 'filtered')) < OTHER_FRAMES, output());
  assert.ok(Number(said(vm, 'promiscuous')) >= OTHER_FRAMES, output());
  assert.equal(said(vm, 'down'), sum, output());
  assert.equal(said(vm, 'up'), sum, output());
  assert.match(said(vm, 'pairs') ?? '', /Pre-set maximums:.*Combined:\s*2Current.*Combined:\s*2$/, output());
  assert.equal(said(vm, 'offloads'), '0', output());
  const taken = BigInt(`0b${[...(said(vm, 'features') ?? '')].reverse().join('')}`);
  const {
    CTRL_RX,
    CTRL_VLAN,
    CTRL_MAC_ADDR,
    CSUM,
    CTRL_GUEST_OFFLOADS,
    GUEST_CSUM,
    GUEST_TSO4,
    HOST_TSO4,
    MQ,
    MRG_RXBUF,
  } = NetFeature;
  const filters = CTRL_RX | CTRL_VLAN | CTRL_MAC_ADDR;
  const wanted = filters | CTRL_GUEST_OFFLOADS | MQ | CSUM | GUEST_CSUM | GUEST_TSO4 | HOST_TSO4 | MRG_RXBUF;
  assert.equal(taken & wanted, wanted, output());
});
