/** The one list of checks: the same before a commit and in CI. Stops at the first step that fails. */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

interface Step {
  readonly name: string;
  readonly command: readonly string[];
}

/** Node's runner leaves one processor to itself, which is half of a machine of two. */
const AT_ONCE = `--test-concurrency=${availableParallelism()}`;
const UNIT_TESTS = ['src/**/*.test.ts', 'tools/**/*.test.ts', 'test/style/*.test.ts'];

const steps: readonly Step[] = [
  { name: 'format and lint', command: ['biome', 'ci', '--colors=off', '--error-on-warnings', '.'] },
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'unit tests', command: ['node', '--test', AT_ONCE, ...UNIT_TESTS] },
];

for (const { name, command } of steps) {
  const started = performance.now();
  const [program, ...parameters] = command as [string, ...string[]];
  const { status, error } = spawnSync(program, parameters, { stdio: 'inherit' });
  if (error) throw error;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  process.stderr.write(`check: ${name}: ${status === 0 ? 'ok' : 'FAILED'} (${seconds} s)\n`);
  if (status !== 0) process.exit(1);
}
