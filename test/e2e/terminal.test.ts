/** A guest on a terminal, as a user has it: `crosvm run` inside a pseudo terminal that the test types into. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { PROMPT } from './guest-files.ts';
import { skipWithoutTerminal as skip, TerminalVm } from './terminal-vm.ts';
import type { TestVm } from './test-vm.ts';

const COMMAND = { timeoutMs: 60_000 };
const PASTE = { timeoutMs: 240_000 };

const CTRL_A = '\x01';
const CTRL_C = '\x03';
const CTRL_D = '\x04';

/** Lines of letters and digits, which no terminal gives a meaning, each of 64 bytes and no two alike. */
function lines(count: number): string {
  return Array.from({ length: count }, (_, i) => {
    const digest = createHash('sha256').update(String(i)).digest('hex');
    return `${digest.slice(0, 63)}\n`;
  }).join('');
}

async function paste(vm: TestVm): Promise<void> {
  const text = lines(1024);
  // The shell edits lines with settings of its own: what is pasted comes when those of `cat` are in force.
  vm.send('echo ready; cat >/tmp/pasted\r');
  await vm.waitFor(/\nready\r\n/, COMMAND);
  vm.send(`${text}${CTRL_D}`);
  await vm.waitFor(PROMPT, PASTE);
  vm.send('wc -c </tmp/pasted; md5sum /tmp/pasted\r');
  const [, sizeBytes, sum] = await vm.waitFor(/\n(\d+)\r\n([0-9a-f]{32}) {2}\/tmp\/pasted\r\n/, COMMAND);
  assert.equal(Number(sizeBytes), text.length);
  assert.equal(sum, createHash('md5').update(text).digest('hex'));
}

test('on a terminal a guest runs commands, 64 KiB pasted arrive whole; Ctrl-A x leaves, and the terminal is as before', {
  skip,
}, async () => {
  await using terminal = await TerminalVm.boot();
  const { vm } = terminal;
  assert.notEqual(terminal.now, terminal.before, 'every key goes to the guest');
  vm.send('echo answer $((6 * 7)) $(tty)\r');
  await vm.waitFor(/\nanswer 42 \/dev\/ttyS0\r\n/, COMMAND);
  await vm.waitFor(PROMPT, COMMAND);
  await paste(vm);
  await vm.waitFor(PROMPT, COMMAND);
  vm.send(`${CTRL_A}x`);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.stopped, signal: null });
  assert.equal(terminal.after, terminal.before);
});

test('Ctrl-C on a terminal interrupts a command in the guest, and ends neither its shell nor crosvm', {
  skip,
}, async () => {
  await using terminal = await TerminalVm.boot();
  const { vm } = terminal;
  // A shell of its own: the first, between the two commands, may take the interrupt and do nothing with it.
  vm.send(`sh -c 'echo start; exec sleep 1000'\r`);
  await vm.waitFor(/\nstart\r\n/, COMMAND);
  vm.send(CTRL_C);
  await vm.waitFor(PROMPT, COMMAND);
  vm.send('echo alive $?\r');
  await vm.waitFor(/\nalive 130\r\n/, COMMAND);
  vm.send('poweroff\r');
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES['power-off'], signal: null });
  assert.equal(terminal.after, terminal.before);
});
