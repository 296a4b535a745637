/**
 * Debian's kernel as a guest of KVM, with its devices in jailed processes: uses each of them, on all of its processors, is suspended,
 * and ends in each way there is.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { currentAffinity, possibleAffinity } from '#sys/scheduling.ts';
import { ControlClient } from '#vm-control/control-client.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { writeScriptArchive } from '../../../tools/guest/initramfs.ts';
import { C_PROGRAMS } from '../../../tools/kvm-lab/script.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, vmlinuz } from '../../e2e/guest-files.ts';
import { TestVm } from '../../e2e/test-vm.ts';
import { missingKvmHardware } from '../../host-needs.ts';

const skip = missingKvmHardware();
const limit = { timeout: 240_000 };
const BOOT = { timeoutMs: 180_000 };
const COMMAND = { timeoutMs: 30_000 };
const STANDSTILL_MS = 1000;
/** `crosvm stop` ends a machine within a second, whatever its guest does; the lab is slower than any host. */
const END = { timeoutMs: 20_000 };
const DISK_BYTES = 2 << 20;
const STREAM_BYTES = 100_000;
const VSOCK_PORT = 5000;
const HTTP_PORT = 8077;
const TAP = { name: 'crosvm0', address: '10.77.0.1', guest: '10.77.0.2' } as const;
const PROGRAM = 'etc/crosvm/vsock';
const MODULES = [
  'virtio_pci',
  'virtio_blk',
  'virtio-rng',
  'virtio_net',
  'virtio_console',
  'virtio_balloon',
  'virtiofs',
  'vmw_vsock_virtio_transport',
];

const COMPLAINTS = 'stall|lockup|BUG:|WARNING: CPU|Oops|nobody cared';
/** QEMU 7.2's SVM does not intercept XSETBV, so that KVM there answers CPUID leaf 0xd for another XCR0 than the guest's. */
const OF_THE_LAB = 'xstate.c';

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
echo "processors $(grep -c ^processor /proc/cpuinfo), hypervisor $(grep -c 'flags.* hypervisor' /proc/cpuinfo)"
echo "clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
for cpu in $(seq 0 $(($(grep -c ^processor /proc/cpuinfo) - 1))); do
  taskset $(printf %x $((1 << cpu))) sha256sum < /dev/vda | cut -d' ' -f1 &
