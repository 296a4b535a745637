import type { Warden } from '#jail/warden.ts';
import { type Clock, hostClock } from '#util/clock.ts';
import { type Config, configMistakes, type Mistake, mistakesIn } from '#vmm/config.ts';
import { EXIT_CODES, type ExitReport, exitCodeOf } from '#vmm/exit-codes.ts';
import { type HostFiles, hostFiles } from '#vmm/host-files.ts';
import type { RunConfig } from '#vmm/run-environment.ts';
import {
  type HypervisorFacts,
  type HypervisorName,
  hypervisorFacts,
  selectHypervisor,
} from '#vmm/select-hypervisor.ts';
import { StartTrace } from '#vmm/start-trace.ts';
import { Terminal } from '#vmm/terminal.ts';
import { runHelp } from './help.ts';
import type { CliIo } from './io.ts';
import { reportMistakes } from './mistakes.ts';
import { parseRunArguments } from './run-options.ts';

const STDIN_FD = 0;

/** What the command takes from the host; all but `io` have the host's own as default. */
export interface RunHost {
  readonly io: CliIo;
  readonly files?: HostFiles;
  readonly clock?: Clock;
  readonly facts?: () => HypervisorFacts | Promise<HypervisorFacts>;
  readonly openTerminal?: (warn: (message: string) => void) => Promise<Terminal | undefined>;
  readonly loadRunConfig?: () => Promise<RunConfig>;
  readonly startWarden?: (config: Config) => Promise<Warden | undefined>;
}

/** `crosvm run`: reads and checks everything the user said, chooses the hypervisor, runs the machine, returns the exit status. */
export async function run(argv: readonly string[], host: RunHost): Promise<number> {
  const { io } = host;
  const request = parseRunArguments(argv);
  if (request.help) {
    io.out(runHelp());
    return 0;
  }
  const { config } = request;
  const decision = selectHypervisor(config.hypervisor, await (host.facts ?? hypervisorFacts)());
  const mistakes: Mistake[] = [...request.mistakes, ...configMistakes(config, host.files ?? hostFiles)];
  if (mistakes.length > 0) return reportMistakes(io, mistakes);
  if ('obstacle' in decision) {
    io.err(`crosvm: --hypervisor ${config.hypervisor}: ${decision.obstacle}\n`);
    return EXIT_CODES['host-error'];
  }
  io.err(`crosvm: hypervisor: ${decision.hypervisor} (${decision.reason})\n`);

  const { nowNs } = host.clock ?? hostClock;
  const startNs = nowNs();
  const report = await runOnTerminal(config, decision.hypervisor, host);
  if ('mistakes' in report) return reportMistakes(io, report.mistakes);
  if (report.message !== undefined) io.err(`crosvm: ${report.message}\n`);
  const exitCode = exitCodeOf(report);
  if (config.stats) {
    const figures = { exit: report.reason, exitCode, wallMs: Math.round((nowNs() - startNs) / 1e6), ...report.stats };
    io.err(`${JSON.stringify(figures)}\n`);
  }
  return exitCode;
}

/** The terminal is given back when this returns, however the run ends. */
async function runOnTerminal(
  config: Config,
  hypervisor: HypervisorName,
  host: RunHost,
): Promise<ExitReport | { readonly mistakes: readonly Mistake[] }> {
  const log = (message: string) => host.io.err(`crosvm: ${message}${terminal?.raw === true ? '\r' : ''}\n`);
  const trace = config.traceStart === true ? new StartTrace() : undefined;
  trace?.mark('Node.js and the command line');
  let terminal: Terminal | undefined;
  let warden: Warden | undefined;
  try {
    // Its process loads while this one does.
    warden = await (host.startWarden ?? startWarden)(config);
    trace?.mark('the warden is started');
    const runConfig = await (host.loadRunConfig ?? loadRunConfig)();
    trace?.mark('the modules are loaded');
    if (config.serial.some((port) => port.stdin)) terminal = await (host.openTerminal ?? openTerminal)(log);
    return await runConfig(config, { hypervisor, terminal, log, warden, trace });
  } catch (error) {
    const mistakes = mistakesIn(error);
    if (mistakes === undefined) throw error;
    return { mistakes };
  } finally {
    warden?.[Symbol.dispose]();
    terminal?.close();
  }
}

async function loadRunConfig(): Promise<RunConfig> {
  return (await import('#vmm/run-config.ts')).runConfig;
}

async function startWarden(config: Config): Promise<Warden | undefined> {
  const { startWarden, wantsDevices } = await import('#vmm/devices/start-warden.ts');
  return wantsDevices(config) ? startWarden() : undefined;
}

async function openTerminal(warn: (message: string) => void): Promise<Terminal | undefined> {
  const { hostTerminalCalls } = await import('#vmm/terminal-calls.ts');
  return Terminal.open(STDIN_FD, hostTerminalCalls(warn));
}
