/**
 * npm run bench -- cpu [--rounds 3] [--only NAME,…] [--interpreted] [--json PATH]
 *
 * The static programs of cpu-guest.c on the host's processor, under `qemu-system-x86_64 -accel tcg` and on the software CPU, in turn, with one
 * vCPU, the same kernel and initramfs; and the time from the start of each process to init's first line. `--interpreted` adds the software
 * CPU without its compiler. The C compiler is `cc`. What a program computes must be the same everywhere.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { busyboxImage, vmlinuz } from '../test/e2e/guest-files.ts';
import { FIRST_LINE } from '../tools/guest/init-script.ts';
import { writeScriptArchive } from '../tools/guest/initramfs.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { type Command, hostText, median, ownCommand, qemuCommand } from './beside-qemu.ts';

/** In the order of cpu-guest.c. */
const PROGRAMS = {
  integer: ['mix', 'sieve', 'sha256', 'quicksort', 'bytecode', 'recursion', 'chase', 'search', 'copy'],
  'floating point': ['triad', 'bodies', 'mandelbrot'],
  kernel: ['calls', 'forks', 'faults', 'pipes'],
} as const;
const NAMES: readonly string[] = Object.values(PROGRAMS).flat();
const ROUND_LIMIT_MS = 600_000;
const TAIL_CHARACTERS = 2000;

interface Machine {
  readonly title: string;
  readonly command: Command;
}

interface Round {
  /** By program: the number that it prints, and nanoseconds. */
  readonly programs: ReadonlyMap<string, { readonly check: string; readonly ns: number }>;
  /** From the start of the process to init's first line; not of the host. */
  readonly initMs: number | undefined;
}

const HOST = 'the host';
const QEMU = 'QEMU TCG';
const OWN = 'crosvm-ts';
const INTERPRETED = 'crosvm-ts --no-jit';

async function measure({ title, command }: Machine, names: readonly string[]): Promise<Round> {
  const [program, ...parameters] = command;
  const startedMs = performance.now();
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), ROUND_LIMIT_MS);
  let output = '';
  let initMs: number | undefined;
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
    if (initMs === undefined && output.includes(FIRST_LINE)) initMs = performance.now() - startedMs;
  });
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
  const status = await new Promise<number | null>((resolveStatus, reject) => {
    child.once('error', reject);
    child.once('close', resolveStatus);
  }).finally(() => clearTimeout(limit));
  const lines = [...output.matchAll(/^program (\S+) (-?\d+) (\d+)/gm)];
  const programs = new Map(lines.map(([, name = '', check = '', ns]) => [name, { check, ns: Number(ns) }] as const));
  if (status !== 0 || names.some((name) => !programs.has(name))) {
    throw new Error(`${title} ended with status ${status}:\n${output.slice(-TAIL_CHARACTERS)}`);
  }
  return { programs, initMs };
}

/** A wrong result is worth no time. */
function compareChecks(rounds: ReadonlyMap<string, readonly Round[]>, names: readonly string[]): void {
  for (const name of names) {
    const checks = new Map<string, string>();
    for (const [title, list] of rounds) {
      for (const { programs } of list) checks.set(programs.get(name)?.check ?? 'nothing', title);
    }
    if (checks.size === 1) continue;
    const seen = [...checks].map(([check, title]) => `${check} (${title})`).join(', ');
    throw new Error(`${name} does not compute the same everywhere: ${seen}`);
  }
}

const geometricMean = (values: readonly number[]): number =>
  Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

