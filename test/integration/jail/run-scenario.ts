import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { FORKABLE_NODE_OPTIONS } from '#jail/fork.ts';

const NOBODY = 65534;
const scenarioPath = fileURLToPath(new URL('scenario.ts', import.meta.url));
const isRoot = process.geteuid?.() === 0;

/** Who runs a scenario: the tests' own user, and an ordinary one when that is root. */
export type Runner = 'self' | 'nobody';

/** The command that runs `node` with these arguments as that user. */
export function commandFor(runner: Runner, parameters: readonly string[]): [string, ...string[]] {
  const node = [process.execPath, ...FORKABLE_NODE_OPTIONS, ...parameters];
  const drop = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--'];
  return (runner === 'nobody' ? [...drop, ...node] : node) as [string, ...string[]];
}

export function scenarioCommand(runner: Runner, name: string, parameter?: string): [string, ...string[]] {
  return commandFor(runner, [scenarioPath, name, ...(parameter === undefined ? [] : [parameter])]);
}

/** What the scenario saw. */
export function observe<T>(runner: Runner, name: string, parameter?: string): T {
  const [program, ...parameters] = scenarioCommand(runner, name, parameter);
  const { status, signal, stdout, stderr } = spawnSync(program, parameters, { timeout: 60_000, encoding: 'utf8' });
  assert.equal(status, 0, `${name} ended with ${status ?? signal}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** Why a runner cannot run here, false when it can: the value of a test's `skip`. */
export function skipReason(runner: Runner): string | false {
  if (runner === 'nobody' && !isRoot) return 'the tests run as an ordinary user themselves';
  const check = "import('node:fs').then((fs) => fs.accessSync(process.argv[1]))";
  const [program, ...parameters] = commandFor(runner, ['-e', check, scenarioPath]);
  const { status, error, stderr } = spawnSync(program, parameters, { encoding: 'utf8' });
  if (error !== undefined) return `${program} does not run: ${error.message}`;
  return status === 0 ? false : `the user cannot run node on the sources: ${stderr.trim().split('\n')[0]}`;
}

export { isRoot, NOBODY };
