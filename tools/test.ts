/**
 * The whole suite: the checks, then all tests that are no unit tests and none of KVM (`npm run test:kvm`), as many files at once as there are processors. By default
 * Node's runner leaves one processor to itself, which is half of a machine of two, and a guest keeps little more than one busy.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';

const FILES = [
  'fuzz/*.test.ts',
  'test/conformance/**/*.test.ts',
  'test/integration/**/*.test.ts',
  'test/e2e/**/*.test.ts',
];

for (const parameters of [
  ['tools/check.ts'],
  ['--test', `--test-concurrency=${availableParallelism()}`, ...FILES, ...process.argv.slice(2)],
]) {
  const { status, error } = spawnSync('node', parameters, { stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
