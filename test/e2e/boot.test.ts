import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { FIRST_LINE } from '../../tools/guest/init-script.ts';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinux, vmlinuz } from './guest-files.ts';
import { TestVm, type TestVmOptions } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 20_000 };

const skip = skipWithoutApt;

/**
 * Debian 12's cloud kernel keeps 46 MiB for itself before its first process, and another 18 MiB until it runs init: with 64 MiB
 * its own start ends out of memory. QEMU does not boot it with so little either.
 */
const SMALLEST_MIB = 80;

/** Boots to the prompt of a shell. */
async function bootToShell(options: TestVmOptions): Promise<TestVm> {
  const vm = new TestVm(options);
  try {
    await vm.waitFor(new RegExp(FIRST_LINE), BOOT);
    await vm.waitFor(PROMPT, COMMAND);
    return vm;
  } catch (error) {
    await vm[Symbol.asyncDispose]();
    throw error;
  }
}

async function memoryTotalMib(vm: TestVm): Promise<number> {
  vm.send('grep MemTotal /proc/meminfo\r');
  const [, kib] = await vm.waitFor(/MemTotal:\s+(\d+) kB/, COMMAND);
  await vm.waitFor(PROMPT, COMMAND);
  return Number(kib) / 1024;
}

for (const { kernel, memoryMib } of [
  { kernel: vmlinuz, memoryMib: SMALLEST_MIB },
  { kernel: vmlinux, memoryMib: SMALLEST_MIB },
  { kernel: vmlinuz, memoryMib: 256 },
  { kernel: vmlinux, memoryMib: 256 },
  { kernel: vmlinuz, memoryMib: 3072 },
  { kernel: vmlinux, memoryMib: 3072 },
]) {
  test(`Debian 12 boots from ${kernel.name} with ${memoryMib} MiB to a shell, and powers off`, { skip }, async () => {
    await using vm = await bootToShell({ kernel: await kernel(), initrds: [await busyboxImage()], memoryMib });
    vm.send('echo answer $((6 * 7)) $(uname -m)\r');
    await vm.waitFor(/\nanswer 42 x86_64\r\n/, COMMAND);
    const totalMib = await memoryTotalMib(vm);
    // The kernel keeps its own image and the map of pages to itself.
    assert.ok(totalMib > memoryMib * 0.9 - 45 && totalMib <= memoryMib, `the guest sees ${totalMib} MiB`);
    vm.send('poweroff\r');
    assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES['power-off'], signal: null });
  });
}

test('with less memory than it needs the kernel panics, and the machine ends as that', { skip }, async () => {
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage()], memoryMib: 64 });
  await vm.waitFor(/Kernel panic - not syncing: System is deadlocked on memory/, BOOT);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.panic, signal: null });
});

test('Debian 13 boots to a shell', { skip }, async () => {
  await using vm = await bootToShell({ kernel: await vmlinuz('trixie'), initrds: [await busyboxImage()] });
  vm.send('uname -r\r');
  await vm.waitFor(/\n6\.12\.\d+\+deb13-cloud-amd64\r\n/, COMMAND);
});

test('reboot ends the machine with a status of its own', { skip }, async () => {
  await using vm = await bootToShell({ kernel: await vmlinuz(), initrds: [await busyboxImage()] });
  vm.send('reboot\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.reset, signal: null });
});

test('a triple fault ends the machine as a crash', { skip }, async () => {
  // The kernel can be told to reboot by way of a triple fault.
  await using vm = await bootToShell({
    kernel: await vmlinuz(),
    initrds: [await busyboxImage()],
    params: 'reboot=triple',
  });
  vm.send('reboot -f\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.crash, signal: null });
});

test('a kernel panic ends the machine with a status of its own', { skip }, async () => {
  await using vm = await bootToShell({
    kernel: await vmlinuz(),
    initrds: [await busyboxImage()],
    params: 'panic=-1',
  });
  vm.send('echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.panic, signal: null });
});

test('Ctrl-C stops a command, not the shell', { skip }, async () => {
  await using vm = await bootToShell({ kernel: await vmlinuz(), initrds: [await busyboxImage()] });
  // A shell of its own: the first, between the two commands, may take the interrupt and do nothing with it.
  vm.send(`sh -c 'echo start; exec sleep 1000'\r`);
  await vm.waitFor(/\nstart\r\n/, COMMAND);
  vm.send('\x03');
  await vm.waitFor(PROMPT, COMMAND);
  vm.send('echo alive $?\r');
  await vm.waitFor(/\nalive 130\r\n/, COMMAND);
});

test('SIGTERM ends the machine and is its status', { skip }, async () => {
  await using vm = await bootToShell({ kernel: await vmlinuz(), initrds: [await busyboxImage()] });
  process.kill(vm.pid, 'SIGTERM');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: 128 + 15, signal: null });
});
