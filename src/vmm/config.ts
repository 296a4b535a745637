import { dirname, join } from 'node:path';
import { GUEST_CID } from '#devices/virtio/vsock/constants.ts';
import { CommandLine, CommandLineError } from '#kernel/command-line.ts';
import { KernelLoadError } from '#kernel/kernel-load-error.ts';
import { CodedError } from '#util/errors.ts';
import type { LogLevel } from '#util/log.ts';
import { quoted } from '#util/quoted.ts';
import { CONSOLE_NUM, consolePorts, consoleProblems } from './console-config.ts';
import { affinityMistakes, type CpuAffinity } from './cpu-affinity.ts';
import { type DiskConfig, diskMistakes } from './disk-config.ts';
import { type SharedDirConfig, sharedDirMistakes } from './fs-config.ts';
import { type GdbConfig, gdbMistakes } from './gdb-config.ts';
import { type FileKind, type HostFiles, hostFiles } from './host-files.ts';
import { type InputConfig, inputMistakes } from './input-config.ts';
import type { IsolatedDevice } from './legacy-config.ts';
import { type NetConfig, netMistakes } from './net-config.ts';
import { type PmemConfig, pmemMistakes } from './pmem-config.ts';

/** One virtual machine as its user describes it: plain data. `configMistakes` tells whether it can be run. */
export interface Config {
  readonly kernelPath: string;
  /** Concatenated in this order. */
  readonly initrdPaths: readonly string[];
  /** Added to the kernel command line in this order, with a space between. */
  readonly params: readonly string[];
  readonly memoryMib: number;
  readonly cpus: number;
  /** Without it each vCPU's thread may run on all processors of the host. */
  readonly cpuAffinity?: readonly CpuAffinity[];
  /** The serial ports that are more than a sink. */
  readonly serial: readonly SerialConfig[];
  /** In the order of their names in the guest: vda, vdb … */
  readonly disks: readonly DiskConfig[];
  readonly vsock?: VsockConfig;
  /** In the order of the devices on the bus. */
  readonly nets: readonly NetConfig[];
  /** In the order of the devices on the bus. */
  readonly inputs: readonly InputConfig[];
  /** In the order of their names in the guest: pmem0, pmem1 … */
  readonly pmems: readonly PmemConfig[];
  /** In the order of the devices on the bus. */
  readonly sharedDirs: readonly SharedDirConfig[];
  /** Devices of the board that have processes of their own. */
  readonly isolated?: readonly IsolatedDevice[];
  /** Whether device processes are jailed, and main has walls of its own. */
  readonly sandbox: boolean;
  /** The folder of the seccomp policies, in place of the package's. */
  readonly seccompPolicyDir?: string;
  /** Calls that a policy forbids fail and are told of, in place of killing. */
  readonly seccompLogFailures: boolean;
  readonly hypervisor: HypervisorWish;
  /** False where the software CPU shall interpret all. */
  readonly jit?: boolean;
  /** Whether the guest may end the machine with a status of its own, by port 0xf4. */
  readonly debugExit?: boolean;
  readonly logLevel: LogLevel;
  /** A line of JSON with figures about the run goes to stderr at its end. */
  readonly stats: boolean;
  /** Whether standard error gets a line for each step of the start. */
  readonly traceStart?: boolean;
  /** Where the control socket is made, or the directory for it. */
  readonly socketPath?: string;
  /** Where the machine waits for GDB before its guest begins. */
  readonly gdb?: GdbConfig;
}

/** Streams between the guest and Unix sockets of the host. */
export interface VsockConfig {
  /** The guest's context id. */
  readonly cid: number;
  /** Where the host connects to the guest; with `_PORT` after it, what the guest reaches. */
  readonly socketPath: string;
}

/** Of the 32 places of the bus the host bridge, the entropy device and the balloon have one each. */
const ASKED_DEVICES_MAX = 29;

export const HYPERVISOR_WISHES = ['auto', 'kvm', 'software'] as const;
export type HypervisorWish = (typeof HYPERVISOR_WISHES)[number];

