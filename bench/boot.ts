/**
 * npm run bench -- boot [--rounds 3] [--mem 256] [--suite NAME] [--json PATH] [--only crosvm|qemu]
 *
 * From the start of the process to the first line of init, ours and `qemu-system-x86_64 -accel tcg` in turn on the same
 * kernel, initramfs, memory and command line. The table goes to standard output, the figures of every round to --json.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { SUITES } from '../tools/guest/apt.ts';
import { openCache } from '../tools/guest/cache-folder.ts';
import { FIRST_LINE } from '../tools/guest/init-script.ts';
import { buildInitramfs, writeScriptArchive } from '../tools/guest/initramfs.ts';
import { fetchKernel } from '../tools/guest/kernel.ts';
import { type Bench, BenchUsageError } from './bench.ts';
import { PeakMemory } from './process-tree.ts';

const CROSVM = resolve(import.meta.dirname, '../bin/crosvm.js');
const QEMU = 'qemu-system-x86_64';
const KERNEL_PARAMS = 'console=ttyS0 quiet loglevel=1';
/** After this a round is given up. */
const ROUND_LIMIT_MS = 300_000;
const TAIL_CHARACTERS = 2000;

interface Guest {
  readonly kernel: string;
  readonly initramfs: string;
  readonly memoryMib: number;
}

interface Contender {
  readonly name: 'crosvm' | 'qemu';
  readonly title: string;
  readonly command: (guest: Guest) => readonly [string, ...string[]];
}

interface Round {
  readonly name: Contender['name'];
  readonly initMs: number;
  readonly totalMs: number;
  readonly peakRssKib: number;
  /** Of the guest, over the whole run; of crosvm alone. */
  readonly mips?: number;
}

const CONTENDERS: readonly Contender[] = [
  {
    name: 'qemu',
    title: 'QEMU TCG',
    command: ({ kernel, initramfs, memoryMib }) => [
      QEMU,
      ...['-accel', 'tcg', '-m', String(memoryMib), '-nic', 'none', '-display', 'none', '-monitor', 'none'],
      ...['-serial', 'stdio', '-no-reboot', '-kernel', kernel, '-initrd', initramfs, '-append', KERNEL_PARAMS],
    ],
  },
  {
    name: 'crosvm',
    title: 'crosvm-ts',
    command: ({ kernel, initramfs, memoryMib }) => [
      process.execPath,
      ...[CROSVM, 'run', '--stats', '--hypervisor=software', `--mem=${memoryMib}`, `--initrd=${initramfs}`],
      ...[`--params=${KERNEL_PARAMS}`, '--serial=type=stdout,num=1,console=true,stdin=false', kernel],
    ],
  },
];

const OPTIONS = {
  rounds: { type: 'string', default: '3' },
  mem: { type: 'string', default: '256' },
  suite: { type: 'string' },
  json: { type: 'string' },
  only: { type: 'string' },
} as const;

function parseOptions(parameters: string[]) {
  const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
  const suite = SUITES.find((name) => name === values.suite);
  const contenders = CONTENDERS.filter(({ name }) => values.only === undefined || values.only === name);
  const rounds = Number(values.rounds);
  const memoryMib = Number(values.mem);
  if (values.suite !== undefined && !suite) throw new BenchUsageError(`--suite takes ${SUITES.join(' or ')}`);
  if (contenders.length === 0) throw new BenchUsageError('--only takes crosvm or qemu');
  if (!Number.isInteger(rounds) || rounds < 1) throw new BenchUsageError('--rounds takes a whole number from 1');
  if (!Number.isInteger(memoryMib)) throw new BenchUsageError('--mem takes a number of MiB');
  return { suite, contenders, rounds, memoryMib, jsonPath: values.json };
}

