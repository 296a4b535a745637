/** The commands that speak to running machines through their control sockets. */
import { setTimeout } from 'node:timers/promises';
import { errorMessage } from '#util/errors.ts';
import type { BalloonState } from '#vm-control/balloon-control.ts';
import type { ControlClient } from '#vm-control/control-client.ts';
import type { VmStatus } from '#vm-control/vm-request.ts';
import { type Mistake, quoted } from '#vmm/config.ts';
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
  /** Whether the first argument is a size in bytes. */
  readonly takesSize?: true;
  readonly run: (client: ControlClient, given: Given) => Promise<void> | void;
}

interface Given {
  readonly io: CliIo;
  readonly flags: ReadonlySet<string>;
  /** 0 where the command takes none. */
  readonly sizeBytes: number;
}

/** A guest that runs reports within milliseconds, but may be busy. */
const STATS_PAUSE_MS = 20;
const STATS_TRIES = 50;

const HELP: OptionSpec = { name: 'help', short: 'h', help: 'show this help' };
const JSON_OPTION: OptionSpec = { name: 'json', help: 'print the status as JSON' };

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
    takesSize: true,
    run: (client, { sizeBytes }) => client.balloon(sizeBytes),
  },
  balloon_stats: {
    options: [HELP],
    several: false,
    run: async (client, { io }) => io.out(balloonText(await freshStats(client))),
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
  const [size, paths] = command.takesSize ? [positionals[0], positionals.slice(1)] : [undefined, positionals];
  const sizeBytes = sizeOf(size ?? '') ?? Number.NaN;
  const all = [
    ...mistakes,
    ...(command.takesSize ? sizeMistakes(size, sizeBytes) : []),
    ...pathMistakes(paths, command),
  ];
  if (all.length > 0) return reportMistakes(io, all);
  const { ControlClient: Client } = await import('#vm-control/control-client.ts');
  let exitCode = 0;
  for (const path of paths) {
    try {
      using client = Client.connect(path);
      await command.run(client, { io, flags, sizeBytes });
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

function sizeMistakes(text: string | undefined, sizeBytes: number): Mistake[] {
  if (text === undefined) return [{ option: 'SIZE', message: 'missing: bytes, or with K, M, G or T' }];
  if (Number.isSafeInteger(sizeBytes)) return [];
  return [{ option: 'SIZE', message: `${quoted(text)}: must be a number of bytes, or one with K, M, G or T` }];
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
