/**
 * npm run demo [-- --packages python3-minimal,less] [--share PATH] [--mem MIB] [--hypervisor NAME]
 * npm run demo -- --initramfs [--packages bash,python3-minimal] [--suite bookworm|trixie] …
 *
 * Boots a Debian system on a virtio disk, with a network by passt; or, by --initramfs, Debian's kernel with busybox, and with
 * Debian packages if named. On a terminal it gives a login or a shell; else the lines of standard input are run as shell commands
 * in the guest, which then powers off. The exit status is that of `crosvm run` (docs/exit-codes.md): 0 when the guest powered off.
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
import { buildDebianDisk, type DebianDisk } from './guest/debian-image.ts';
import { writeDiskScript } from './guest/disk-initramfs.ts';
import { GuestFilesError, type Progress } from './guest/guest-error.ts';
import { missingProgram } from './guest/host-programs.ts';
import { buildInitramfs, writeScriptArchive } from './guest/initramfs.ts';
import { fetchKernel } from './guest/kernel.ts';
import { runCommand } from './guest/run-command.ts';

const CROSVM = resolve(import.meta.dirname, '../bin/crosvm.js');
const STDIN_FD = 0;
const EXIT_HOST_ERROR = 1;
const EXIT_BAD_ARGUMENTS = 35;
const DEFAULT_MEMORY_MIB = 256;
/** A whole Debian with room for what apt keeps in memory. */
const DISK_MEMORY_MIB = 512;
/** The kernel keeps an image twice while it unpacks it, and lets its files take half of memory. */
const MEMORY_PER_IMAGE = 3;
const KERNEL_MEMORY_MIB = 192;
/** Silent but for a kernel that panics. */
const QUIET = 'quiet loglevel=1';