/** `serial` is a 16550 UART, `virtio-console` a port of the virtio console, `debugcon` the write-only console at port 0x402. */
export const SERIAL_HARDWARE = ['serial', 'virtio-console', 'debugcon'] as const;
export type SerialHardware = (typeof SERIAL_HARDWARE)[number];

/** `unix` sends datagrams to a bound socket; `unix-stream` connects to a listening one. */
export const SERIAL_TYPES = ['stdout', 'file', 'sink', 'unix', 'unix-stream'] as const;
export type SerialType = (typeof SERIAL_TYPES)[number];

export interface SerialConfig {
  readonly hardware: SerialHardware;
  /** Of `serial` 1 to 4, the PC's COM port; of `virtio-console` 1 to 16. */
  readonly num: number;
  readonly type: SerialType;
  /** Present with `file`, `unix` and `unix-stream` only. */
  readonly path?: string;
  /** The kernel's console is this port. */
  readonly console: boolean;
  /** This port receives what comes from standard input. */
  readonly stdin: boolean;
  /** Of a `serial` port: the kernel's console until the one of `console` is there. */
  readonly earlycon?: boolean;
  /** Of a `serial` port: it is in a process of its own, with a jail as other devices have it. */
  readonly jail?: boolean;
  /** Of a `virtio-console` port: what programs in the guest find it by. */
  readonly name?: string;
}

/**
 * RAM in MiB. A distribution kernel does not unpack itself in less than the minimum; RAM ends at the 32-bit device hole at
 * 0xd0000000, since no hypervisor here places RAM above 4 GiB yet.
 */
export const MEMORY_MIB = { min: 32, default: 256, max: 0xd000_0000 / 2 ** 20 } as const;

/** As many as a page's word of the software CPU has room for; the KVM of every host takes them. */
export const CPUS = { min: 1, default: 1, max: 16 } as const;

export const SERIAL_NUM = { min: 1, max: 4 } as const;

/** COMMAND_LINE_SIZE of Linux on x86 less its final NUL; the machine's own words and the kernel's header may leave less. */
export const COMMAND_LINE_MAX_BYTES = 2047;

/** sizeof(sockaddr_un.sun_path) less the final NUL, unix(7). */
const UNIX_PATH_MAX_BYTES = 107;

/** `_4294967295` */
const VSOCK_SUFFIX_MAX_BYTES = 11;

/** One mistake of the user: `option` names its place as the user wrote it (`--mem`, `KERNEL`). */
export interface Mistake {
  readonly option: string;
  readonly message: string;
}

/** What the user asked for cannot be run. Every mistake that was found is in it; the exit status is `bad-arguments`. */
export class ConfigError extends CodedError<'BAD_CONFIG'> {
  override readonly name = 'ConfigError';
  readonly mistakes: readonly Mistake[];

  constructor(mistakes: readonly Mistake[]) {
    super('BAD_CONFIG', mistakes.map(({ option, message }) => `${option}: ${message}`).join('\n'));
    this.mistakes = mistakes;
  }
}

/** The user's mistakes in an error of a run: those of a ConfigError, and what the loaders find; undefined for others. */
export function mistakesIn(error: unknown): readonly Mistake[] | undefined {
  if (error instanceof ConfigError) return error.mistakes;
  if (error instanceof CommandLineError) return [{ option: '--params', message: error.message }];
  if (!(error instanceof KernelLoadError)) return undefined;
  return [{ option: error.code.startsWith('INITRD') ? '--initrd' : 'KERNEL', message: error.message }];
}

/**
 * The serial ports of a machine whose user gave `given`: unless a console or port 1 is among them, port 1 is a console on
 * standard output, which also reads standard input when nothing else does.
 */
export function withDefaultConsole(given: readonly SerialConfig[]): readonly SerialConfig[] {
  if (given.some((port) => port.console || (port.hardware === 'serial' && port.num === 1))) return given;
  const stdin = !given.some((port) => port.stdin);
  return [{ hardware: 'serial', num: 1, type: 'stdout', console: true, stdin }, ...given];
}

