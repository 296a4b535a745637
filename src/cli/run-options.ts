import { CACHE_POLICIES } from '#devices/virtio/fs/context.ts';
import { INPUT_KINDS } from '#devices/virtio/input/input-table.ts';
import { LOG_LEVELS } from '#util/log.ts';
import { quoted } from '#util/quoted.ts';
import {
  type Config,
  CPUS,
  HYPERVISOR_WISHES,
  MEMORY_MIB,
  type Mistake,
  SERIAL_HARDWARE,
  SERIAL_TYPES,
  type SerialConfig,
  withDefaultConsole,
} from '#vmm/config.ts';
import { DISK_OPTIONS, type DiskConfig } from '#vmm/disk-config.ts';
import type { SharedDirConfig } from '#vmm/fs-config.ts';
import type { InputConfig } from '#vmm/input-config.ts';
import { ISOLATED_DEVICES } from '#vmm/legacy-config.ts';
import type { NetConfig } from '#vmm/net-config.ts';
import type { PmemConfig } from '#vmm/pmem-config.ts';
import { type OptionSpec, type ParsedArguments, parseArguments } from './arguments.ts';
import { parseDiskOption } from './block-options.ts';
import { parseCpuAffinity } from './cpu-options.ts';
import { parseSharedDirOption } from './fs-options.ts';
import { parseGdbOption } from './gdb-options.ts';
import { parseInputOption, parseOldInputOption } from './input-options.ts';
import { parseNetOption } from './net-options.ts';
import { parsePmemOption } from './pmem-options.ts';
import { parseSerialOption } from './serial-options.ts';
import { parseVsockOption } from './vsock-options.ts';

/** crosvm's of 2020, by the same order as `--block`. */
const OLDER_DISK_OPTIONS: readonly OptionSpec[] = [
  { name: 'disk', short: 'd', what: 'disk image that is only read' },
  { name: 'rwdisk', what: 'disk image' },
  { name: 'root', short: 'r', what: 'disk image that is only read, as the root file system' },
  { name: 'rwroot', what: 'disk image, as the root file system' },
].map(({ what, ...spec }) => ({
  ...spec,
  value: 'PATH,…',
  repeatable: true,
  help: `${what}: format=raw|qcow2, sparse=BOOL, block_size=BYTES; repeatable, in one order with --block`,
}));

