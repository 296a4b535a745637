/** What every report may carry: one line for people, and figures for `--stats`. */
interface ReportDetails {
  readonly message?: string;
  readonly stats?: Readonly<Record<string, number | string>>;
}

/** Why a run ended, as `runConfig` reports it. `signal` is the number of the host's signal that ended it, `value` the byte that the guest gave. */
export type ExitReport = ReportDetails &
  (
    | { readonly reason: keyof typeof EXIT_CODES }
    | { readonly reason: 'signal'; readonly signal: number }
    | { readonly reason: 'debug-exit'; readonly value: number }
  );

export type ExitReason = ExitReport['reason'];

/**
 * The exit status of `crosvm run` by reason. 32 to 35 are crosvm's; a signal is 128 + its number, as shells say it.
 * docs/exit-codes.md shows this table, and a test compares the two.
 */
export const EXIT_CODES = {
  'power-off': 0,
  stopped: 0,
  'host-error': 1,
  reset: 32,
  crash: 33,
  panic: 34,
  'bad-arguments': 35,
} as const;

export const SIGNAL_EXIT_BASE = 128;

/** The exit status for a report. */
export function exitCodeOf(report: ExitReport): number {
  if (report.reason === 'signal') return SIGNAL_EXIT_BASE + report.signal;
  return report.reason === 'debug-exit' ? ((report.value << 1) | 1) & 0xff : EXIT_CODES[report.reason];
}
