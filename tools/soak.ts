/**
 * npm run soak -- [--hypervisor software|kvm] [--machines 500] [--runs 100]
 *
 * So many machines without devices in this process, then so many runs of `crosvm` with devices in jails, on the software CPU: what is left of
 * them. Exit status: 0 nothing, 1 something, 2 for bad arguments.
 */
import { AssertionError } from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { hypervisorOf } from '#vmm/hypervisors.ts';
import { runAndStop, startAndStop } from '../test/cycles.ts';

const HYPERVISORS = ['software', 'kvm'];
const STATUS = { FAILED: 1, USAGE: 2 } as const;

interface Request {
  readonly hypervisor: string;
  readonly machines: number;
  readonly runs: number;
}

function request(argv: string[]): Request | string {
  const options = {
    hypervisor: { type: 'string', default: 'software' },
    machines: { type: 'string', default: '500' },
    runs: { type: 'string', default: '100' },
  } as const;
  let values: { hypervisor: string; machines: string; runs: string };
  try {
    ({ values } = parseArgs({ args: argv, options }));
  } catch (error) {
    return (error as Error).message;
  }
  const [machines, runs] = [Number(values.machines), Number(values.runs)];
  if (!HYPERVISORS.includes(values.hypervisor)) return `--hypervisor takes one of ${HYPERVISORS.join(', ')}`;
  for (const count of [machines, runs]) {
    if (!Number.isInteger(count) || count < 0) return '--machines and --runs take whole numbers';
  }
  return { hypervisor: values.hypervisor, machines, runs };
}

const wanted = request(process.argv.slice(2));
if (typeof wanted === 'string') {
  console.error(`soak: ${wanted}`);
  process.exitCode = STATUS.USAGE;
} else {
  try {
    console.log(await startAndStop(hypervisorOf(wanted.hypervisor), wanted.machines));
    console.log(await runAndStop(wanted.runs));
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error;
    console.error(`soak: ${error.message}`);
    process.exitCode = STATUS.FAILED;
  }
}
