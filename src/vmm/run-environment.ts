import type { WorkerOptions } from 'node:worker_threads';
import type { Warden } from '#jail/warden.ts';
import type { Config } from './config.ts';
import type { ExitReport } from './exit-codes.ts';
import type { HypervisorName } from './select-hypervisor.ts';
import type { StartTrace } from './start-trace.ts';
import type { Terminal } from './terminal.ts';

/** What a run gets besides its Config: decisions made from the host, and the user's terminal. */
export interface RunEnvironment {
  /** Chosen by `selectHypervisor`. */
  readonly hypervisor: HypervisorName;
  /**
   * Present when a serial port reads standard input and that is a terminal. The run calls `enterRaw` right before the guest
   * starts, puts an EscapeFilter before the port, and handles SIGTSTP, SIGCONT and SIGWINCH; its caller closes it.
   */
  readonly terminal: Terminal | undefined;
  /** Started early, for a machine with device processes; the run starts one otherwise. The run ends it, and its caller where the run did not come so far. */
  readonly warden?: Warden | undefined;
  /** One line for the user on stderr; the prefix and a line end that suits the terminal's state are added. */
  readonly log: (message: string) => void;
  /** Notes the steps of the start, if anyone wants to know. */
  readonly trace?: StartTrace | undefined;
  /** How Node starts the vCPUs' threads; its own ways if absent. Tests make threads die by it. */
  readonly threadOptions?: Pick<WorkerOptions, 'resourceLimits' | 'execArgv'>;
}

/** Runs one virtual machine to its end. Throws ConfigError for what only the loaders find wrong with the user's files. */
export type RunConfig = (config: Config, environment: RunEnvironment) => Promise<ExitReport> | ExitReport;
