/** The commands that speak to running machines through their control sockets. */
import { errorMessage } from '#util/errors.ts';
import type { ControlClient } from '#vm-control/control-client.ts';
import type { VmStatus } from '#vm-control/vm-request.ts';
import { type Mistake, quoted } from '#vmm/config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { type OptionSpec, parseArguments } from './arguments.ts';
import { controlHelp } from './help.ts';
import type { CliIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';

interface ControlCommand {
  readonly options: readonly OptionSpec[];
  /** Whether it takes several sockets. */
  readonly several: boolean;
  readonly run: (client: ControlClient, io: CliIo, flags: ReadonlySet<string>) => void;
}

const HELP: OptionSpec = { name: 'help', short: 'h', help: 'show this help' };
const JSON_OPTION: OptionSpec = { name: 'json', help: 'print the status as JSON' };

export const CONTROL_COMMANDS = {
  stop: { options: [HELP], several: true, run: (client) => client.stop() },
  status: {
    options: [JSON_OPTION, HELP],
    several: false,
    run: (client, io, flags) => io.out(statusText(client.status(), flags.has('json'))),
  },
  suspend: { options: [HELP], several: true, run: (client) => client.suspend() },
  resume: { options: [HELP], several: true, run: (client) => client.resume() },
  powerbtn: { options: [HELP], several: true, run: (client) => client.powerButton() },
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
  const all = [...mistakes, ...pathMistakes(positionals, command)];
  if (all.length > 0) return reportMistakes(io, all);
  const { ControlClient: Client } = await import('#vm-control/control-client.ts');
  let exitCode = 0;
  for (const path of positionals) {
    try {
      using client = Client.connect(path);
      command.run(client, io, flags);
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