/** The options of `crosvm run`; docs/command-line.md describes each, and a test compares the two. */
export const RUN_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'cpus',
    short: 'c',
    value: 'N',
    help: `virtual processors, ${CPUS.min} to ${CPUS.max} (default ${CPUS.default})`,
  },
  {
    name: 'cpu-affinity',
    value: 'SET',
    help: 'processors of the host on which the virtual ones run, such as 0,1-3; or for each its own, such as 0=0:1=1-3',
  },
  {
    name: 'mem',
    short: 'm',
    value: 'MIB',
    help: `memory in MiB, ${MEMORY_MIB.min} to ${MEMORY_MIB.max} (default ${MEMORY_MIB.default})`,
  },
  { name: 'params', short: 'p', value: 'TEXT', repeatable: true, help: 'added to the kernel command line; repeatable' },
  { name: 'initrd', short: 'i', value: 'PATH', repeatable: true, help: 'initial RAM disk; repeatable, concatenated' },
  {
    name: 'serial',
    value: 'KEY=VALUE,…',
    repeatable: true,
    help: `serial port: type=${SERIAL_TYPES.join('|')}, hardware=${SERIAL_HARDWARE.join('|')}, num=N, path=PATH, console=BOOL, stdin=BOOL, earlycon=BOOL, name=TEXT; repeatable`,
  },
  {
    name: 'block',
    short: 'b',
    value: 'PATH,…',
    repeatable: true,
    help: 'disk image: path=PATH, format=raw|qcow2, ro, root, sparse=BOOL, block-size=BYTES, id=TEXT, lock=BOOL, num-queues=N; repeatable',
  },
  ...OLDER_DISK_OPTIONS,
  { name: 'vsock', value: 'CID,…', help: 'sockets between guest and host: cid=N, socket=PATH' },
  {
    name: 'net',
    value: 'KEY=VALUE,…',
    repeatable: true,
    help: 'network interface: tap-name=NAME, tap-fd=N, host-ip=ADDRESS,netmask=MASK or user; mac=ADDRESS, vq-pairs=N, hostfwd=[tcp:|udp:][ADDRESS:]PORT[-GUESTPORT], host-loopback=BOOL; repeatable',
  },
  {
    name: 'input',
    value: 'KIND[…]',
    repeatable: true,
    help: `input device: ${INPUT_KINDS.join('|')}[path=SOCKET], width=N and height=N for the last two; repeatable`,
  },
  { name: 'keyboard', value: 'PATH', repeatable: true, help: 'the same as --input keyboard[path=PATH]' },
  { name: 'mouse', value: 'PATH', repeatable: true, help: 'the same as --input mouse[path=PATH]' },
  {
    name: 'single-touch',
    value: 'PATH[:WIDTH:HEIGHT]',
    repeatable: true,
    help: 'the same as --input single-touch[path=PATH,width=WIDTH,height=HEIGHT]',
  },
  {
    name: 'trackpad',
    value: 'PATH[:WIDTH:HEIGHT]',
    repeatable: true,
    help: 'the same as --input trackpad[path=PATH,width=WIDTH,height=HEIGHT]',
  },
  {
    name: 'pmem',
    value: 'PATH,…',
    repeatable: true,
    help: 'persistent memory: path=PATH, ro, root; repeatable',
  },
  { name: 'pmem-device', value: 'PATH', repeatable: true, help: 'as --pmem PATH,ro; repeatable' },
  { name: 'rw-pmem-device', value: 'PATH', repeatable: true, help: 'as --pmem PATH; repeatable' },
  {
    name: 'shared-dir',
    value: 'PATH:TAG[:KEY=VALUE]…',
    repeatable: true,
    help: `directory that the guest mounts by its tag: cache=${CACHE_POLICIES.join('|')}, timeout=SECONDS, writeback=BOOL, ro=BOOL; repeatable`,
  },
  {
    name: 'isolate',
    value: 'NAME,…',
    help: `devices of the board that get processes of their own, with jails: ${ISOLATED_DEVICES.join(', ')}`,
  },
  { name: 'disable-sandbox', help: 'run the device processes without a jail, and main without a filter' },
  { name: 'seccomp-policy-dir', value: 'DIR', help: "take the seccomp policies from there, in place of the package's" },
  {
    name: 'seccomp-log-failures',
    help: 'system calls that a policy forbids fail and are told of, in place of killing',
  },
  { name: 'socket', value: 'PATH', help: 'make a control socket there; a directory gives crosvm-PID.sock' },
  { name: 'gdb', value: 'PORT|unix:PATH', help: 'wait for GDB there before the guest begins' },
  { name: 'hypervisor', value: 'NAME', help: `${HYPERVISOR_WISHES.join(', ')} (default auto)` },
  { name: 'no-jit', help: 'the software CPU compiles nothing and interprets all' },
  { name: 'debug-exit', help: 'a byte v that the guest writes to port 0xf4 ends the run with status (v << 1) | 1' },
  { name: 'log-level', value: 'LEVEL', help: `${LOG_LEVELS.join(', ')} (default warn)` },
  { name: 'trace-start', help: 'print on standard error where the time of the start went, before the guest runs' },
  { name: 'stats', help: 'print figures about the run as one line of JSON on standard error at the end' },
  { name: 'help', short: 'h', help: 'show this help' },
];

export interface RunRequest {
  readonly help: boolean;
  /** What was understood; defaults stand where something was not. Only usable when there are no mistakes. */
  readonly config: Config;
  /** Those of the text alone; `configMistakes` finds those of the values and files. */
  readonly mistakes: readonly Mistake[];
}