async function run(parameters: string[]): Promise<number> {
  const { suite, contenders, rounds, memoryMib, jsonPath } = parseOptions(parameters);
  const options = { cache: openCache(), progress, suite };
  const kernel = await fetchKernel(options);
  const image = await buildInitramfs(options);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-bench-'));
  try {
    const guest = { kernel: kernel.image, initramfs: scriptedInitramfs(image, folder), memoryMib };
    const results: Round[] = [];
    for (let round = 1; round <= rounds; round++) {
      // Whoever comes first may meet a cold cache or a busier host: take turns.
      for (const contender of round % 2 === 1 ? contenders : contenders.toReversed()) {
        const result = await measure(contender, guest);
        progress(`round ${round} of ${rounds}: ${contender.title}: init after ${seconds(result.initMs)} s`);
        results.push(result);
      }
    }
    report(results, { kernel: kernel.release, memoryMib });
    if (jsonPath !== undefined) writeFileSync(jsonPath, `${JSON.stringify(results, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return 0;
}

function progress(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

/** The image with an empty script, so that the guest powers off after its start. One file, for QEMU takes only one. */
function scriptedInitramfs(image: string, folder: string): string {
  const script = join(folder, 'script.cpio');
  writeScriptArchive(script, '');
  const path = join(folder, 'initramfs.cpio');
  writeFileSync(path, Buffer.concat([readFileSync(image), readFileSync(script)]));
  return path;
}

async function measure(contender: Contender, guest: Guest): Promise<Round> {
  const [program, ...parameters] = contender.command(guest);
  const started = performance.now();
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  using memory = new PeakMemory(child.pid ?? 0);
  const limit = setTimeout(() => child.kill('SIGKILL'), ROUND_LIMIT_MS);
  let initMs: number | undefined;
  let output = '';
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString('latin1');
    if (initMs === undefined && output.includes(FIRST_LINE)) initMs = performance.now() - started;
  });
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const status = await new Promise<number | null>((resolveStatus, reject) => {
    child.once('error', (error) => reject(startFailure(program, error)));
    child.once('close', resolveStatus);
  }).finally(() => clearTimeout(limit));
  const totalMs = performance.now() - started;
  if (status !== 0 || initMs === undefined) {
    const said = `${output.slice(-TAIL_CHARACTERS)}\n${errors.slice(-TAIL_CHARACTERS)}`;
    throw new Error(`${contender.title} ended with status ${status}, ${initMs ? 'after' : 'before'} init:\n${said}`);
  }
  const mips = guestMips(errors);
  return { name: contender.name, initMs, totalMs, peakRssKib: memory.kib, ...(mips === undefined ? {} : { mips }) };
}

function startFailure(program: string, error: Error): Error {
  if (program !== QEMU || !('code' in error) || error.code !== 'ENOENT') return error;
  return new BenchUsageError(`'${QEMU}' was not found (package qemu-system-x86); --only crosvm measures ours alone`);
}

/** From the line of `--stats`: instructions over the machine's own wall time. */
function guestMips(errors: string): number | undefined {
  const line = errors.split('\n').findLast((text) => text.startsWith('{') && text.includes('"instructions"'));
  if (line === undefined) return undefined;
  const { instructions, wallMs } = JSON.parse(line) as { instructions: number; wallMs: number };
  return instructions / wallMs / 1000;
}

function report(results: readonly Round[], { kernel, memoryMib }: { kernel: string; memoryMib: number }): void {
  const reference = medianOf(results, 'qemu', 'initMs');
  const rows = CONTENDERS.filter(({ name }) => results.some((result) => result.name === name)).map(
    ({ name, title }) => {
      const init = medianOf(results, name, 'initMs') ?? 0;
      const mips = medianOf(results, name, 'mips');
      const ratio = reference === undefined ? '-' : (init / reference).toFixed(2);
      const rss = ((medianOf(results, name, 'peakRssKib') ?? 0) / 1024).toFixed(0);
      const total = seconds(medianOf(results, name, 'totalMs') ?? 0);
      return `| ${title} | ${seconds(init)} | ${ratio} | ${total} | ${mips?.toFixed(0) ?? '-'} | ${rss} |`;
    },
  );
  const host = `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, Node ${process.versions.node}`;
  process.stdout.write(
    [
      `Linux ${kernel}, ${memoryMib} MiB; medians of ${results.length / rows.length} rounds; ${host}`,
      '',
      '| | to init (s) | times QEMU | to power-off (s) | guest MIPS | peak RSS (MiB) |',
      '|---|---|---|---|---|---|',
      ...rows,
      '',
    ].join('\n'),
  );
}

function medianOf(
  results: readonly Round[],
  name: Contender['name'],
  figure: 'initMs' | 'totalMs' | 'mips' | 'peakRssKib',
): number | undefined {
  const values = results.filter((result) => result.name === name).map((result) => result[figure]);
  const known = values.filter((value) => value !== undefined).toSorted((a, b) => a - b);
  const middle = known.length >> 1;
  const upper = known[middle];
  const lower = known[known.length - 1 - middle];
  return upper === undefined || lower === undefined ? undefined : (upper + lower) / 2;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(2);
}

export default {
  name: 'boot',
  describe: 'from the start of the process to the first line of init, beside QEMU TCG',
  run,
} satisfies Bench;
