/** A guest whose console is a serial port in a process of its own, with the jail and without: boot, input, output, interrupts, and a panic. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { childrenOf, statusOf } from '../integration/jail/observe.ts';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
/** Of 40 bytes each: more than the FIFO and the line discipline hold. */
const PASTE_LINES = 200;

/** The names of the processes below one. */
function namesBelow(pid: number): string[] {
  const threads = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);
  return threads.flatMap((warden) => childrenOf(warden).map((child) => statusOf(child)['Name'] ?? ''));
}

for (const { name, options } of [
  { name: 'in its jail', options: [] },
  { name: 'without a jail', options: ['--disable-sandbox'] },
]) {
  test(`Debian boots to a shell on a serial port with a process, ${name}, which takes input and tells of a panic`, {
    skip: skipWithoutApt,
    timeout: 240_000,
  }, async () => {
    await using vm = new TestVm({
      kernel: await vmlinuz(),
      initrds: [await busyboxImage()],
      params: 'panic=-1',
      options,
      serial: ['stdout,console,stdin,jail'],
    });
    await vm.waitFor(PROMPT, BOOT);
    assert.ok(namesBelow(vm.pid).includes('serial0'), 'it has a process');
    const lines = Array.from({ length: PASTE_LINES }, (_, line) => `${line} is a line of forty characters`.padEnd(39));
    const text = `${lines.join('\n')}\n`;
    vm.send(`stty -echo; cat <<'END' | md5sum; stty echo\n${text}END\n`);
    const [, sum] = await vm.waitFor(/\b([0-9a-f]{32}) {2}-/, COMMAND);
    assert.equal(sum, createHash('md5').update(text).digest('hex'));
    vm.send('seq 1 3000; echo "interrupts $(grep -c ttyS0 /proc/interrupts)"\r');
    await vm.waitFor(/\n2998\r\n2999\r\n3000\r\ninterrupts 1\r\n/, COMMAND);
    vm.send('echo c >/proc/sysrq-trigger\r');
    assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.panic, signal: null }, vm.errors);
  });
}
