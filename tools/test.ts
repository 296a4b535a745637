/**
 * npm test [-- OPTION…]
 *
 * The whole suite: the checks; all tests that are neither unit tests nor of KVM, as many files at once as there are processors, for by default
 * Node's runner leaves one processor to itself, which is half of a machine of two, and a guest keeps little more than one busy; then the
 * tests of KVM, alone, for they count the time, but not its boots of Debian (`npm run test:kvm` has them too), which QEMU does not bear each time on a busy host. Options of `node --test` go to the second part, which is then the last one.
 */
import { spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { MISSING_STATUS } from './kvm-lab/script.ts';

const FILES = [
  'fuzz/*.test.ts',
  'test/conformance/**/*.test.ts',
  'test/integration/**/*.test.ts',
  'test/e2e/**/*.test.ts',
];
const options = process.argv.slice(2);

/** Returns the exit status. */
function run(parameters: readonly string[]): number {
  const { status, signal, error } = spawnSync('node', parameters, { stdio: 'inherit' });
  if (error) throw error;
  if (signal) process.kill(process.pid, signal);
  return status ?? 1;
}

/** Ends the suite where this part fails. */
function need(parameters: readonly string[]): void {
  const status = run(parameters);
  if (status !== 0) process.exit(status);
}

need(['tools/check.ts']);
need(['--test', `--test-concurrency=${availableParallelism()}`, ...FILES, ...options]);
if (options.length === 0) {
  const status = run(['tools/kvm-lab/main.ts', 'test/kvm/*.test.ts']);
  if (status === MISSING_STATUS) console.error('npm test: the tests of KVM are skipped: see the line before');
  else if (status !== 0) process.exit(status);
}
