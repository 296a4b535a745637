import { LOG_LEVELS } from '#util/log.ts';
import {
  type Config,
  CPUS,
  type DiskConfig,
  HYPERVISOR_WISHES,
  MEMORY_MIB,
  type Mistake,
  quoted,
  SERIAL_HARDWARE,
  SERIAL_TYPES,
  type SerialConfig,
  withDefaultConsole,
} from '#vmm/config.ts';
import type { NetConfig } from '#vmm/net-config.ts';
import { type OptionSpec, type ParsedArguments, parseArguments } from './arguments.ts';
import { parseBlockOption } from './block-options.ts';
import { parseNetOption } from './net-options.ts';
import { parseSerialOption } from './serial-options.ts';
import { parseVsockOption } from './vsock-options.ts';

/** The options of `crosvm run`; docs/command-line.md describes each, and a test compares the two. */
export const RUN_OPTIONS: readonly OptionSpec[] = [
  {
    name: 'cpus',
    short: 'c',
    value: 'N',
    help: `virtual processors (default ${CPUS.default}; more are not supported yet)`,
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
    help: 'disk image: path=PATH, format=raw|qcow2, ro, root, sparse=BOOL, block-size=BYTES, id=TEXT, lock=BOOL; repeatable',
  },
  { name: 'vsock', value: 'CID,…', help: 'sockets between guest and host: cid=N, socket=PATH' },
  {
    name: 'net',
    value: 'KEY=VALUE,…',
    repeatable: true,
    help: 'network interface: tap-name=NAME, tap-fd=N, host-ip=ADDRESS,netmask=MASK or user; mac=ADDRESS, vq-pairs=N, hostfwd=[tcp:|udp:][ADDRESS:]PORT[-GUESTPORT], host-loopback=BOOL; repeatable',
  },
  { name: 'disable-sandbox', help: 'run the device processes without a jail, and main without a filter' },
  { name: 'seccomp-policy-dir', value: 'DIR', help: "take the seccomp policies from there, in place of the package's" },
  {
    name: 'seccomp-log-failures',
    help: 'system calls that a policy forbids fail and are told of, in place of killing',
  },
  { name: 'socket', value: 'PATH', help: 'make a control socket there; a directory gives crosvm-PID.sock' },
  { name: 'hypervisor', value: 'NAME', help: `${HYPERVISOR_WISHES.join(', ')} (default auto)` },
  { name: 'log-level', value: 'LEVEL', help: `${LOG_LEVELS.join(', ')} (default warn)` },
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
    serial: serialPorts(parsed.values.get('serial') ?? [], mistakes),
    disks: disks(parsed.values.get('block') ?? [], mistakes),
    ...vsock(parsed.values.get('vsock')?.[0], mistakes),
    nets: nets(parsed.values.get('net') ?? [], mistakes),
    sandbox: !parsed.flags.has('disable-sandbox'),
    ...seccompPolicyDirOf(parsed),
    seccompLogFailures: parsed.flags.has('seccomp-log-failures'),
    hypervisor: oneOf(parsed, { option: 'hypervisor', choices: HYPERVISOR_WISHES, fallback: 'auto' }, mistakes),
    logLevel: oneOf(parsed, { option: 'log-level', choices: LOG_LEVELS, fallback: 'warn' }, mistakes),
    stats: parsed.flags.has('stats'),
    ...socketPathOf(parsed),
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

function serialPorts(texts: readonly string[], mistakes: Mistake[]): readonly SerialConfig[] {
  const ports: SerialConfig[] = [];
  for (const text of texts) {
    const { port, problems } = parseSerialOption(text);
    if (port !== undefined) ports.push(port);
    for (const problem of problems) mistakes.push({ option: '--serial', message: `${quoted(text)}: ${problem}` });
  }
  return withDefaultConsole(ports);
}

function disks(texts: readonly string[], mistakes: Mistake[]): readonly DiskConfig[] {
  return texts.flatMap((text) => {
    const { disk, problems } = parseBlockOption(text);
    for (const problem of problems) mistakes.push({ option: '--block', message: `${quoted(text)}: ${problem}` });
    return disk === undefined ? [] : [disk];
  });
}

function vsock(text: string | undefined, mistakes: Mistake[]): Pick<Config, 'vsock'> {
  if (text === undefined) return {};
  const { vsock, problems } = parseVsockOption(text);
  for (const problem of problems) mistakes.push({ option: '--vsock', message: `${quoted(text)}: ${problem}` });
  return vsock === undefined ? {} : { vsock };
}

function nets(texts: readonly string[], mistakes: Mistake[]): readonly NetConfig[] {
  return texts.flatMap((text) => {
    const { net, problems } = parseNetOption(text);
    for (const problem of problems) mistakes.push({ option: '--net', message: `${quoted(text)}: ${problem}` });
    return net === undefined ? [] : [net];
  });
}