/** Everything that is wrong with a configuration, files included; nothing is opened for writing or created. */
export function configMistakes(config: Config, files: HostFiles = hostFiles): Mistake[] {
  return [
    ...numberMistakes('--cpus', config.cpus, { ...CPUS, unit: 'processors' }),
    ...affinityMistakes(config.cpuAffinity ?? [], config.cpus),
    ...numberMistakes('--mem', config.memoryMib, { ...MEMORY_MIB, unit: 'MiB' }),
    ...paramsMistakes(config.params),
    ...serialMistakes(config.serial),
    ...config.serial.flatMap((port) => serialPathMistakes(port, files)),
    ...diskMistakes(config.disks, (option, path) => imageMistakes(option, path, files)),
    ...config.pmems.flatMap(({ path }) => imageMistakes('--pmem', path, files)),
    ...pmemMistakes(config.pmems),
    ...rootMistakes(config),
    ...busMistakes(config),
    ...(config.vsock === undefined ? [] : vsockMistakes(config.vsock, files)),
    ...netMistakes(config.nets),
    ...inputMistakes(config.inputs),
    ...config.inputs.flatMap(({ path }) => inputPathMistakes(path, files)),
    ...sharedDirMistakes(config.sharedDirs, files, problemOf),
    ...imageMistakes('KERNEL', config.kernelPath, files),
    ...initrdMistakes(config, files),
    ...controlSocketMistakes(config, files),
    ...(config.gdb === undefined ? [] : gdbMistakes(config.gdb, (path) => madeSocketProblem(path, files))),
  ];
}

function numberMistakes(option: string, value: number, range: { min: number; max: number; unit: string }): Mistake[] {
  const { min, max, unit } = range;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return [];
  const allowed = min === max ? `only ${min} is supported for now` : `must be ${min} to ${max}`;
  return [{ option, message: `${value} ${unit}: ${allowed}` }];
}

function paramsMistakes(params: readonly string[]): Mistake[] {
  const line = new CommandLine(COMMAND_LINE_MAX_BYTES);
  return params.flatMap((text) => {
    try {
      line.append(text);
      return [];
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error;
      return [{ option: '--params', message: error.message }];
    }
  });
}

function serialMistakes(ports: readonly SerialConfig[]): Mistake[] {
  const messages: string[] = [];
  const seen = new Set<string>();
  for (const port of ports) {
    const name = `hardware=${port.hardware},num=${port.num}`;
    if (seen.has(name)) messages.push(`${name} is given twice`);
    seen.add(name);
    const problem = numProblem(port);
    if (problem !== undefined) messages.push(`num=${port.num}: ${problem}`);
    if (port.hardware !== 'debugcon') continue;
    if (port.num !== 1) messages.push(`${name}: there is one debug console, num=1`);
    if (port.console) messages.push(`${name}: Linux has no console there; console=true needs hardware=serial`);
    if (port.stdin) messages.push(`${name}: the debug console has no input; stdin=true needs hardware=serial`);
  }
  messages.push(...consoleProblems(ports));
  for (const key of ['console', 'stdin'] as const) {
    const count = ports.filter((port) => port[key]).length;
    if (count > 1) messages.push(`${key}=true is given to ${count} ports; one can have it`);
  }
  return messages.map((message) => ({ option: '--serial', message }));
}

/** What is wrong with the number of a port; its hardware says what there is. */
export function numProblem({ hardware, num }: Pick<SerialConfig, 'hardware' | 'num'>): string | undefined {
  const { min, max } = hardware === 'virtio-console' ? CONSOLE_NUM : SERIAL_NUM;
  return Number.isInteger(num) && num >= min && num <= max ? undefined : `must be ${min} to ${max}`;
}

