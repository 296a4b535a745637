/**
 * npm run bench -- net-guest [--rounds 3] [--seconds 2] [--json PATH]
 *
 * The network of a guest's program, ours and virtio-net of `qemu-system-x86_64 -accel tcg` in turn, on the same kernel and initramfs:
 * over a tap, with all offloads, and over passt. Everything is in a network namespace of its own, which takes root.
 * bench/net-guest.c is both ends.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { passtArguments } from '#vmm/devices/passt.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, vmlinuz } from '../test/e2e/guest-files.ts';
import { writeScriptArchive } from '../tools/guest/initramfs.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { type Command, hostText, measureRates, median, ownCommand, qemuCommand } from './beside-qemu.ts';

const PROGRAM = 'etc/crosvm/net-guest';
const PORT = 7000;

interface Load {
  readonly describe: string;
  /** The words before the address, and after the time. */
  readonly words: readonly [before: string, after: string];
  readonly unit: 'MiB/s' | '/s';
}

const LOADS: readonly Load[] = [
  { describe: 'TCP out of the guest', words: ['send', ''], unit: 'MiB/s' },
  { describe: 'TCP into the guest', words: ['receive', ''], unit: 'MiB/s' },
  { describe: 'UDP round trips of 64 bytes', words: ['ping', '1'], unit: '/s' },
  { describe: 'the same, 16 on their way', words: ['ping', '16'], unit: '/s' },
];

interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
}

interface Network {
  readonly name: string;
  /** The host's address to the guest. */
  readonly host: string;
  readonly address: string;
  /** As passt says it by DHCP; Linux's own otherwise. */
  readonly mtu: number;
  /** Commands on the host before QEMU starts, and before either does. `$1` is a folder of the machine's own. */
  readonly qemuSetup: string;
  readonly setup: string;
  readonly qemuNetdev: string;
  readonly ownNet: string;
}

const USER = { kind: 'user', hostForwards: [], hostLoopback: true } as const;
/** passt for QEMU, which connects to it: else as ours is started. */
const PASST = passtArguments(USER)
  .join(' ')
  .replace(/--fd \d+/, '--one-off --socket "$1/passt"');

const NETWORKS: readonly Network[] = [
  {
    name: 'tap',
    host: '192.168.77.1',
    address: '192.168.77.2',
    mtu: 1500,
    setup:
      'ip tuntap add dev crosvm0 mode tap vnet_hdr && ip addr add 192.168.77.1/24 dev crosvm0 && ip link set crosvm0 up',
    qemuSetup: 'true',
    qemuNetdev: 'tap,id=net,ifname=crosvm0,script=no,downscript=no,vhost=off',
    ownNet: 'tap-name=crosvm0',
  },
  {
    name: 'passt',
    host: '10.0.2.2',
    address: '10.0.2.15',
    mtu: 32_000,
    // passt wants a default route, wherever it leads.
    setup:
      'ip tuntap add dev uplink0 mode tap && ip addr add 192.168.78.2/24 dev uplink0 && ip link set uplink0 up && ip route add default via 192.168.78.1',
    qemuSetup: `{ passt ${PASST} & until [ -S "$1/passt" ]; do kill -0 $! || exit 98; sleep 0.1; done; }`,
    qemuNetdev: 'stream,id=net,server=off,addr.type=unix,addr.path=SOCKET',
    ownNet: 'user,host-loopback=true',
  },
];

interface Files {
  readonly guest: Guest;
  readonly network: Network;
  /** The machine's own. */
  readonly folder: string;
}

interface Contender {
  readonly name: string;
  readonly setup: (network: Network) => string;
  readonly command: (files: Files) => Command;
}

const CONTENDERS: readonly Contender[] = [
  {
    name: 'QEMU TCG',
    setup: ({ setup, qemuSetup }) => `${setup} && ${qemuSetup}`,
    command: ({ guest, network: { qemuNetdev }, folder }) =>
      qemuCommand(guest, [
        ...['-netdev', qemuNetdev.replace('SOCKET', join(folder, 'passt'))],
        ...['-device', 'virtio-net-pci,netdev=net,romfile='],
      ]),
  },
  {
    name: 'crosvm-ts',
    setup: ({ setup }) => setup,
    command: ({ guest, network: { ownNet } }) => ownCommand(guest, [`--net=${ownNet}`]),
  },
];

