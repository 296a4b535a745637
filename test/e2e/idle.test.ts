import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
/** USER_HZ, in which /proc counts. */
const TICKS_PER_SECOND = 100;
const IDLE_SECONDS = 10;
const IDLE_LIMIT = 0.03;
const SETTLE_MS = 5000;

/** Processor time of a process with all its threads, in seconds; proc_pid_stat(5). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** 100 sleeps of 20 ms: what each takes too long adds up. */
async function checkSleeps(t: TestContext, vm: TestVm): Promise<void> {
  vm.send(
    'a=$(cat /proc/uptime); i=0; while [ $i -lt 100 ]; do usleep 20000; i=$((i+1)); done; echo "took $a" $(cat /proc/uptime)\r',
  );
  const started = performance.now();
  const [, from, to] = await vm.waitFor(/\ntook ([\d.]+) [\d.]+ ([\d.]+) [\d.]+\r\n/, COMMAND);
  const hostMs = performance.now() - started;
  const guestMs = (Number(to) - Number(from)) * 1000;
  t.diagnostic(`100 sleeps of 20 ms: ${guestMs.toFixed(0)} ms in the guest, ${hostMs.toFixed(0)} ms outside`);
  assert.ok(guestMs >= 2000, `the guest's clock: ${guestMs} ms`);
  assert.ok(Math.abs(guestMs - hostMs) < 0.1 * hostMs + 200, `${guestMs} ms in the guest, ${hostMs} ms outside`);
}

test('sleeps in the guest take as long by its clock as by ours, and idle at its prompt it costs less than 3 % of a core', {
  skip: skipWithoutApt,
}, async (t) => {
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage()] });
  await vm.waitFor(PROMPT, BOOT);
  const bootedMs = performance.now();
  await checkSleeps(t, vm);
  await vm.waitFor(PROMPT, COMMAND);
  // Work that the kernel puts off until after its start.
  await sleep(Math.max(0, SETTLE_MS - (performance.now() - bootedMs)));
  const before = cpuSeconds(vm.pid);
  await sleep(IDLE_SECONDS * 1000);
  const share = (cpuSeconds(vm.pid) - before) / IDLE_SECONDS;
  t.diagnostic(`idle guest: ${(share * 100).toFixed(2)} % of a core`);
  assert.ok(share < IDLE_LIMIT, `${(share * 100).toFixed(1)} % of a core`);
});
