/**
 * npm run test:kvm -- [--lab|--host] [--limit SECONDS] [--shell COMMAND | TEST-FILE…]
 *
 * The tests of the KVM hypervisor, all of `test/kvm/` unless files are named: on this host where /dev/kvm opens, and unless that
 * has hardware behind it in the lab, a Linux under QEMU's TCG that emulates AMD's SVM. `--shell` runs a command there instead, in the
 * project's folder. The exit status is that of the tests; 2 for bad arguments, 3 when the lab could not be made, hung or took too long,
 * 4 when a program that it needs is missing.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join, parse as parsePath, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { hardwareFlag, kvmOpenError } from '#vmm/select-hypervisor.ts';
import { openCache, temporaryPath } from '../guest/cache-folder.ts';
import { GuestFilesError } from '../guest/guest-error.ts';
import { needProgram } from '../guest/host-programs.ts';
import { buildLabImage, concatenate } from './image.ts';
import { type LabEnd, QEMU, runLab, SETPRIV } from './machine.ts';
import { MISSING_STATUS, TIMED_OUT_STATUS } from './script.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const STATUS = { USAGE: 2, NO_RESULT: 3, MISSING: MISSING_STATUS, INTERRUPTED: 130 } as const;
const LIMIT_S = 540;
/** Booting and ending, which are not the tests' time. */
const AROUND_S = 45;

const COMPILER = { program: 'cc', debianPackage: 'build-essential' } as const;
/** What tests run in guests, and benches in the lab. */
const C_SOURCES = ['test/e2e/vsock.c', 'bench/kvm-exits.c'];

type Place = 'lab' | 'host';

interface Request {
  readonly place: Place | undefined;
  readonly limitS: number;
  readonly command: string;
}

const say = (line: string): void => void process.stderr.write(`kvm lab: ${line}\n`);

function request(argv: readonly string[]): Request | string {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse(argv);
  } catch (error) {
    return (error as Error).message;
  }
  const { values, positionals } = parsed;
  const limitS = Number(values.limit ?? LIMIT_S);
  if (!Number.isInteger(limitS) || limitS <= AROUND_S) return `--limit takes a whole number above ${AROUND_S}`;
  if (values.lab && values.host) return '--lab and --host exclude each other';
  if (values.shell !== undefined && positionals.length > 0) return '--shell takes no test files besides';
  const files = positionals.length > 0 ? positionals : ['test/kvm/*.test.ts', 'test/kvm/guests/*.test.ts'];
  const bad = files.find((file) => !/^[\w./*-]+$/.test(file));
  if (bad !== undefined) return `'${bad}' is not the name of a test file`;
  const command = values.shell ?? `exec node --test --test-concurrency=1 ${files.map((file) => `"${file}"`).join(' ')}`;
  return { place: values.lab ? 'lab' : values.host ? 'host' : undefined, limitS, command };
}

function parse(argv: readonly string[]) {
  return parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      lab: { type: 'boolean' },
      host: { type: 'boolean' },
      limit: { type: 'string' },
      shell: { type: 'string' },
    },
  });
}

function onHost({ command, limitS }: Request): number {
  const { status, signal, error } = spawnSync('timeout', ['-k', '10', `${limitS}`, 'sh', '-c', command], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  if (error) throw error;
  if (status === TIMED_OUT_STATUS) say(`the tests did not end within ${limitS} s`);
  return status ?? (signal === 'SIGINT' ? STATUS.INTERRUPTED : STATUS.NO_RESULT);
}

async function inLab({ command, limitS }: Request): Promise<number> {
  const started = performance.now();
  const seconds = (): string => `${((performance.now() - started) / 1000).toFixed(1)} s`;
  for (const { program, debianPackage } of [QEMU, SETPRIV]) needProgram(program, debianPackage, say);
  const interrupt = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupt.abort());
  const apt = { cache: openCache(), suite: 'bookworm', progress: say } as const;
  // In the cache, where the files of a run that was killed are removed by the next.
  const folder = temporaryPath(apt.cache);
  mkdirSync(folder);
  try {
    const script = { command, limitS: limitS - AROUND_S };
    const cPrograms = compilePrograms(folder);
    const options = { apt, root: ROOT, script, cPrograms };
    const { kernel, archives } = await buildLabImage(options, join(folder, 'project.cpio'));
    const initrd = join(folder, 'lab.cpio');
    concatenate(archives, initrd);
    say(`booting QEMU after ${seconds()}`);
    const onLog = (text: string): void => void process.stdout.write(text);
    const end = await runLab({ kernel, initrd, limitMs: limitS * 1000, onLog }, interrupt.signal);
    return interrupt.signal.aborted ? STATUS.INTERRUPTED : report(end, { limitS, seconds: seconds() });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Into the folder. */
function compilePrograms(folder: string): Readonly<Record<string, string>> {
  needProgram(COMPILER.program, COMPILER.debianPackage, say);
  const compile = (source: string): [name: string, path: string] => {
    const { name } = parsePath(source);
    const path = join(folder, name);
    const parameters = ['-O2', '-static', '-o', path, join(ROOT, source)];
    execFileSync(COMPILER.program, parameters, { stdio: ['ignore', 'inherit', 'inherit'] });
    return [name, path];
  };
  return Object.fromEntries(C_SOURCES.map(compile));
}

function report(end: LabEnd, { limitS, seconds }: { limitS: number; seconds: string }): number {
  if ('failure' in end) {
    say(`${end.failure}. The end of its console:\n${end.console}`);
    return STATUS.NO_RESULT;
  }
  const { status } = end;
  if (status === TIMED_OUT_STATUS) {
    say(`the command in the lab did not end within ${limitS - AROUND_S} s`);
    return STATUS.NO_RESULT;
  }
  say(`${status === 0 ? 'ok' : `FAILED with status ${status}`} (${seconds})`);
  return status;
}

/** A device without hardware behind it runs small guests: what can be tested there is, and all of it in the lab. */
function places(): readonly Place[] {
  if (kvmOpenError() !== undefined) return ['lab'];
  return hardwareFlag() === undefined ? ['host', 'lab'] : ['host'];
}

async function main(): Promise<number> {
  const wanted = request(process.argv.slice(2));
  if (typeof wanted === 'string') {
    say(wanted);
    return STATUS.USAGE;
  }
  try {
    for (const place of wanted.place === undefined ? places() : [wanted.place]) {
      say(place === 'host' ? 'on this host' : 'in QEMU, which emulates SVM');
      const status = place === 'host' ? onHost(wanted) : await inLab(wanted);
      if (status !== 0) return status;
    }
    return 0;
  } catch (error) {
    if (!(error instanceof GuestFilesError)) throw error;
    say(error.message);
    return error.missingProgram ? STATUS.MISSING : STATUS.NO_RESULT;
  }
}

process.exitCode = await main();
