/**
 * npm run fuzz -- cpu [--seed N] [--cases N] [--case N] [--only MNEMONIC] [--shown N] [--jit]
 *
 * Runs random single instructions on the software CPU, interpreted or with --jit compiled, and on the host's processor. Exit status: 0 when they agree, 1 when
 * they do not, 2 for bad arguments.
 */
import { parseArgs } from 'node:util';
import { describeMismatch, type Mismatch, runCampaign, shrink } from './campaign.ts';
import { createGenerator } from './generate/generate.ts';
import { rowGroups } from './generate/rows.ts';
import { hostMake } from './host-make.ts';
import { NO_LEGACY_CODE, runsLegacyCode } from './legacy-code.ts';
import { HostEngine } from './native/host-engine.ts';
import { SoftwareEngine } from './software-engine.ts';

class UsageError extends Error {}

const U32_MAX = 2 ** 32 - 1;
const DEFAULT_CASES = 20_000;
const DEFAULT_SHOWN = 10;
const MISMATCHES_MAX = 1000;

interface Options {
  readonly seed: number;
  readonly firstCase: number;
  readonly cases: number;
  readonly shown: number;
  readonly compiles: boolean;
  readonly selects: (mnemonic: string) => boolean;
}

function wholeNumber(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > U32_MAX) throw new UsageError(`--${name} takes a whole number up to ${U32_MAX}`);
  return value;
}

function parseOptions(parameters: readonly string[]): Options {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args: [...parameters],
    options: { seed: text, cases: text, case: text, only: text, shown: text, jit: { type: 'boolean' } },
    strict: true,
  });
  const { only } = values;
  const selects = (mnemonic: string): boolean => only === undefined || mnemonic === only.toUpperCase();
  const known = [...rowGroups(64), ...rowGroups(32)].some(([row]) => row !== undefined && selects(row.mnemonic));
  if (!known) throw new UsageError(`--only: no instruction ${only} that cases are made of`);
  return {
    seed: wholeNumber('seed', values.seed, crypto.getRandomValues(new Uint32Array(1))[0] ?? 0),
    firstCase: wholeNumber('case', values.case, 0),
    cases: wholeNumber('cases', values.cases, values.case === undefined ? DEFAULT_CASES : 1),
    shown: wholeNumber('shown', values.shown, DEFAULT_SHOWN),
    compiles: values.jit ?? false,
    selects,
  };
}

/** How often each mnemonic differs, most frequent first. */
function summary(mismatches: readonly Mismatch[]): string {
  const counts = new Map<string, number>();
  for (const { testCase } of mismatches) counts.set(testCase.mnemonic, (counts.get(testCase.mnemonic) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([mnemonic, count]) => `${mnemonic} ${count}`)
    .join(', ');
}

/** Runs the cases and prints what differs; the exit status. Throws UsageError and what `parseArgs` throws. */
export async function runConformance(parameters: readonly string[]): Promise<number> {
  const { seed, firstCase, cases, shown, compiles, selects } = parseOptions(parameters);
  using reference = new HostEngine();
  const subject = new SoftwareEngine({ compiles });
  const generator = createGenerator(seed, selects);
  const started = performance.now();
  const engines = { reference, subject, make: hostMake(), hasLegacyCode: await runsLegacyCode(reference) };
  if (!engines.hasLegacyCode) process.stderr.write(`conformance: ${NO_LEGACY_CODE}\n`);
  const options = { ...engines, seed, firstCase, cases, generator, mismatchesMax: MISMATCHES_MAX };
  const { cases: done, leftOut, mismatches } = await runCampaign(options);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (mismatches.length === 0) {
    process.stdout.write(`cpu: ${done - leftOut} cases agree with the host's processor, ${seconds} s (seed ${seed})\n`);
    return 0;
  }
  const seen = new Set<string>();
  for (const mismatch of mismatches) {
    // One of each instruction first says more than many of one.
    if (seen.size >= shown || seen.has(mismatch.testCase.mnemonic)) continue;
    seen.add(mismatch.testCase.mnemonic);
    process.stdout.write(`${describeMismatch(await shrink(mismatch, engines))}\n`);
  }
  process.stdout.write(
    `cpu: ${mismatches.length} of ${done - leftOut} cases DIFFER (seed ${seed}): ${summary(mismatches)}\n`,
  );
  return 1;
}

/** As `runConformance`, with bad arguments as a line on stderr and status 2. */
export async function conformanceCommand(parameters: readonly string[]): Promise<number> {
  try {
    return await runConformance(parameters);
  } catch (error) {
    const isUsage =
      error instanceof UsageError ||
      (error instanceof TypeError && String(Object(error).code).startsWith('ERR_PARSE_ARGS'));
    if (!isUsage) throw error;
    process.stderr.write(`conformance: ${error.message}\n`);
    return 2;
  }
}

if (import.meta.main) process.exitCode = await conformanceCommand(process.argv.slice(2));
