/** Machines that start and stop: nothing is left of them. `npm run soak` does the same for longer. */
import { test } from 'node:test';
import { softwareHypervisor } from '#hypervisor/software/software-vm.ts';
import { runAndStop, startAndStop } from '../../cycles.ts';

const MACHINES = 100;
const RUNS = 6;

test(`of ${MACHINES} machines of the software CPU in one process nothing is left`, { timeout: 180_000 }, async (t) => {
  t.diagnostic(await startAndStop(softwareHypervisor, MACHINES));
});

test(`of ${RUNS} runs with devices, which are stopped or killed, no process and no socket is left`, {
  timeout: 180_000,
}, async (t) => {
  t.diagnostic(await runAndStop(RUNS));
});