function serialPathMistakes(port: SerialConfig, files: HostFiles): Mistake[] {
  const { type, path } = port;
  const complain = (message: string): Mistake[] => [{ option: '--serial', message }];
  const takesPath = type === 'file' || type === 'unix' || type === 'unix-stream';
  if (!takesPath) return path === undefined ? [] : complain(`type=${type} takes no path`);
  if (path === undefined || path === '') return complain(`type=${type} needs a path`);
  const problem = type === 'file' ? outputFileProblem(path, files) : socketProblem(path, files);
  return problem === undefined ? [] : complain(`path ${quoted(path)}: ${problem}`);
}

/** What keeps `path` from being opened for appending, created if absent. */
function outputFileProblem(path: string, files: HostFiles): string | undefined {
  return problemOf(() => {
    let kind: FileKind;
    try {
      kind = files.stat(path).kind;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      return missingFileProblem(path, files);
    }
    if (kind === 'directory' || kind === 'socket') return `is a ${kind}, not a file`;
    files.assertWritable(path);
    return undefined;
  });
}

function missingFileProblem(path: string, files: HostFiles): string | undefined {
  const folder = dirname(path);
  if (path.endsWith('/')) return 'is a directory name, not a file name';
  try {
    if (files.stat(folder).kind !== 'directory') return `${quoted(folder)} is not a directory`;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return `there is no directory ${quoted(folder)}`;
    throw error;
  }
  files.assertWritable(folder);
  return undefined;
}

function inputPathMistakes(path: string, files: HostFiles): Mistake[] {
  const problem = path === '' ? 'needs a path' : socketProblem(path, files);
  return problem === undefined ? [] : [{ option: '--input', message: `${quoted(path)}: ${problem}` }];
}

function socketProblem(path: string, files: HostFiles): string | undefined {
  const sizeBytes = Buffer.byteLength(path);
  if (sizeBytes > UNIX_PATH_MAX_BYTES) return tooLong(sizeBytes);
  return problemOf(() => {
    const { kind } = files.stat(path);
    if (kind !== 'socket') return `is a ${kind}, not a socket`;
    files.assertWritable(path);
    return undefined;
  });
}

/** Where the control socket is: in a directory it is named after the process. */
export function controlSocketPath(path: string, files: HostFiles = hostFiles): string {
  try {
    if (files.stat(path).kind === 'directory') return join(path, `crosvm-${process.pid}.sock`);
  } catch (error) {
    // What is not there is made; what else is wrong tells the attempt to make it.
    if (errorCode(error) === undefined) throw error;
  }
  return path;
}

function controlSocketMistakes({ socketPath }: Config, files: HostFiles): Mistake[] {
  if (socketPath === undefined) return [];
  const option = '--socket';
  if (socketPath === '') return [{ option, message: 'needs a path' }];
  const problem = madeSocketProblem(controlSocketPath(socketPath, files), files);
  return problem === undefined ? [] : [{ option, message: problem }];
}

/** What keeps a listening socket from being made at `path`, with the path. */
function madeSocketProblem(path: string, files: HostFiles): string | undefined {
  const sizeBytes = Buffer.byteLength(path);
  const problem = sizeBytes > UNIX_PATH_MAX_BYTES ? tooLong(sizeBytes) : socketPlaceProblem(path, files);
  return problem && `${quoted(path)}: ${problem}`;
}

/** There may be a socket, or nothing in a folder. */
function socketPlaceProblem(path: string, files: HostFiles): string | undefined {
  return problemOf(() => {
    try {
      const { kind } = files.stat(path);
      return kind === 'socket' ? undefined : `is a ${kind}, not a socket`;
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      return missingFileProblem(path, files);
    }
  });
}

function tooLong(sizeBytes: number): string {
  return `${sizeBytes} bytes; a socket's path has at most ${UNIX_PATH_MAX_BYTES}`;
}

function imageMistakes(option: string, path: string, files: HostFiles): Mistake[] {
  if (path === '') return [{ option, message: 'missing: give the path of a file' }];
  const problem = problemOf(() => {
    const { kind, sizeBytes } = files.stat(path);
    if (kind !== 'file') return `is a ${kind}, not a file`;
    if (sizeBytes === 0) return 'is empty';
    files.assertReadable(path);
    return undefined;
  });
  return problem === undefined ? [] : [{ option, message: `${quoted(path)}: ${problem}` }];
}

