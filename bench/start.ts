/**
 * npm run bench -- start [--rounds 5] [--crosvm PROGRAM]: from the start of `crosvm run` to the guest's first byte on its console, which comes when all devices are in
 * their jails. The machine has an entropy device, a balloon, a disk, sockets, a console, a shared directory, and a network where passt is installed. Then the memory
 * of each of its device processes, while its guest does nothing. The program is built as for an installed package, unless another is named.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { code, tinyKernel } from '../test/integration/run/tiny-guest.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { installInto } from './installed.ts';
import { memoryOf, withChildren } from './process-tree.ts';

const PHASES = ['checked', 'machine built', 'devices asked for', 'threads ready', 'devices jailed', 'guest'] as const;
/** For what a device does after it has told that it is in its jail. */
const SETTLE_MS = 500;
const DEVICE_NAME = /^(?:rng|balloon|vsock|console|block\d|net\d|fs\d)$/;
type Phase = (typeof PHASES)[number];
type Round = ReadonlyMap<Phase, number>;

/** What of a line on standard error ends a phase; the lines of `--log-level info`. */
const ENDS: readonly (readonly [string, Phase])[] = [
  ['crosvm: hypervisor: ', 'checked'],
  ['start: the machine is built', 'machine built'],
  ['start: the devices are asked for', 'devices asked for'],
  ['start: the threads are ready', 'threads ready'],
  ['start: the devices are jailed', 'devices jailed'],
];

async function measure(crosvm: string, options: readonly string[], kernel: string): Promise<Round> {
  const round = new Map<Phase, number>();
  const startedMs = performance.now();
  const note = (phase: Phase): void => {
    if (!round.has(phase)) round.set(phase, performance.now() - startedMs);
  };
  const argv = [crosvm, 'run', '--mem=256', '--hypervisor=software', '--log-level=info', ...options, kernel];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
    for (const [text, phase] of ENDS) if (errors.includes(text)) note(phase);
  });
  child.stdout.once('data', () => note('guest'));
  const status = await new Promise((resolveEnd, reject) => {
    child.once('error', reject);
    child.once('close', resolveEnd);
  });
  if (status !== 0) throw new Error(`crosvm ended with ${String(status)}: ${errors}`);
  return round;
}

/** By its name, the memory of every device process of a machine whose guest has come to its console and halts. */
async function measureMemory(
  crosvm: string,
  options: readonly string[],
  kernel: string,
): Promise<Record<string, { pssMib: number; privateDirtyMib: number }>> {
  const argv = [crosvm, 'run', '--mem=256', '--hypervisor=software', ...options, kernel];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data');
    await setTimeout(SETTLE_MS);
    const threads = withChildren(child.pid ?? 0).map((pid) => ({ pid, name: nameOf(pid) }));
    const devices = threads.filter(({ name }) => DEVICE_NAME.test(name));
    const mib = (kib: number) => Number((kib / 1024).toFixed(1));
    return Object.fromEntries(
      devices.map(({ pid, name }) => {
        const { pssKib, privateDirtyKib } = memoryOf(pid);
        return [name, { pssMib: mib(pssKib), privateDirtyMib: mib(privateDirtyKib) }];
      }),
    );
  } finally {
    child.kill();
    await once(child, 'close');
  }
}

function nameOf(pid: number): string {
  return readFileSync(`/proc/${pid}/comm`, 'latin1').trim();
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: {
      rounds: { type: 'string', default: '5' },
      crosvm: { type: 'string' },
    },
  });
  const count = Number(values.rounds);
  if (!Number.isInteger(count) || count < 1 || count > 100) throw new BenchUsageError('--rounds: 1 to 100');
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-start-'));
  try {
    const [kernel, disk] = [join(folder, 'kernel'), join(folder, 'disk')];
    writeFileSync(kernel, tinyKernel([code.print('x'), code.powerOff, code.spin]));
    writeFileSync(disk, new Uint8Array(1 << 20));
    const hasPasst = spawnSync('passt', ['--version']).error === undefined;
    const [shared, installed] = [join(folder, 'shared'), join(folder, 'installed')];
    for (const path of [shared, installed]) mkdirSync(path);
    const crosvm = values.crosvm ?? installInto(installed);
    const options = [
      `--block=${disk}`,
      `--vsock=7,socket=${join(folder, 'vsock')}`,
      `--shared-dir=${shared}:shared`,
      ...['type=stdout,num=1,console', 'hardware=virtio-console,num=1,type=sink'].map((port) => `--serial=${port}`),
      ...(hasPasst ? ['--net=user'] : []),
    ];
    const rounds: Round[] = [];
    // The first one fills the caches of the file system.
    for (let round = 0; round <= count; round++) rounds.push(await measure(crosvm, options, kernel));
    const ms = (phase: Phase): number =>
      Math.round(median(rounds.slice(1).map((round) => round.get(phase) ?? Number.NaN)));
    const phases = Object.fromEntries(PHASES.map((phase) => [phase, ms(phase)]));
    const best = Math.round(Math.min(...rounds.slice(1).map((round) => round.get('guest') ?? Number.NaN)));
    const idle = join(folder, 'idle');
    writeFileSync(idle, tinyKernel([code.print('x'), code.haltForever]));
    const memory = await measureMemory(crosvm, options, idle);
    const host = { cores: cpus().length, load: Number(loadavg()[0]?.toFixed(1)), network: hasPasst };
    process.stdout.write(
      `${JSON.stringify({ rounds: count, medianMsUntil: phases, bestGuestMs: best, memory, ...host })}\n`,
    );
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export default {
  name: 'start',
  describe: 'from `crosvm run` to the guest of a machine with seven devices',
  run,
} satisfies Bench;
