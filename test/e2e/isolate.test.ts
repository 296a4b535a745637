/** A guest whose real-time clock and whose reset are in jailed processes: the time, an alarm's interrupt, and the end by the keyboard controller. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { childrenOf, statusOf } from '../integration/jail/observe.ts';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
/** The host's load, and the clock's whole seconds. */
const TIME_TOLERANCE_S = 20;

/** The names of the processes below one. */
function namesBelow(pid: number): string[] {
  const threads = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  return threads.flatMap((warden) => childrenOf(warden).map((child) => statusOf(child)['Name'] ?? ''));
}

test('Debian takes the time and an alarm from a jailed clock, and resets by a jailed controller', {
  skip: skipWithoutApt,
  timeout: 240_000,
}, async () => {
  await using vm = new TestVm({
    kernel: await vmlinuz(),
    initrds: [await busyboxImage()],
    params: 'reboot=k',
    options: ['--isolate=i8042,cmos'],
  });
  await vm.waitFor(PROMPT, BOOT);
  const names = namesBelow(vm.pid);
  assert.ok(names.includes('i8042') && names.includes('cmos'), names.join());
  vm.send('echo "time $(cat /sys/class/rtc/rtc0/since_epoch)."\r');
  const [, time] = await vm.waitFor(/^time (\d+)\.\r$/m, COMMAND);
  assert.ok(Math.abs(Number(time) - Date.now() / 1000) < TIME_TOLERANCE_S, `${time} is not now`);
  const interrupts = `$(grep 'rtc0' /proc/interrupts | tr -s ' ' | cut -d ' ' -f 3)`;
  vm.send(`before=${interrupts}; echo +2 >/sys/class/rtc/rtc0/wakealarm\r`);
  vm.send(`while [ ${interrupts} = $before ]; do sleep 1; done; echo "alarm after $before, now ${interrupts}."\r`);
  const [, before, after] = await vm.waitFor(/^alarm after (\d+), now (\d+)\.\r$/m, COMMAND);
  assert.equal(Number(after), Number(before) + 1);
  vm.send('reboot -f\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.reset, signal: null }, vm.errors);
});