function rootMistakes({ disks, pmems }: Config): Mistake[] {
  const roots = [
    ...disks.filter(({ root }) => root).map(({ option }) => option),
    ...pmems.filter(({ root }) => root).map(() => '--pmem'),
  ];
  return roots.slice(1, 2).map((option) => ({ option, message: 'one disk can be the root' }));
}

/** What one PCI bus has room for besides its host bridge. */
function busMistakes({ disks, inputs, nets, pmems, serial, sharedDirs, vsock }: Config): Mistake[] {
  const lists = [disks, inputs, nets, pmems, sharedDirs];
  const singles = [vsock !== undefined, consolePorts(serial).length > 0];
  const count = lists.flat().length + singles.filter((isThere) => isThere).length;
  if (count <= ASKED_DEVICES_MAX) return [];
  const message = `${count} disks, networks and other devices; the PCI bus has room for ${ASKED_DEVICES_MAX} besides entropy and balloon`;
  return [{ option: '--block', message }];
}

function vsockMistakes({ cid, socketPath }: VsockConfig, files: HostFiles): Mistake[] {
  const option = '--vsock';
  const mistakes = numberMistakes(option, cid, { ...GUEST_CID, unit: 'as the context id' });
  const problem = newSocketProblem(socketPath, files);
  return problem === undefined
    ? mistakes
    : [...mistakes, { option, message: `socket ${quoted(socketPath)}: ${problem}` }];
}

/** What keeps a listening socket from being made at `path`, and others at the paths that begin with it. */
function newSocketProblem(path: string, files: HostFiles): string | undefined {
  const sizeBytes = Buffer.byteLength(path);
  const max = UNIX_PATH_MAX_BYTES - VSOCK_SUFFIX_MAX_BYTES;
  if (sizeBytes > max) return `${sizeBytes} bytes; it has at most ${max}, since a port follows it`;
  return socketPlaceProblem(path, files);
}

function initrdMistakes(config: Config, files: HostFiles): Mistake[] {
  const option = '--initrd';
  const mistakes = config.initrdPaths.flatMap((path) => imageMistakes(option, path, files));
  if (mistakes.length > 0 || config.initrdPaths.length === 0) return mistakes;
  let sizeBytes = 0;
  for (const path of config.initrdPaths) sizeBytes += files.stat(path).sizeBytes;
  if (sizeBytes < config.memoryMib * 2 ** 20) return [];
  const sizeMib = Math.ceil(sizeBytes / 2 ** 20);
  return [
    { option, message: `${sizeMib} MiB do not fit into the machine's ${config.memoryMib} MiB of memory (--mem)` },
  ];
}

/**
 * What a failed call on a path that the user gave says to the user; for those who open the files later, when a check before
 * could not tell. An error that is not about a file is thrown on.
 */
export function pathMistake(option: string, path: string, error: unknown): Mistake {
  return { option, message: `${quoted(path)}: ${pathProblem(error)}` };
}

/** Runs a check; a failed call on a path becomes words. */
function problemOf(check: () => string | undefined): string | undefined {
  try {
    return check();
  } catch (error) {
    return pathProblem(error);
  }
}

function pathProblem(error: unknown): string {
  const code = errorCode(error);
  if (code === undefined) throw error;
  return PATH_ERRORS[code] ?? `cannot be used (${code})`;
}

const PATH_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'is on a read-only file system',
  ENOTDIR: 'a part of the path is not a directory',
  ELOOP: 'too many symbolic links',
  ENAMETOOLONG: 'the name is too long',
  EADDRINUSE: 'was taken by another process',
  // What only the attempt to connect tells, unix(7).
  ECONNREFUSED: 'nobody listens at this socket',
  EAGAIN: 'too many connections wait at this socket already',
  EPROTOTYPE: 'is a socket of the other kind: type=unix is for datagrams, type=unix-stream for a stream',
  ERR_INVALID_ARG_VALUE: 'is not a valid path',
};

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
