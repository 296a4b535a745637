/**
 * npm run bench -- start [--rounds 5] [--crosvm PROGRAM]: from the start of `crosvm run` to the guest's first byte on its console, which comes when all devices are in
 * their jails. The machine has an entropy device, a balloon, a disk, sockets, and a network where passt is installed.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { code, tinyKernel } from '../test/integration/run/tiny-guest.ts';
import { type Bench, BenchUsageError } from './bench.ts';

const PHASES = ['checked', 'machine built', 'devices asked for', 'threads ready', 'devices jailed', 'guest'] as const;
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

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({
    args: parameters,
    options: {
      rounds: { type: 'string', default: '5' },
      crosvm: { type: 'string', default: resolve(import.meta.dirname, '../bin/crosvm.js') },
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
    const options = [
      `--block=${disk}`,
      `--vsock=7,socket=${join(folder, 'vsock')}`,
      ...(hasPasst ? ['--net=user'] : []),
    ];
    const rounds: Round[] = [];
    // The first one fills the caches of the file system.
    for (let round = 0; round <= count; round++) rounds.push(await measure(values.crosvm, options, kernel));
    const ms = (phase: Phase): number =>
      Math.round(median(rounds.slice(1).map((round) => round.get(phase) ?? Number.NaN)));
    const phases = Object.fromEntries(PHASES.map((phase) => [phase, ms(phase)]));
    const best = Math.round(Math.min(...rounds.slice(1).map((round) => round.get('guest') ?? Number.NaN)));
    const host = { cores: cpus().length, load: Number(loadavg()[0]?.toFixed(1)), network: hasPasst };
    process.stdout.write(`${JSON.stringify({ rounds: count, medianMsUntil: phases, bestGuestMs: best, ...host })}\n`);
    return 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export default {
  name: 'start',
  describe: 'from `crosvm run` to the guest of a machine with six devices',
  run,
} satisfies Bench;
