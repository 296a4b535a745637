/** A guest on a terminal, as a user has it: `crosvm run` inside a pseudo terminal that the test types into. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
const COMMAND = { timeoutMs: 60_000 };
const PASTE = { timeoutMs: 240_000 };

const CTRL_A = '\x01';
const CTRL_C = '\x03';
const CTRL_D = '\x04';

/** util-linux's script(1) gives a command a pseudo terminal; it is part of Debian's base system. */
const skip =
  spawnSync('script', ['--version']).error === undefined ? skipWithoutApt : 'script(1) of util-linux is not installed';

/** A guest at its prompt on a pseudo terminal, and that terminal's settings. */
class TerminalVm implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'crosvm-terminal-'));
  readonly vm: TestVm;

  static async boot(): Promise<TerminalVm> {
    const files = { kernel: await vmlinuz(), initrds: [await busyboxImage()] };
    const terminal = new TerminalVm(files);
    try {
      await terminal.vm.waitFor(PROMPT, BOOT);
      return terminal;
    } catch (error) {
      await terminal[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(files: { kernel: string; initrds: readonly string[] }) {
    this.vm = new TestVm({ ...files, within: (command) => this.#inTerminal(command) });
  }

  /** The settings as `stty -g` says them: before crosvm, in force now, after crosvm. */
  get before(): string {
    return this.#recorded('before');
  }

  get now(): string {
    const { status, stdout, stderr } = spawnSync('stty', ['-g', '-F', this.#recorded('tty')], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  }

  get after(): string {
    return this.#recorded('after');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vm[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true });
  }

  /** script(1) passes on what comes from its pipes, and ends with the status of its command; $SHELL runs that. */
  #inTerminal(command: readonly string[]): string[] {
    const file = (name: string): string => quoted(join(this.#folder, name));
    const steps = [
      `tty >${file('tty')}`,
      `stty -g >${file('before')}`,
      command.map(quoted).join(' '),
      'status=$?',
      `stty -g >${file('after')}`,
      'exit $status',
    ];
    return ['env', 'SHELL=/bin/sh', 'script', '-qefc', steps.join('; '), '/dev/null'];
  }

  #recorded(name: string): string {
    return readFileSync(join(this.#folder, name), 'utf8').trim();
  }
}

/** One word for a shell. */
function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Lines of letters and digits, which no terminal gives a meaning, each of 64 bytes and no two alike. */
function lines(count: number): string {
  return Array.from({ length: count }, (_, i) => {
    const digest = createHash('sha256').update(String(i)).digest('hex');
    return `${digest.slice(0, 63)}\n`;
  }).join('');
}

test('on a terminal a guest gives a prompt and runs commands; Ctrl-A x leaves, and the terminal is as before', {
  skip,
}, async () => {
  await using terminal = await TerminalVm.boot();
  const { vm } = terminal;
  assert.notEqual(terminal.now, terminal.before, 'every key goes to the guest');
  vm.send('echo answer $((6 * 7)) $(tty)\r');
  await vm.waitFor(/\nanswer 42 \/dev\/ttyS0\r\n/, COMMAND);
  await vm.waitFor(PROMPT, COMMAND);
  vm.send(`${CTRL_A}x`);
  assert.deepEqual(await vm.waitForExit(COMMAND), { status: EXIT_CODES.stopped, signal: null });
  assert.equal(terminal.after, terminal.before);
});

test('64 KiB pasted into a terminal arrive whole', { skip }, async () => {
  await using terminal = await TerminalVm.boot();
  const { vm } = terminal;
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