/** Reads the arguments after `run`. Never throws and touches no file. */
export function parseRunArguments(argv: readonly string[]): RunRequest {
  const parsed = parseArguments(argv, RUN_OPTIONS);
  const mistakes = [...parsed.mistakes];
  const [kernelPath = '', ...surplus] = parsed.positionals;
  for (const argument of surplus)
    mistakes.push({ option: 'KERNEL', message: `given twice, also as ${quoted(argument)}` });
  const config: Config = {
    kernelPath,
    initrdPaths: parsed.values.get('initrd') ?? [],
    params: parsed.values.get('params') ?? [],
    memoryMib: wholeNumber(parsed, 'mem', MEMORY_MIB.default, mistakes),
    cpus: wholeNumber(parsed, 'cpus', CPUS.default, mistakes),
    ...cpuAffinity(parsed.values.get('cpu-affinity')?.[0], mistakes),
    serial: serialPorts(parsed.values.get('serial') ?? [], mistakes),
    disks: disks(parsed, mistakes),
    ...vsock(parsed.values.get('vsock')?.[0], mistakes),
    nets: nets(parsed.values.get('net') ?? [], mistakes),
    inputs: inputs(parsed, mistakes),
    pmems: pmems(parsed, mistakes),
    sharedDirs: sharedDirs(parsed.values.get('shared-dir') ?? [], mistakes),
    ...isolated(parsed.values.get('isolate')?.[0], mistakes),
    sandbox: !parsed.flags.has('disable-sandbox'),
    ...seccompPolicyDirOf(parsed),
    seccompLogFailures: parsed.flags.has('seccomp-log-failures'),
    hypervisor: oneOf(parsed, { option: 'hypervisor', choices: HYPERVISOR_WISHES, fallback: 'auto' }, mistakes),
    logLevel: oneOf(parsed, { option: 'log-level', choices: LOG_LEVELS, fallback: 'warn' }, mistakes),
    stats: parsed.flags.has('stats'),
    ...(parsed.flags.has('no-jit') && { jit: false }),
    ...(parsed.flags.has('debug-exit') && { debugExit: true }),
    ...(parsed.flags.has('trace-start') && { traceStart: true }),
    ...socketPathOf(parsed),
    ...gdbOf(parsed.values.get('gdb')?.[0], mistakes),
  };
  return { help: parsed.flags.has('help'), config, mistakes };
}

function wholeNumber(parsed: ParsedArguments, option: string, fallback: number, mistakes: Mistake[]): number {
  const text = parsed.values.get(option)?.[0];
  if (text === undefined) return fallback;
  // Ten digits are past every bound and within a double.
  if (/^[0-9]{1,10}$/.test(text)) return Number(text);
  mistakes.push({ option: `--${option}`, message: `${quoted(text)} is not a whole number${unitHint(option)}` });
  return fallback;
}

function unitHint(option: string): string {
  return option === 'mem' ? ' of MiB' : '';
}

function cpuAffinity(text: string | undefined, mistakes: Mistake[]): Pick<Config, 'cpuAffinity'> {
  if (text === undefined) return {};
  const { affinities, problems } = parseCpuAffinity(text);
  for (const problem of problems) mistakes.push({ option: '--cpu-affinity', message: `${quoted(text)}: ${problem}` });
  return { cpuAffinity: affinities };
}

interface Choice<T extends string> {
  readonly option: string;
  readonly choices: readonly T[];
  readonly fallback: T;
}

function oneOf<T extends string>(parsed: ParsedArguments, choice: Choice<T>, mistakes: Mistake[]): T {
  const { option, choices, fallback } = choice;
  const text = parsed.values.get(option)?.[0];
  if (text === undefined) return fallback;
  const found = choices.find((candidate) => candidate === text);
  if (found !== undefined) return found;
  mistakes.push({ option: `--${option}`, message: `${quoted(text)} is not one of ${choices.join(', ')}` });
  return fallback;
}

function seccompPolicyDirOf({ values }: ParsedArguments): Pick<Config, 'seccompPolicyDir'> {
  const seccompPolicyDir = values.get('seccomp-policy-dir')?.[0];
  return seccompPolicyDir === undefined ? {} : { seccompPolicyDir };
}

function socketPathOf({ values }: ParsedArguments): Pick<Config, 'socketPath'> {
  const socketPath = values.get('socket')?.[0];
  return socketPath === undefined ? {} : { socketPath };
}

function gdbOf(text: string | undefined, mistakes: Mistake[]): Pick<Config, 'gdb'> {
  if (text === undefined) return {};
  const { gdb, problems } = parseGdbOption(text);
  for (const problem of problems) mistakes.push({ option: '--gdb', message: `${quoted(text)} ${problem}` });
  return gdb === undefined ? {} : { gdb };
}

