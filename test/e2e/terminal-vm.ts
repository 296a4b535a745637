/** `crosvm run` inside a pseudo terminal that a test types into. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { busyboxImage, PROMPT, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm, type TestVmOptions } from './test-vm.ts';

const BOOT = { timeoutMs: 120_000 };
/** Of the terminal before anybody resizes it: other than what a guest takes when it knows none. */
export const FIRST_SIZE = { rows: 31, columns: 97 } as const;

/** util-linux's script(1) gives a command a pseudo terminal; it is part of Debian's base system. */
export const skipWithoutTerminal =
  spawnSync('script', ['--version']).error === undefined ? skipWithoutApt : 'script(1) of util-linux is not installed';

/** A guest at its prompt on a pseudo terminal, and that terminal's settings. */
export class TerminalVm implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'crosvm-terminal-'));
  readonly vm: TestVm;

  /** Of the guest's files by default those of a shell alone. */
  static async boot(options?: TestVmOptions): Promise<TerminalVm> {
    const terminal = new TerminalVm(options ?? { kernel: await vmlinuz(), initrds: [await busyboxImage()] });
    try {
      await terminal.vm.waitFor(PROMPT, BOOT);
      return terminal;
    } catch (error) {
      await terminal[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(options: TestVmOptions) {
    this.vm = new TestVm({ ...options, within: (command) => this.#inTerminal(command) });
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

  /** As a user who draws at the window's edge. */
  resize(rows: number, columns: number): void {
    const size = ['rows', String(rows), 'cols', String(columns)];
    const { status, stderr } = spawnSync('stty', ['-F', this.#recorded('tty'), ...size], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
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
      `stty rows ${FIRST_SIZE.rows} cols ${FIRST_SIZE.columns}`,
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
