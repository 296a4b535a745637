/** The `crosvm` command. Each subcommand is loaded when it is asked for, so that the small ones answer at once. */
import { CodedError, errorMessage } from '#util/errors.ts';
import { quoted } from '#util/quoted.ts';
import type { Mistake } from '#vmm/config.ts';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { packageVersion } from '#vmm/version.ts';
import { parseArguments } from './arguments.ts';
import type { ControlName } from './control.ts';
import { COMMANDS, type CommandName, controlHelp, createQcow2Help, doctorHelp, generalHelp, runHelp } from './help.ts';
import { type CliIo, hostIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';

type Command = (argv: readonly string[], io: CliIo) => number | Promise<number>;

const commands: Readonly<Record<CommandName, Command>> = {
  run: async (argv, io) => (await import('./run.ts')).run(argv, { io }),
  create_qcow2: async (argv, io) => (await import('./create-qcow2.ts')).createQcow2Command(argv, io),
  doctor: async (argv, io) => (await import('./doctor.ts')).doctor(argv, io),
  stop: controlCommand('stop'),
  status: controlCommand('status'),
  suspend: controlCommand('suspend'),
  resume: controlCommand('resume'),
  powerbtn: controlCommand('powerbtn'),
  balloon: controlCommand('balloon'),
  disk: controlCommand('disk'),
  balloon_stats: controlCommand('balloon_stats'),
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

function controlCommand(name: ControlName): Command {
  return async (argv, io) => (await import('./control.ts')).control(name, argv, io);
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

async function help(argv: readonly string[], io: CliIo): Promise<number> {
  const { positionals, mistakes } = parseArguments(argv, []);
  const [topic, ...rest] = positionals;
  const all = [...mistakes, ...rest.map(surplus)];
  if (topic !== undefined && !Object.hasOwn(COMMANDS, topic)) all.push(unknownCommand(topic));
  if (all.length > 0) return reportMistakes(io, all);
  io.out(await helpOn(topic));
  return 0;
}

async function helpOn(topic: string | undefined): Promise<string> {
  if (topic === 'run') return runHelp();
  if (topic === 'create_qcow2') return createQcow2Help();
  if (topic === 'doctor') return doctorHelp();
  const { CONTROL_COMMANDS } = await import('./control.ts');
  if (topic !== undefined && isControl(topic, CONTROL_COMMANDS)) return controlHelp(topic, CONTROL_COMMANDS[topic]);
  return generalHelp();
}

function isControl(topic: string, table: Readonly<Record<ControlName, unknown>>): topic is ControlName {
  return Object.hasOwn(table, topic);
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