function serialPorts(texts: readonly string[], mistakes: Mistake[]): readonly SerialConfig[] {
  const ports: SerialConfig[] = [];
  for (const text of texts) {
    const { port, problems } = parseSerialOption(text);
    if (port !== undefined) ports.push(port);
    for (const problem of problems) mistakes.push({ option: '--serial', message: `${quoted(text)}: ${problem}` });
  }
  return withDefaultConsole(ports);
}

/** The order of all of them gives the disks their names. */
function disks({ ordered }: ParsedArguments, mistakes: Mistake[]): readonly DiskConfig[] {
  return ordered.flatMap(({ name, value }) => {
    const option = DISK_OPTIONS.find((candidate) => candidate === `--${name}`);
    if (option === undefined) return [];
    const { disk, problems } = parseDiskOption(option, value);
    for (const problem of problems) mistakes.push({ option, message: `${quoted(value)}: ${problem}` });
    return disk === undefined ? [] : [disk];
  });
}

function vsock(text: string | undefined, mistakes: Mistake[]): Pick<Config, 'vsock'> {
  if (text === undefined) return {};
  const { vsock, problems } = parseVsockOption(text);
  for (const problem of problems) mistakes.push({ option: '--vsock', message: `${quoted(text)}: ${problem}` });
  return vsock === undefined ? {} : { vsock };
}

function isolated(text: string | undefined, mistakes: Mistake[]): Pick<Config, 'isolated'> {
  if (text === undefined) return {};
  const names = text.split(',');
  for (const [index, name] of names.entries()) {
    if (!ISOLATED_DEVICES.some((known) => known === name)) {
      mistakes.push({ option: '--isolate', message: `${quoted(name)} is not one of ${ISOLATED_DEVICES.join(', ')}` });
    } else if (names.indexOf(name) < index) {
      mistakes.push({ option: '--isolate', message: `${name} is named twice` });
    }
  }
  return { isolated: ISOLATED_DEVICES.filter((name) => names.includes(name)) };
}

function nets(texts: readonly string[], mistakes: Mistake[]): readonly NetConfig[] {
  return texts.flatMap((text) => {
    const { net, problems } = parseNetOption(text);
    for (const problem of problems) mistakes.push({ option: '--net', message: `${quoted(text)}: ${problem}` });
    return net === undefined ? [] : [net];
  });
}

/** Those of `--input` first, then those of the old options, kind by kind. */
function inputs({ values }: ParsedArguments, mistakes: Mistake[]): readonly InputConfig[] {
  const given = [
    ...(values.get('input') ?? []).map((text) => ({ option: 'input', text, parsed: parseInputOption(text) })),
    ...INPUT_KINDS.flatMap((kind) =>
      (values.get(kind) ?? []).map((text) => ({ option: kind, text, parsed: parseOldInputOption(kind, text) })),
    ),
  ];
  return given.flatMap(({ option, text, parsed: { input, problems } }) => {
    for (const problem of problems) mistakes.push({ option: `--${option}`, message: `${quoted(text)}: ${problem}` });
    return input === undefined ? [] : [input];
  });
}

/** crosvm's two older options name a path and nothing else; what they give comes after the others. */
function pmems({ values }: ParsedArguments, mistakes: Mistake[]): readonly PmemConfig[] {
  const given = (values.get('pmem') ?? []).flatMap((text) => {
    const { pmem, problems } = parsePmemOption(text);
    for (const problem of problems) mistakes.push({ option: '--pmem', message: `${quoted(text)}: ${problem}` });
    return pmem === undefined ? [] : [pmem];
  });
  const older = (option: string, readOnly: boolean): PmemConfig[] =>
    (values.get(option) ?? []).map((path) => ({ path, readOnly, root: false }));
  return [...given, ...older('pmem-device', true), ...older('rw-pmem-device', false)];
}
function sharedDirs(texts: readonly string[], mistakes: Mistake[]): readonly SharedDirConfig[] {
  return texts.flatMap((text) => {
    const { sharedDir, problems } = parseSharedDirOption(text);
    for (const problem of problems) mistakes.push({ option: '--shared-dir', message: `${quoted(text)}: ${problem}` });
    return sharedDir === undefined ? [] : [sharedDir];
  });
}