function report(rounds: ReadonlyMap<string, readonly Round[]>, names: readonly string[]): string {
  const best = (title: string, name: string): number =>
    Math.min(...(rounds.get(title) ?? []).map(({ programs }) => programs.get(name)?.ns ?? Number.NaN));
  const guests = [...rounds.keys()].filter((title) => title !== HOST);
  const own = guests.filter((title) => title !== QEMU);
  const speed = (title: string, name: string): number => best(QEMU, name) / best(title, name);
  const cells = (values: readonly string[]): string => `| ${values.join(' | ')} |`;
  const seconds = (ns: number): string => (ns / 1e9).toFixed(3);
  const rows = names.map((name) =>
    cells([
      name,
      seconds(best(HOST, name)),
      ...guests.map((title) => `${seconds(best(title, name))} (${(best(title, name) / best(HOST, name)).toFixed(1)})`),
      ...own.map((title) => speed(title, name).toFixed(2)),
    ]),
  );
  const groups = { ...PROGRAMS, all: NAMES };
  const means = Object.entries(groups).flatMap(([group, members]) => {
    const there = members.filter((name) => names.includes(name));
    if (there.length === 0) return [];
    const ofHost = guests.map((title) => geometricMean(there.map((name) => best(title, name) / best(HOST, name))));
    const ofQemu = own.map((title) => geometricMean(there.map((name) => speed(title, name))));
    return [
      cells([
        `geometric mean, ${group}`,
        '',
        ...ofHost.map((mean) => `(${mean.toFixed(1)})`),
        ...ofQemu.map((mean) => `**${mean.toFixed(2)}**`),
      ]),
    ];
  });
  const initMs = (title: string): number =>
    median((rounds.get(title) ?? []).map((round) => round.initMs ?? Number.NaN));
  const boot = cells([
    'to init, median',
    '',
    ...guests.map((title) => (initMs(title) / 1000).toFixed(2)),
    ...own.map((title) => (initMs(QEMU) / initMs(title)).toFixed(2)),
  ]);
  const head = [
    'seconds (and times the host’s)',
    HOST,
    ...guests,
    ...own.map((title) => `speed of ${title} in parts of ${QEMU}’s`),
  ];
  return [
    `best of ${rounds.get(OWN)?.length} rounds; ${hostText()}`,
    '',
    cells(head),
    cells(head.map(() => '---')),
    ...rows,
    ...means,
    boot,
    '',
  ].join('\n');
}

const OPTIONS = {
  rounds: { type: 'string', default: '3' },
  only: { type: 'string' },
  interpreted: { type: 'boolean', default: false },
  json: { type: 'string' },
} as const;

async function run(parameters: string[]): Promise<number> {
  const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
  const roundCount = Number(values.rounds);
  if (!Number.isInteger(roundCount) || roundCount < 1)
    throw new BenchUsageError('--rounds takes a whole number from 1');
  const only = values.only?.split(',') ?? NAMES;
  const unknown = only.filter((name) => !NAMES.includes(name));
  if (unknown.length > 0) throw new BenchUsageError(`--only takes names of: ${NAMES.join(', ')}`);
  const names = NAMES.filter((name) => only.includes(name));
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const machines = await prepare(folder, names, values.interpreted);
    const rounds = new Map<string, Round[]>(machines.map(({ title }) => [title, []]));
    for (let round = 1; round <= roundCount; round++) {
      // Whoever comes first may meet a busier host: take turns.
      for (const machine of round % 2 === 1 ? machines : machines.toReversed()) {
        rounds.get(machine.title)?.push(await measure(machine, names));
        process.stderr.write(`bench: round ${round} of ${roundCount}: ${machine.title}\n`);
      }
    }
    compareChecks(rounds, names);
    process.stdout.write(report(rounds, names));
    if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figuresOf(rounds)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

const figuresOf = (rounds: ReadonlyMap<string, readonly Round[]>): object =>
  Object.fromEntries(
    [...rounds].map(([title, list]) => [
      title,
      list.map(({ programs, initMs }) => ({
        initMs,
        ...Object.fromEntries([...programs].map(([name, { ns }]) => [name, ns])),
      })),
    ]),
  );

/** The program, the initramfs that runs it, and the machines. */
async function prepare(folder: string, names: readonly string[], interpreted: boolean): Promise<readonly Machine[]> {
  const program = join(folder, 'cpu-guest');
  execFileSync('cc', ['-O2', '-static', '-o', program, join(import.meta.dirname, 'cpu-guest.c'), '-lm']);
  const [archive, initramfs] = [join(folder, 'script'), join(folder, 'initramfs')];
  const programs = { 'bin/cpu-guest': readFileSync(program) };
  writeScriptArchive(archive, `/bin/cpu-guest ${names.join(' ')}\n`, { programs });
  writeFileSync(initramfs, Buffer.concat([readFileSync(await busyboxImage()), readFileSync(archive)]));
  const files = { kernel: await vmlinuz(), initramfs };
  return [
    { title: HOST, command: [program, ...names] },
    { title: QEMU, command: qemuCommand(files, ['-nic', 'none']) },
    { title: OWN, command: ownCommand(files, []) },
    ...(interpreted ? [{ title: INTERPRETED, command: ownCommand(files, ['--no-jit']) }] : []),
  ];
}

export default {
  name: 'cpu',
  describe: 'programs on the software CPU beside QEMU TCG and the host',
  run,
} satisfies Bench;