done | sort | uniq -c | tr -s ' ' | sed 's/^ /sums /'
wait
echo "rng $(head -c 64 /dev/hwrng | wc -c)"
mkdir /tmp/shared && mount -t virtiofs shared /tmp/shared
echo "fs $(sha256sum < /tmp/shared/file | cut -d' ' -f1)"
cp /tmp/shared/file /tmp/shared/copy
ifconfig eth0 ${TAP.guest} up && echo "net $(wget -q -O - http://${TAP.address}:${HTTP_PORT}/ | sha256sum | cut -d' ' -f1)"
/${PROGRAM} connect ${VSOCK_PORT} < /tmp/shared/file > /tmp/back
echo "vsock $? $(sha256sum < /tmp/back | cut -d' ' -f1)"
echo "by hvc0" > /dev/hvc0
echo "interrupts $(grep -c 'virtio.*-req' /proc/interrupts)"
echo "free $(grep MemFree /proc/meminfo | tr -s ' ' | cut -d' ' -f2)"
read answer < /dev/console
echo "free $(grep MemFree /proc/meminfo | tr -s ' ' | cut -d' ' -f2)"
dmesg | grep -E '${COMPLAINTS}' | grep -v '${OF_THE_LAB}' > /tmp/complaints
echo "complaints $(wc -l < /tmp/complaints)"
head -5 /tmp/complaints
for i in $(seq 0 $(grep -c ^processor /proc/cpuinfo)); do (while :; do head -c 200000 /dev/vda | md5sum >/dev/null; done) & done
(i=0; while :; do echo "tick $i"; i=$((i + 1)); usleep 100000; done) &
read answer < /dev/console
$answer
wait
`;

const sumOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Spreads the vCPUs over two of the host's processors, the first of which other threads may be on. */
function affinity(cpus: number): string[] {
  const [own = 0] = currentAffinity();
  const other = possibleAffinity().find((cpu) => cpu !== own) ?? own;
  const places = Array.from({ length: cpus }, (_, vcpu) => `${vcpu}=${vcpu % 2 === 0 ? other : own}`);
  return [`--cpu-affinity=${places.join(':')}`];
}

/** The lab has it compiled. */
function vsockProgram(folder: string): Uint8Array {
  const compiled = `/${C_PROGRAMS}/vsock`;
  if (existsSync(compiled)) return readFileSync(compiled);
  const path = join(folder, 'vsock');
  execFileSync('cc', ['-O1', '-static', '-o', path, join(import.meta.dirname, '../../e2e/vsock.c')]);
  return readFileSync(path);
}

/** A tap with a file behind it at its address. Returns whether it could be made. */
async function serveTap(t: TestContext, file: Uint8Array): Promise<boolean> {
  if (process.getuid?.() !== 0) {
    t.diagnostic('without net: only root makes taps');
    return false;
  }
  const ip = (...parameters: string[]): void => void execFileSync('ip', parameters);
  ip('tuntap', 'add', 'dev', TAP.name, 'mode', 'tap', 'vnet_hdr');
  t.after(() => ip('tuntap', 'del', 'dev', TAP.name, 'mode', 'tap'));
  ip('addr', 'add', `${TAP.address}/24`, 'dev', TAP.name);
  ip('link', 'set', TAP.name, 'up');
  const server = createHttpServer((_request, response) => response.end(file));
  t.after(() => server.close());
  server.listen(HTTP_PORT, TAP.address);
  await once(server, 'listening');
  return true;
}

/** Takes streams of the guest and gives each back. */
async function serveVsock(t: TestContext, path: string): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  t.after(() => server.close());
  server.listen(path);
  await once(server, 'listening');
}

class Machine implements AsyncDisposable {
  readonly vm: TestVm;
  readonly folder: string;
  readonly diskSum: string;
  readonly fileSum: string;
  readonly hasNet: boolean;

  private constructor(parts: Pick<Machine, 'vm' | 'folder' | 'diskSum' | 'fileSum' | 'hasNet'>) {
    this.vm = parts.vm;
    this.folder = parts.folder;
    this.diskSum = parts.diskSum;
    this.fileSum = parts.fileSum;
    this.hasNet = parts.hasNet;
  }

  static async boot(t: TestContext, cpus: number): Promise<Machine> {
    const folder = mkdtempSync(join(tmpdir(), 'crosvm-kvm-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const at = (name: string): string => join(folder, name);
    const [content, file] = [randomBytes(DISK_BYTES), randomBytes(STREAM_BYTES)];
    mkdirSync(at('shared'));
    writeFileSync(at('disk'), content);
    writeFileSync(at('shared/file'), file);
    const programs = { ...(await kernelModules(MODULES)), [PROGRAM]: vsockProgram(folder) };
    writeScriptArchive(at('script.cpio'), SCRIPT, { programs });
    await serveVsock(t, `${at('vsock')}_${VSOCK_PORT}`);
    const hasNet = await serveTap(t, file);
    const vm = new TestVm({
      kernel: await vmlinuz(),
      initrds: [await busyboxImage(), at('script.cpio')],
      params: 'reboot=k',
      serial: [
        'type=stdout,num=1,console=true,stdin=true',
        `hardware=virtio-console,num=1,type=file,path=${at('hvc0')}`,
      ],
      options: [
        '--hypervisor=kvm',
        `--cpus=${cpus}`,
        ...affinity(cpus),
        `--block=path=${at('disk')},ro`,
        `--shared-dir=${at('shared')}:shared`,
        `--vsock=cid=3,socket=${at('vsock')}`,
        `--socket=${at('control')}`,
        ...(hasNet ? [`--net=tap-name=${TAP.name}`] : []),
      ],
    });
    return new Machine({ vm, folder, diskSum: sumOf(content), fileSum: sumOf(file), hasNet });
  }

  get control(): ControlClient {
    return ControlClient.connect(join(this.folder, 'control'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
  }
}

/** What the guest has said of its devices. */
async function checkDevices({ vm, folder, diskSum, fileSum, hasNet }: Machine, cpus: number): Promise<void> {
  await vm.waitFor(/^free \d+\r?\n/m, BOOT);
  const expected = [
    `processors ${cpus}, hypervisor ${cpus}`,
    'clock kvm-clock',
    `sums ${cpus} ${diskSum}`,
    'rng 64',
    `fs ${fileSum}`,
    ...(hasNet ? [`net ${fileSum}`] : []),
    `vsock 0 ${fileSum}`,
  ];
  const lines = vm.console.replaceAll('\r', '').split('\n');
  for (const line of expected) assert.ok(lines.includes(line), `no line "${line}" in:\n${vm.console}\n${vm.errors}`);
  assert.match(vm.console, /^interrupts [1-9]/m);
  assert.equal(sumOf(readFileSync(join(folder, 'shared/copy'))), fileSum);
  assert.match(readFileSync(join(folder, 'hvc0'), 'latin1'), /^by hvc0/m);
}

/** Takes 64 MiB of 256 by the balloon, and gives them back. */
async function checkBalloon({ vm, control }: Machine): Promise<void> {
  using client = control;
  client.balloon(64 << 20);
  const started = performance.now();
  while (client.balloonStats().actualBytes < 64 << 20) {
    assert.ok(performance.now() - started < COMMAND.timeoutMs, 'the balloon does not grow');
    await setTimeout(100);
  }
  vm.send('\r');
  await vm.waitFor(/^free \d+\r?\n/m, COMMAND);
  const [before = 0, after = 0] = [...vm.console.matchAll(/^free (\d+)\r?$/gm)].map(([, kib]) => Number(kib));
  assert.ok(after < before - 40_000, `${before} KiB were free, and ${after} are`);
  client.balloon(0);
}

/** Nothing is said while the machine stands still with busy processors, and then it goes on. */
async function checkStandstill({ vm, control }: Machine): Promise<void> {
  await vm.waitFor(/^tick 3\r?\n/m, COMMAND);
  using client = control;
  client.suspend();
  // What was written before is on its way to this process.
  await setTimeout(200);
  const { length } = vm.console;
  await setTimeout(STANDSTILL_MS);
  assert.equal(vm.console.length, length);
  client.resume();
  await vm.waitFor(/^tick \d+\r?\n/m, COMMAND);
}

const ENDS: readonly { readonly cpus: number; readonly end: string; readonly outcome: keyof typeof EXIT_CODES }[] = [
  { cpus: 1, end: 'reboot -f', outcome: 'reset' },
  { cpus: 2, end: 'poweroff -f', outcome: 'power-off' },
  { cpus: 4, end: 'crosvm stop', outcome: 'stopped' },
];

describe("Debian's kernel on KVM", { skip }, () => {
  for (const { cpus, end, outcome } of ENDS) {
    test(`${cpus} vCPUs with every device, which stand still, go on and end by ${end}`, limit, async (t) => {
      await using machine = await Machine.boot(t, cpus);
      const { vm } = machine;
      await checkDevices(machine, cpus);
      await checkBalloon(machine);
      await checkStandstill(machine);
      if (outcome === 'stopped') {
        using client = machine.control;
        client.stop();
      } else {
        vm.send(`${end}\r`);
      }
      const exit = await vm.waitForExit(END);
      const said = vm.console.replaceAll('\r', '').split('\n');
      t.diagnostic(said.filter((line) => /^(?!tick)\w+ /.test(line)).join('; '));
      assert.deepEqual(exit, { status: EXIT_CODES[outcome], signal: null }, vm.errors);
      assert.match(vm.console, /^complaints 0\r?$/m);
    });
  }
});
