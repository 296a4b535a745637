/**
 * node fuzz/run.ts <target>|smoke|canary [--seed N] [--cases N] [--seconds S] [--case N]
 * node fuzz/run.ts cpu [--seed N] [--cases N] [--case N] [--only MNEMONIC] [--shown N]
 *
 * `cpu` runs random instructions on the software CPU and on the host's processor: test/conformance/.
 *
 * Exit status: 0 when no case failed, 1 when one did, 2 for bad arguments.
 */
import { parseArgs } from 'node:util';
import { type FuzzLimits, fuzz } from './engine.ts';
import { CANARY, loadTarget, targetNames } from './registry.ts';
import type { FuzzTarget } from './target.ts';

const SMOKE = 'smoke';
const CPU = 'cpu';
/** Seconds for each target when no limit is given. */
const DEFAULT_SECONDS = { single: 60, smoke: 2 } as const;

class UsageError extends Error {}

interface Options {
  readonly target: string;
  readonly limits: FuzzLimits;
}

function parseNumber(name: string, text: string | undefined, maximum: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > maximum) throw new UsageError(`--${name} takes a whole number up to ${maximum}`);
  return value;
}

function parseOptions(parameters: string[]): Options {
  const options = {
    seed: { type: 'string' },
    cases: { type: 'string' },
    seconds: { type: 'string' },
    case: { type: 'string' },
  } as const;
  const { values, positionals } = parseArgs({ args: parameters, options, allowPositionals: true, strict: true });
  const [target, ...others] = positionals;
  if (target === undefined || others.length > 0) {
    throw new UsageError(`name one target of: ${[...targetNames(), CPU, SMOKE, CANARY].join(', ')}`);
  }
  const seed = parseNumber('seed', values.seed, 2 ** 32 - 1) ?? crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  const single = parseNumber('case', values.case, Number.MAX_SAFE_INTEGER);
  const cases = parseNumber('cases', values.cases, Number.MAX_SAFE_INTEGER);
  const seconds = parseNumber('seconds', values.seconds, 2 ** 32);
  const defaultSeconds = target === SMOKE ? DEFAULT_SECONDS.smoke : DEFAULT_SECONDS.single;
  return {
    target,
    limits: {
      seed,
      cases: single === undefined ? (cases ?? Number.POSITIVE_INFINITY) : 1,
      seconds: seconds ?? (cases === undefined && single === undefined ? defaultSeconds : Number.POSITIVE_INFINITY),
      ...(single === undefined ? {} : { firstCase: single }),
    },
  };
}

/** One line for a passed target; for a failed one the command that repeats it and the error. */
function runTarget(target: FuzzTarget, limits: FuzzLimits): boolean {
  const started = performance.now();
  const { cases, failure } = fuzz(target, limits);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (!failure) {
    process.stdout.write(`fuzz ${target.name}: ${cases} cases passed in ${seconds} s (seed ${limits.seed})\n`);
    return true;
  }
  const repeat = `${target.name} --seed ${limits.seed} --case ${failure.caseNumber}`;
  process.stdout.write(`fuzz ${target.name}: FAILED after ${cases} cases; repeat with: node fuzz/run.ts ${repeat}\n`);
  for (let error = failure.error; error !== undefined; error = error instanceof Error ? error.cause : undefined) {
    process.stdout.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  }
  return false;
}

async function main(parameters: string[]): Promise<number> {
  if (parameters[0] === CPU) {
    const { conformanceCommand } = await import('../test/conformance/main.ts');
    return await conformanceCommand(parameters.slice(1));
  }
  const { target: chosen, limits } = parseOptions(parameters);
  let failed = false;
  for (const name of chosen === SMOKE ? targetNames() : [chosen]) {
    const target = await loadTarget(name);
    if (!target) throw new UsageError(`no target ${name}; there are: ${[...targetNames(), SMOKE, CANARY].join(', ')}`);
    if (!runTarget(target, limits)) failed = true;
  }
  return failed ? 1 : 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage =
    error instanceof UsageError ||
    (error instanceof TypeError && String(Object(error).code).startsWith('ERR_PARSE_ARGS'));
  if (!isUsage) throw error;
  process.stderr.write(`fuzz: ${error.message}\n`);
  process.exitCode = 2;
}
