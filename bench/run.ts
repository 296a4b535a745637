/**
 * npm run bench -- NAME [options of the bench]
 *
 * Exit status: that of the bench (0 when it measured), 2 for bad arguments.
 */
import { BenchUsageError } from './bench.ts';
import { benchNames, loadBench } from './registry.ts';

async function main([name, ...parameters]: string[]): Promise<number> {
  const bench = name === undefined ? undefined : await loadBench(name);
  if (bench === undefined) throw new BenchUsageError(`name one bench of: ${benchNames().join(', ')}`);
  return await bench.run(parameters);
}

/** Also what node:util's parseArgs says about options. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof BenchUsageError) return true;
  return error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS_');
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!isUsageError(error)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 2;
}
