/** The `crosvm` command. Each subcommand is loaded when it is asked for, so that the small ones answer at once. */
import { CodedError, errorMessage } from '#util/errors.ts';
import { type Mistake, quoted } from '#vmm/config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { packageVersion } from '#vmm/version.ts';
import { parseArguments } from './arguments.ts';
import { COMMANDS, type CommandName, doctorHelp, generalHelp, runHelp } from './help.ts';
import { type CliIo, hostIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';

type Command = (argv: readonly string[], io: CliIo) => number | Promise<number>;

const commands: Readonly<Record<CommandName, Command>> = {
  run: async (argv, io) => (await import('./run.ts')).run(argv, { io }),
  doctor: async (argv, io) => (await import('./doctor.ts')).doctor(argv, io),
  version,
  help,
};

const commandTable = new Map<string, Command>([
  ...Object.entries(commands),
  ['--version', version],
  ['-V', version],
  ['--help', help],
  ['-h', help],
]);

/**
 * Runs one command; `argv` is what follows the program's name. Returns the exit status (docs/exit-codes.md) and never
 * throws: whatever goes wrong is a line on standard error.
 */
export async function main(argv: readonly string[], io: CliIo = hostIo): Promise<number> {
  try {
    const [name, ...rest] = argv;
    if (name === undefined) {
      io.err(generalHelp());
      return EXIT_CODES['bad-arguments'];
    }
    const command = commandTable.get(name);
    if (command === undefined) return reportMistakes(io, [unknownCommand(name)]);
    return await command(rest, io);
  } catch (error) {
    return reportFailure(error, io);
  }
}

function unknownCommand(name: string): Mistake {
  return { option: quoted(name), message: `no such command; there are ${Object.keys(COMMANDS).join(', ')}` };
}

function version(argv: readonly string[], io: CliIo): number {
  const { positionals, mistakes } = parseArguments(argv, []);
  const all = [...mistakes, ...positionals.map(surplus)];
  if (all.length > 0) return reportMistakes(io, all);
  io.out(`crosvm ${packageVersion()}\n`);
  return 0;
}

function help(argv: readonly string[], io: CliIo): number {
  const { positionals, mistakes } = parseArguments(argv, []);
  const [topic, ...rest] = positionals;
  const all = [...mistakes, ...rest.map(surplus)];
  if (topic !== undefined && !Object.hasOwn(COMMANDS, topic)) all.push(unknownCommand(topic));
  if (all.length > 0) return reportMistakes(io, all);
  if (topic === 'run') io.out(runHelp());
  else io.out(topic === 'doctor' ? doctorHelp() : generalHelp());
  return 0;
}

function surplus(argument: string): Mistake {
  return { option: quoted(argument), message: 'unexpected argument' };
}

/** An operating error is one line; anything else is a mistake of ours, and the trace helps whoever mends it. */
function reportFailure(error: unknown, io: CliIo): number {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  // The reader of our output went away (`crosvm help | head -1`): nobody is left to tell.
  if (code === 'EPIPE') return EXIT_CODES['host-error'];
  // An errno's name; Node's own codes (ERR_…) are about how it was called.
  const operating = error instanceof CodedError || (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code));
  const trace = !operating && error instanceof Error ? `\n${error.stack}` : '';
  io.err(`crosvm: ${operating ? '' : 'internal error: '}${errorMessage(error)}${trace}\n`);
  return EXIT_CODES['host-error'];
}

// A running machine leaves handles behind (worker threads, pipes) that must not keep the process.
if (import.meta.main) process.exit(await main(process.argv.slice(2)));