/** By network and contender, what each round had of each load. */
type Results = Readonly<Record<string, Record<string, (readonly number[])[]>>>;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '2' },
      json: { type: 'string' },
    },
    strict: true,
  });
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  if (!(seconds > 0)) throw new BenchUsageError('--seconds takes a number');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  // Root's passt becomes nobody before it makes its socket.
  chmodSync(folder, 0o711);
  try {
    const program = join(folder, 'net-guest');
    execFileSync('cc', ['-O2', '-static', '-o', program, join(import.meta.dirname, 'net-guest.c')]);
    const results: Results = Object.fromEntries(
      NETWORKS.map(({ name }) => [name, Object.fromEntries(CONTENDERS.map((contender) => [contender.name, []]))]),
    );
    for (const network of NETWORKS) {
      const guest = await createGuest(folder, program, { network, timeMs: Math.round(seconds * 1000) });
      for (let round = 1; round <= rounds; round++) {
        // Whoever comes first may meet a busier host: take turns.
        for (const contender of round % 2 === 1 ? CONTENDERS : CONTENDERS.toReversed()) {
          const rates = await measure(contender, { guest, network, folder: roundFolder(folder) }, program);
          const shown = LOADS.map((load, index) => speed(load, rates[index])).join(', ');
          process.stderr.write(`bench: ${network.name}, round ${round} of ${rounds}: ${contender.name}: ${shown}\n`);
          results[network.name]?.[contender.name]?.push(rates);
        }
      }
    }
    report(results, rounds);
    if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

/** One initramfs file, for QEMU takes only one. */
async function createGuest(
  folder: string,
  program: string,
  { network, timeMs }: { readonly network: Network; readonly timeMs: number },
): Promise<Guest> {
  const { name, host, address, mtu } = network;
  const [script, initramfs] = [join(folder, `script-${name}`), join(folder, `initramfs-${name}`)];
  const programs = { ...(await kernelModules(['virtio_pci', 'virtio_net'])), [PROGRAM]: readFileSync(program) };
  const lines = [
    `for module in /${MODULE_PREFIX}*; do insmod $module; done`,
    `ip link set eth0 mtu ${mtu} up`,
    `ip addr add ${address}/24 dev eth0`,
    ...LOADS.map(({ words: [before, after] }) => `/${PROGRAM} ${before} ${host} ${PORT} ${timeMs} ${after}`),
  ];
  writeScriptArchive(script, `${lines.join('\n')}\n`, { programs });
  writeFileSync(initramfs, Buffer.concat([readFileSync(await busyboxImage()), readFileSync(script)]));
  return { kernel: await vmlinuz(), initramfs };
}

function roundFolder(folder: string): string {
  const own = mkdtempSync(join(folder, 'round-'));
  chmodSync(own, 0o777);
  return own;
}

/** The other end listens before the machine starts, and ends with it. */
async function measure(contender: Contender, files: Files, program: string): Promise<readonly number[]> {
  const setup = `
ip link set lo up && ${contender.setup(files.network)} || exit 99
"$2" serve ${PORT} "$1/ready" &
until [ -e "$1/ready" ]; do sleep 0.1; done
shift 2
exec "$@"
`;
  const within = ['unshare', '-n', 'sh', '-c', setup, 'sh', files.folder, program] as const;
  return await measureRates(contender.name, [...within, ...contender.command(files)], LOADS.length);
}

function speed({ unit }: Load, rate = 0): string {
  return unit === '/s' ? `${rate.toFixed(0)} /s` : `${(rate / 2 ** 20).toFixed(1)} MiB/s`;
}

function report(results: Results, rounds: number): void {
  const rows = NETWORKS.flatMap(({ name }) =>
    LOADS.map((load, index) => {
      const all = CONTENDERS.map((contender) =>
        (results[name]?.[contender.name] ?? []).map((rates) => rates[index] ?? 0),
      );
      const [theirs, ours] = all.map(median);
      const [theirBest, ourBest] = all.map((rates) => Math.max(...rates));
      const ratio = (a = 0, b = 1): string => (a / b).toFixed(2);
      const ratios = `${ratio(ours, theirs)} | ${ratio(ourBest, theirBest)}`;
      return `| ${name} | ${load.describe} | ${speed(load, theirs)} | ${speed(load, ours)} | ${ratios} |`;
    }),
  );
  const lines = [
    `medians of ${rounds} rounds; ${hostText()}`,
    '',
    '| | | QEMU TCG | crosvm-ts | ours / QEMU | of the best rounds |',
    '|---|---|---|---|---|---|',
    ...rows,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

export default {
  name: 'net-guest',
  describe: "a guest's network over a tap and over passt, beside QEMU TCG",
  run,
} satisfies Bench;
