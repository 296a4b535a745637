/**
 * npm run demo [-- --packages bash,python3-minimal] [--mem MIB] [--hypervisor NAME] [--suite bookworm|trixie]
 *
 * Boots Debian's kernel with busybox, and with Debian packages if named. On a terminal it gives a shell; else the lines of
 * standard input are run as shell commands in the guest, which then powers off. The exit status is that of `crosvm run`
 * (docs/exit-codes.md): 0 when the guest powered off.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { isatty } from 'node:tty';
import { parseArgs } from 'node:util';
import { SUITES, type Suite } from './guest/apt.ts';
import { openCache } from './guest/cache-folder.ts';
import { GuestFilesError } from './guest/guest-error.ts';
import { buildInitramfs, writeScriptArchive } from './guest/initramfs.ts';
import { fetchKernel } from './guest/kernel.ts';

const CROSVM = resolve(import.meta.dirname, '../bin/crosvm.js');
const STDIN_FD = 0;
const EXIT_HOST_ERROR = 1;
const EXIT_BAD_ARGUMENTS = 35;
const DEFAULT_MEMORY_MIB = 256;
/** The kernel keeps an image twice while it unpacks it, and lets its files take half of memory. */
const MEMORY_PER_IMAGE = 3;
const KERNEL_MEMORY_MIB = 192;
/** Silent but for a kernel that panics. */
const QUIET = 'quiet loglevel=1';

const OPTIONS = {
  packages: { type: 'string', multiple: true },
  mem: { type: 'string' },
  hypervisor: { type: 'string' },
  suite: { type: 'string' },
  params: { type: 'string', multiple: true },
  stats: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const USAGE = `Usage: npm run demo -- [OPTIONS]
  --packages A,B     Debian packages that the guest has, with all that they depend on
  --mem MIB          memory of the guest (default ${DEFAULT_MEMORY_MIB}, more for large packages)
  --hypervisor NAME  as for crosvm run
  --suite NAME       ${SUITES.join(' or ')}: the Debian release of kernel and programs (default: this machine's)
  --params TEXT      added to the kernel command line
  --stats            figures about the run on standard error at the end
`;

type Options = ReturnType<typeof parseOptions>;

class UsageError extends Error {}

function parseOptions(parameters: string[]) {
  try {
    const { values } = parseArgs({ args: parameters, options: OPTIONS, strict: true });
    const suite = SUITES.find((name) => name === values.suite);
    if (values.suite !== undefined && suite === undefined) {
      throw new UsageError(`--suite '${values.suite}': there are ${SUITES.join(' and ')}`);
    }
    const packages = (values.packages ?? []).flatMap((list) => list.split(',')).filter((name) => name !== '');
    return { ...values, suite: suite as Suite | undefined, packages };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

async function demo(options: Options): Promise<number> {
  const progress = (line: string): void => {
    process.stderr.write(`demo: ${line}\n`);
  };
  const cache = openCache();
  const guest = { cache, progress, suite: options.suite };
  const kernel = await fetchKernel(guest);
  const image = await buildInitramfs(guest, options.packages);
  const interactive = isatty(STDIN_FD);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-demo-'));
  try {
    const initrds = [image];
    if (!interactive) {
      const scriptArchive = join(folder, 'script.cpio');
      writeScriptArchive(scriptArchive, await text(process.stdin));
      initrds.push(scriptArchive);
    }
    progress(`booting Linux ${kernel.release}`);
    if (interactive) progress("to leave: 'poweroff' or 'exit' in the guest, or Ctrl-A x");
    const parameters = crosvmParameters(options, { kernel: kernel.image, initrds, interactive });
    return await runCrosvm(parameters, interactive ? 'inherit' : 'ignore');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function crosvmParameters(
  options: Options,
  { kernel, initrds, interactive }: { kernel: string; initrds: readonly string[]; interactive: boolean },
): string[] {
  const params = [QUIET, ...(interactive ? [terminalParams()] : []), ...(options.params ?? [])];
  return [
    'run',
    `--mem=${options.mem ?? defaultMemoryMib(initrds)}`,
    ...(options.hypervisor === undefined ? [] : [`--hypervisor=${options.hypervisor}`]),
    ...(options.stats ? ['--stats'] : []),
    ...initrds.map((path) => `--initrd=${path}`),
    `--params=${params.join(' ')}`,
    `--serial=type=stdout,num=1,console=true,stdin=${interactive}`,
    kernel,
  ];
}

function defaultMemoryMib(initrds: readonly string[]): number {
  const imageMib = initrds.reduce((sum, path) => sum + statSync(path).size, 0) / 2 ** 20;
  return Math.max(DEFAULT_MEMORY_MIB, Math.ceil((KERNEL_MEMORY_MIB + MEMORY_PER_IMAGE * imageMib) / 64) * 64);
}

/** The kernel hands unknown settings to init as its environment. A serial line has no size of its own. */
function terminalParams(): string {
  const { columns = 80, rows = 24 } = process.stdout;
  const name = process.env['TERM'] ?? '';
  return `LINES=${rows} COLUMNS=${columns}${/^[\w.+-]+$/.test(name) ? ` TERM=${name}` : ''}`;
}

/** Runs crosvm on our own standard output and error and returns its exit status; signals are its to handle. */
function runCrosvm(parameters: readonly string[], stdin: 'inherit' | 'ignore'): Promise<number> {
  const child = spawn(process.execPath, [CROSVM, ...parameters], { stdio: [stdin, 'inherit', 'inherit'] });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolveStatus, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      resolveStatus(signal === null ? (code ?? 1) : 128 + constants.signals[signal]),
    );
  });
}

async function main(parameters: string[]): Promise<number> {
  try {
    const options = parseOptions(parameters);
    if (options.help) {
      process.stdout.write(USAGE);
      return 0;
    }
    return await demo(options);
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`demo: ${error.message}\n${USAGE}`);
      return EXIT_BAD_ARGUMENTS;
    }
    if (!(error instanceof GuestFilesError)) throw error;
    process.stderr.write(`demo: ${error.message}\n`);
    return EXIT_HOST_ERROR;
  }
}

process.exitCode = await main(process.argv.slice(2));
