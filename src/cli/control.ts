/** The commands that speak to running machines through their control sockets. */
import { setTimeout } from 'node:timers/promises';
import { errorMessage } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import type { BalloonState } from '#vm-control/balloon-control.ts';
import type { ControlClient } from '#vm-control/control-client.ts';
import type { VmStatus } from '#vm-control/vm-request.ts';
import type { Mistake } from '#vmm/config.ts';
import { DISKS_MAX } from '#vmm/disk-config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { type OptionSpec, parseArguments } from './arguments.ts';
import { controlHelp } from './help.ts';
import type { CliIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';
import { sizeOf } from './sizes.ts';

interface ControlCommand {
  readonly options: readonly OptionSpec[];
  /** Whether it takes several sockets. */
  readonly several: boolean;
  /** What comes before the sockets. */
  readonly leading?: readonly LeadingArgument[];
  readonly run: (client: ControlClient, given: Given) => Promise<void> | void;
}

/** An argument before the sockets. */
interface LeadingArgument {
  readonly name: string;
  /** How the help writes it: words stand for themselves, others for a value. */
  readonly form: string;
  /** Undefined where it is none. */
  readonly read: (text: string) => number | undefined;
  readonly demand: string;
}

interface Given {
  readonly io: CliIo;
  readonly flags: ReadonlySet<string>;
  /** What the leading arguments are. */
  readonly numbers: readonly number[];
}

/** A guest that runs reports within milliseconds, but may be busy. */
const STATS_PAUSE_MS = 20;
const STATS_TRIES = 50;

const HELP: OptionSpec = { name: 'help', short: 'h', help: 'show this help' };
const JSON_OPTION: OptionSpec = { name: 'json', help: 'print the status as JSON' };

const SIZE: LeadingArgument = {
  name: 'SIZE',
  form: 'SIZE',
  read: (text) => {
    const sizeBytes = sizeOf(text);
    return Number.isSafeInteger(sizeBytes) ? sizeBytes : undefined;
  },
  demand: 'a number of bytes, or one with K, M, G or T',
};

/** crosvm's `disk` has one thing to do. */
const RESIZE: LeadingArgument = {
  name: 'disk',
  form: 'resize',
  read: (text) => (text === 'resize' ? 0 : undefined),
  demand: 'resize',
};

const INDEX: LeadingArgument = {
  name: 'INDEX',
  form: 'INDEX',
  read: (text) => (/^\d{1,2}$/.test(text) && Number(text) < DISKS_MAX ? Number(text) : undefined),
  demand: `the number of a disk, 0 to ${DISKS_MAX - 1}: 0 is vda`,
};

export const CONTROL_COMMANDS = {
  stop: { options: [HELP], several: true, run: (client) => client.stop() },
  status: {
    options: [JSON_OPTION, HELP],
    several: false,
    run: (client, { io, flags }) => io.out(statusText(client.status(), flags.has('json'))),
  },
  suspend: { options: [HELP], several: true, run: (client) => client.suspend() },
  resume: { options: [HELP], several: true, run: (client) => client.resume() },
  powerbtn: { options: [HELP], several: true, run: (client) => client.powerButton() },
  balloon: {
    options: [HELP],
    several: true,
    leading: [SIZE],
    run: (client, { numbers: [sizeBytes = 0] }) => client.balloon(sizeBytes),
  },
  balloon_stats: {
    options: [HELP],
    several: false,
    run: async (client, { io }) => io.out(balloonText(await freshStats(client))),
  },
  disk: {
    options: [HELP],
    several: false,
    leading: [RESIZE, INDEX, SIZE],
    run: (client, { numbers: [, index = 0, sizeBytes = 0] }) => client.resizeDisk(index, sizeBytes),
  },
} as const satisfies Readonly<Record<string, ControlCommand>>;

export type ControlName = keyof typeof CONTROL_COMMANDS;

/** Does it to each machine in turn, also after one that failed; exit status 0 when all did it. */
export async function control(name: ControlName, argv: readonly string[], io: CliIo): Promise<number> {
  const command: ControlCommand = CONTROL_COMMANDS[name];
  const { flags, positionals, mistakes } = parseArguments(argv, command.options);
  if (flags.has('help') && mistakes.length === 0) {
    io.out(controlHelp(name, command));
    return 0;
  }
  const { leading = [] } = command;
  const paths = positionals.slice(leading.length);
  const numbers = leading.map(({ read }, index) => read(positionals[index] ?? ''));
  const all = [
    ...mistakes,
    ...leading.flatMap((argument, index) => leadingMistakes(argument, positionals[index])),
    ...pathMistakes(paths, command),
  ];
  if (all.length > 0) return reportMistakes(io, all);
  const { ControlClient: Client } = await import('#vm-control/control-client.ts');
  let exitCode = 0;
  for (const path of paths) {
    try {
      using client = Client.connect(path);
      await command.run(client, { io, flags, numbers: numbers.filter((number) => number !== undefined) });
    } catch (error) {
      if (!isOperating(error)) throw error;
      io.err(`crosvm: ${name}: ${quoted(path)}: ${errorMessage(error)}\n`);
      exitCode = EXIT_CODES['host-error'];
    }
  }
  return exitCode;
}

function pathMistakes(paths: readonly string[], { several }: ControlCommand): Mistake[] {
  if (paths.length === 0)
    return [{ option: 'SOCKET', message: "missing: give the path of a machine's control socket" }];
  if (several) return [];
  return paths.slice(1).map((path) => ({ option: quoted(path), message: 'unexpected argument' }));
}

function leadingMistakes({ name, read, demand }: LeadingArgument, text: string | undefined): Mistake[] {
  if (text === undefined) return [{ option: name, message: `missing: ${demand}` }];
  return read(text) === undefined ? [{ option: name, message: `${quoted(text)}: must be ${demand}` }] : [];
}

/** The guest's next report, if it comes soon; else the last one, for a guest may have no driver or stand still. */
async function freshStats(client: ControlClient): Promise<BalloonState> {
  const first = client.balloonStats();
  for (let left = STATS_TRIES; left > 0; left--) {
    await setTimeout(STATS_PAUSE_MS);
    const next = client.balloonStats();
    if (next.sequence > first.sequence) return next;
  }
  return first;
}

/** In the form of crosvm's. */
function balloonText({ targetBytes, actualBytes, stats }: BalloonState): string {
  const snake = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  const said = Object.entries(stats).filter(([, value]) => value !== undefined);
  const fields = Object.fromEntries(said.map(([name, value]) => [snake(name), value]));
  const answer = { stats: fields, balloon_actual: actualBytes, balloon_target: targetBytes };
  return `${JSON.stringify({ BalloonStats: answer }, null, 2)}\n`;
}

/** What the socket or the machine behind it is to blame for; standard output is not. */
function isOperating(error: unknown): boolean {
  return error instanceof Error && OPERATING.has(error.name);
}

const OPERATING: ReadonlySet<string> = new Set(['ControlConnectError', 'RemoteError', 'MsgError', 'SyscallError']);

function statusText(status: VmStatus, asJson: boolean): string {
  if (asJson) return `${JSON.stringify(status, null, 2)}\n`;
  const { state, pid, version, hypervisor, cpus, memoryMib, uptimeMs } = status;
  const rows = {
    state,
    pid,
    version,
    hypervisor,
    processors: cpus,
    memory: `${memoryMib} MiB`,
    uptime: `${(uptimeMs / 1000).toFixed(1)} s`,
  };
  return Object.entries(rows)
    .map(([name, value]) => `${name.padEnd(11)} ${oneWord(String(value))}\n`)
    .join('');
}

/** Who answers at a path may be anybody. */
function oneWord(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, '\ufffd');
}
