/**
 * `crosvm run` whose vCPU threads die: dying-thread.ts WAY run OPTIONS… With --disable-sandbox it runs the machine twice in this process, and tells
 * with its last line what the second run added to the process's descriptors and children. Without, main's own walls leave room for one machine alone.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { hostIo } from '../../../src/cli/io.ts';
import { run } from '../../../src/cli/run.ts';
import { runConfig } from '../../../src/vmm/run-config.ts';
import type { RunEnvironment } from '../../../src/vmm/run-environment.ts';

const sleepsAre = (what: string): string[] => ['--import', resolve(import.meta.dirname, `${what}-sleep.ts`)];

const WAYS: Readonly<Record<string, RunEnvironment['threadOptions']>> = {
  'out of memory at its start': { resourceLimits: { maxOldGenerationSizeMb: 6 } },
  'out of memory at its first sleep': {
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    execArgv: sleepsAre('hoarding'),
  },
  'ended at its first sleep': { execArgv: sleepsAre('ending') },
  'not to be loaded': { execArgv: sleepsAre('missing') },
};

const [way = '', , ...argv] = process.argv.slice(2);
const threadOptions = WAYS[way];
if (threadOptions === undefined) throw new Error(`no way '${way}'`);

const children = (): string[] =>
  readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'latin1').split(' ').filter(Boolean),
  );
const runOnce = (): Promise<number> =>
  run(argv, {
    io: hostIo,
    loadRunConfig: async () => (config, environment) => runConfig(config, { ...environment, threadOptions }),
  });

if (!argv.includes('--disable-sandbox')) process.exit(await runOnce());
await runOnce();
const before = { fds: readdirSync('/proc/self/fd').length, children: children() };
const status = await runOnce();
const after = { fds: readdirSync('/proc/self/fd').length, children: children() };
process.stderr.write(`${JSON.stringify({ before, after })}\n`);
process.exit(status);
