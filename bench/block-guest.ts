/**
 * npm run bench -- block-guest [--rounds 3] [--seconds 2] [--cold] [--json PATH]
 *
 * Requests of a guest's program to its disk, ours and virtio-blk of `qemu-system-x86_64 -accel tcg` in turn, on the same kernel,
 * initramfs and image, which lies in the host's page cache, or with --cold does not when a machine starts. bench/block-guest.c is the
 * program.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { busyboxImage, kernelModules, MODULE_PREFIX, vmlinuz } from '../test/e2e/guest-files.ts';
import { writeScriptArchive } from '../tools/guest/initramfs.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { type Command, hostText, measureRates, median, ownCommand, qemuCommand } from './beside-qemu.ts';

const PROGRAM = 'etc/crosvm/block-guest';
const DISK_BYTES = 128 << 20;

interface Load {
  readonly operation: 'read' | 'write';
  readonly order: 'random' | 'sequential';
  readonly bytes: number;
  readonly depth: number;
}

const LOADS: readonly Load[] = [
  { operation: 'read', order: 'random', bytes: 4096, depth: 1 },
  { operation: 'write', order: 'random', bytes: 4096, depth: 1 },
  { operation: 'read', order: 'random', bytes: 4096, depth: 32 },
  { operation: 'write', order: 'random', bytes: 4096, depth: 32 },
  { operation: 'read', order: 'sequential', bytes: 1 << 20, depth: 4 },
  { operation: 'write', order: 'sequential', bytes: 1 << 20, depth: 4 },
];

interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
  readonly disk: string;
}

interface Contender {
  readonly name: string;
  readonly command: (guest: Guest) => Command;
}

const CONTENDERS: readonly Contender[] = [
  {
    name: 'QEMU TCG',
    command: (guest) =>
      qemuCommand(guest, [
        ...['-nic', 'none', '-drive', `file=${guest.disk},format=raw,if=none,id=disk`],
        ...['-device', 'virtio-blk-pci,drive=disk'],
      ]),
  },
  {
    name: 'crosvm-ts',
    command: (guest) => ownCommand(guest, [`--block=${guest.disk},format=raw`]),
  },
];

/** Requests per second, by load. */
type Rates = readonly number[];

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '2' },
      cold: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
    strict: true,
  });
  const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  if (!(seconds > 0)) throw new BenchUsageError('--seconds takes a number');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const guest = await createGuest(folder, seconds * 1000);
    const results = new Map<string, Rates[]>(CONTENDERS.map(({ name }) => [name, []]));
    for (let round = 1; round <= rounds; round++) {
      // Whoever comes first may meet a busier host: take turns.
      for (const contender of round % 2 === 1 ? CONTENDERS : CONTENDERS.toReversed()) {
        if (values.cold) evict(guest.disk);
        const rates = await measureRates(contender.name, contender.command(guest), LOADS.length);
        process.stderr.write(
          `bench: round ${round} of ${rounds}: ${contender.name}: ${rates.map(Math.round).join(', ')}\n`,
        );
        results.get(contender.name)?.push(rates);
      }
    }
    report(results, rounds);
    if (values.json !== undefined)
      writeFileSync(values.json, `${JSON.stringify(Object.fromEntries(results), null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

/** One initramfs file, for QEMU takes only one. */
async function createGuest(folder: string, timeMs: number): Promise<Guest> {
  const [program, script, initramfs, disk] = ['program', 'script', 'initramfs', 'disk'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  execFileSync('cc', ['-O2', '-static', '-o', program, join(import.meta.dirname, 'block-guest.c')]);
  const programs = { ...(await kernelModules(['virtio_pci', 'virtio_blk'])), [PROGRAM]: readFileSync(program) };
  const commands = LOADS.map(
    ({ operation, order, bytes, depth }) =>
      `/${PROGRAM} /dev/vda ${operation} ${order} ${bytes} ${depth} ${Math.round(timeMs)}`,
  );
  const text = `for module in /${MODULE_PREFIX}*; do insmod $module; done\n${commands.join('\n')}\n`;
  writeScriptArchive(script, text, { programs });
  writeFileSync(initramfs, Buffer.concat([readFileSync(await busyboxImage()), readFileSync(script)]));
  // Not zeros: a file system may store those in another way.
  writeFileSync(disk, new Uint8Array(DISK_BYTES).fill(0x5a));
  return { kernel: await vmlinuz(), initramfs, disk };
}

/** GNU dd's way to drop a file from the page cache. */
function evict(path: string): void {
  execFileSync('dd', ['if=/dev/null', `of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'status=none']);
}

function report(results: ReadonlyMap<string, readonly Rates[]>, rounds: number): void {
  const [reference, own] = CONTENDERS.map(({ name }) => results.get(name) ?? []);
  const rows = LOADS.map(({ operation, order, bytes, depth }, load) => {
    const all = [reference, own].map((rates) => (rates ?? []).map((each) => each[load] ?? 0));
    const [theirs, ours] = all.map(median);
    const [theirBest, ourBest] = all.map((rates) => Math.max(...rates));
    const speed = (rate = 0): string =>
      bytes < 1 << 20 ? `${rate.toFixed(0)} /s` : `${((rate * bytes) / 2 ** 20).toFixed(0)} MiB/s`;
    const ratio = (a = 0, b = 1): string => (a / b).toFixed(2);
    const ratios = `${ratio(ours, theirs)} | ${ratio(ourBest, theirBest)}`;
    return `| ${operation} ${order} ${bytes >> 10} KiB | ${depth} | ${speed(theirs)} | ${speed(ours)} | ${ratios} |`;
  });
  const lines = [
    `medians of ${rounds} rounds; ${hostText()}`,
    '',
    '| | in flight | QEMU TCG | crosvm-ts | ours / QEMU | of the best rounds |',
    '|---|---|---|---|---|---|',
    ...rows,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

export default {
  name: 'block-guest',
  describe: "a guest's requests to its disk, beside QEMU TCG",
  run,
} satisfies Bench;
