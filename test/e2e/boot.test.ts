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

/** How a machine ends: what its kernel is told at the start, what is done, and the status. */
interface End {
  readonly name: string;
  readonly params?: string;
  readonly make: (vm: TestVm) => void | Promise<void>;
  readonly status: number;
}

const POWER_OFF: End = {
  name: 'has a command interrupted by Ctrl-C, and powers off',
  make: async (vm) => {
    await interrupt(vm);
    vm.send('poweroff\r');
  },
  status: EXIT_CODES['power-off'],
};
const REBOOT: End = { name: 'reboots', make: (vm) => vm.send('reboot\r'), status: EXIT_CODES.reset };
/** The kernel can be told to reboot by way of a triple fault. */
const CRASH: End = {
  name: 'crashes by a triple fault',
  params: 'reboot=triple',
  make: (vm) => vm.send('reboot -f\r'),
  status: EXIT_CODES.crash,
};
const PANIC: End = {
  name: 'panics',
  params: 'panic=-1',
  make: (vm) => vm.send('echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger\r'),
  status: EXIT_CODES.panic,
};
const TERMINATED: End = {
  name: 'is ended by SIGTERM',
  make: (vm) => void process.kill(vm.pid, 'SIGTERM'),
  status: 128 + 15,
};

/** Ctrl-C stops a command, not the shell. */
async function interrupt(vm: TestVm): Promise<void> {
  // A shell of its own: the first, between the two commands, may take the interrupt and do nothing with it.
  vm.send(`sh -c 'echo start; exec sleep 1000'\r`);
  await vm.waitFor(/\nstart\r\n/, COMMAND);
  vm.send('\x03');
  await vm.waitFor(PROMPT, COMMAND);
  vm.send('echo alive $?\r');
  await vm.waitFor(/\nalive 130\r\n/, COMMAND);
}

// Each machine is booted once, so each end has a kernel and a size of its own.
for (const { kernel, memoryMib, end } of [
  { kernel: vmlinuz, memoryMib: SMALLEST_MIB, end: REBOOT },
  { kernel: vmlinux, memoryMib: SMALLEST_MIB, end: CRASH },
  { kernel: vmlinuz, memoryMib: 256, end: POWER_OFF },
  { kernel: vmlinux, memoryMib: 256, end: PANIC },
  { kernel: vmlinuz, memoryMib: 3072, end: TERMINATED },
  { kernel: vmlinux, memoryMib: 3072, end: POWER_OFF },
]) {
  test(`Debian 12 boots from ${kernel.name} with ${memoryMib} MiB to a shell, and ${end.name}`, { skip }, async () => {
    const files = { kernel: await kernel(), initrds: [await busyboxImage()] };
    await using vm = await bootToShell({ ...files, memoryMib, params: end.params ?? '' });
    vm.send('echo answer $((6 * 7)) $(uname -m)\r');
    await vm.waitFor(/\nanswer 42 x86_64\r\n/, COMMAND);
    const totalMib = await memoryTotalMib(vm);
    // The kernel keeps its own image and the map of pages to itself.
    assert.ok(totalMib > memoryMib * 0.9 - 45 && totalMib <= memoryMib, `the guest sees ${totalMib} MiB`);
    await end.make(vm);
    assert.deepEqual(await vm.waitForExit(COMMAND), { status: end.status, signal: null });
  });
}

test('with less memory than it needs the kernel panics, and the machine ends as that', { skip }, async () => {
  await using vm = new TestVm({ kernel: await vmlinuz(), initrds: [await busyboxImage()], memoryMib: 64 });
  await vm.waitFor(/Kernel panic - not syncing: System is deadlocked on memory/, BOOT);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.panic, signal: null });
});