const OPTIONS = {
  initramfs: { type: 'boolean', default: false },
  packages: { type: 'string', multiple: true },
  share: { type: 'string' },
  mem: { type: 'string' },
  hypervisor: { type: 'string' },
  suite: { type: 'string' },
  params: { type: 'string', multiple: true },
  stats: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

/** The tag of the folder that is shared, and how the guest gets to its files. */
const SHARE_TAG = 'share';
const MOUNT_SHARE = `mount -t virtiofs ${SHARE_TAG} /mnt`;

const USAGE = `Usage: npm run demo -- [OPTIONS]
Boots Debian from a disk, which is new at every start. Lines of standard input, if it is no terminal, are run in the guest.
  --packages A,B     Debian packages that the guest has besides, with all that they depend on
  --share PATH       a folder that the guest may mount: ${MOUNT_SHARE}
  --initramfs        a guest with busybox in memory, without a disk and a network: it boots in a few seconds
  --mem MIB          memory of the guest (default ${DISK_MEMORY_MIB}; ${DEFAULT_MEMORY_MIB} with --initramfs, more for large packages)
  --hypervisor NAME  as for crosvm run
  --suite NAME       with --initramfs, ${SUITES.join(' or ')}: the Debian release of kernel and programs (default: this machine's)
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
    if (suite !== undefined && !values.initramfs) throw new UsageError('--suite: is of use with --initramfs alone');
    if (values.share !== undefined && values.initramfs) throw new UsageError('--share: is of no use with --initramfs');
    const packages = (values.packages ?? []).flatMap((list) => list.split(',')).filter((name) => name !== '');
    return { ...values, suite: suite as Suite | undefined, packages };
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message);
    throw error;
  }
}

/** What `crosvm run` is started with. */
interface Guest {
  readonly kernel: { readonly image: string; readonly release: string };
  readonly initrds: readonly string[];
  readonly memoryMib: number;
  readonly params: readonly string[];
  /** Further options of `crosvm run`. */
  readonly options: readonly string[];
  /** For a user at a terminal. */
  readonly hints: readonly string[];
}

interface Making {
  readonly options: Options;
  readonly progress: Progress;
  /** For this run alone. */
  readonly folder: string;
  /** Shell commands; absent on a terminal. */
  readonly script: string | undefined;
}

async function demo(options: Options): Promise<number> {
  const progress = (line: string): void => {
    process.stderr.write(`demo: ${line}\n`);
  };
  const interactive = isatty(STDIN_FD);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-demo-'));
  try {
    const script = interactive ? undefined : await text(process.stdin);
    const making: Making = { options, progress, folder, script };
    const guest = options.initramfs ? await makeBusyboxGuest(making) : await makeDebianGuest(making);
    progress(`booting Linux ${guest.kernel.release}`);
    if (interactive) for (const line of guest.hints) progress(line);
    return await runCrosvm(crosvmParameters(options, guest, interactive), interactive ? 'inherit' : 'ignore');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function makeBusyboxGuest({ options, progress, folder, script }: Making): Promise<Guest> {
  const apt = { cache: openCache(), progress, suite: options.suite };
  const kernel = await fetchKernel(apt);
  const initrds = [await buildInitramfs(apt, options.packages)];
  if (script !== undefined) {
    const archive = join(folder, 'script.cpio');
    writeScriptArchive(archive, script);
    initrds.push(archive);
  }
  const hints = ["to leave: 'poweroff' or 'exit' in the guest, or Ctrl-A x"];
  return { kernel, initrds, memoryMib: defaultMemoryMib(initrds), params: [], options: [], hints };
}

async function makeDebianGuest({ options, progress, folder, script }: Making): Promise<Guest> {
  const disk = await buildDebianDisk({ cache: openCache(), progress }, options.packages);
  const initrds = [disk.initramfs];
  if (script !== undefined) {
    const archive = join(folder, 'script.cpio');
    writeDiskScript(archive, script);
    initrds.push(archive);
  }
  const overlay = join(folder, 'disk.qcow2');
  await makeOverlay(overlay, disk);
  const { share } = options;
  const hints = [
    "log in as 'root', without a password; what the guest writes is gone at the end",
    "to leave: 'poweroff' in the guest, or Ctrl-A x",
    share === undefined
      ? 'to share a folder with the guest: --share PATH'
      : `for '${share}' in the guest: ${MOUNT_SHARE}`,
  ];
  const shared = share === undefined ? [] : [`--shared-dir=${resolve(share)}:${SHARE_TAG}`];
  return {
    kernel: disk.kernel,
    initrds,
    memoryMib: DISK_MEMORY_MIB,
    params: [`systemd.show_status=${script === undefined}`],
    options: [`--block=path="${overlay}",format=qcow2,root`, ...network(progress), ...shared],
    hints,
  };
}

/** The image in the cache stays as it is: the guest writes into a layer above it. */
async function makeOverlay(path: string, { image, sizeBytes }: DebianDisk): Promise<void> {
  const below = [`--backing=${image}`, '--backing-format=raw'];
  await runCommand(process.execPath, [CROSVM, 'create_qcow2', ...below, path, String(sizeBytes)]);
}

function network(progress: Progress): string[] {
  const reason = missingProgram('passt', 'passt', progress);
  if (reason === false) return ['--net=user'];
  progress(`the guest has no network: ${reason}`);
  return [];
}

function crosvmParameters(options: Options, guest: Guest, interactive: boolean): string[] {
  const params = [QUIET, ...guest.params, ...(interactive ? [terminalParams()] : []), ...(options.params ?? [])];
  return [
    'run',
    `--mem=${options.mem ?? guest.memoryMib}`,
    ...(options.hypervisor === undefined ? [] : [`--hypervisor=${options.hypervisor}`]),
    ...(options.stats ? ['--stats'] : []),
    ...guest.initrds.map((path) => `--initrd=${path}`),
    `--params=${params.join(' ')}`,
    `--serial=type=stdout,num=1,console=true,stdin=${interactive}`,
    ...guest.options,
    guest.kernel.image,
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
