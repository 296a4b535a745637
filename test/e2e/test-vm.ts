import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';

/** `$CROSVM` names another program to test, such as an installed one. */
const CROSVM = process.env['CROSVM'] ?? resolve(import.meta.dirname, '../../bin/crosvm.js');
const SERIAL = 'type=stdout,num=1,console=true,stdin=true';
const TAIL_CHARACTERS = 3000;
/** What a machine that is asked to end may take before it is killed. */
const STOP_LIMIT_MS = 5000;

export interface TestVmOptions {
  readonly kernel: string;
  readonly initrds: readonly string[];
  readonly memoryMib?: number;
  /** Added to the kernel command line. */
  readonly params?: string;
  /** The values of `--serial`; by default one serial port that is the console. */
  readonly serial?: readonly string[];
  /** Further options of `crosvm run`. */
  readonly options?: readonly string[];
  /** Makes the command that is started of the one that would be: another one around it. */
  readonly within?: (command: readonly string[]) => readonly string[];
}

export interface VmExit {
  /** Null where a signal ended the process. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * A `crosvm run` of its own whose console is a pipe, unless `within` makes it something else. The object owns the process:
 * `await using` ends it.
 */
export class TestVm implements AsyncDisposable {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #exit: Promise<VmExit>;
  readonly #watchers = new Set<() => void>();
  #console = '';
  #errors = '';
  /** Output before this was matched by an earlier `waitFor`. */
  #matchedEnd = 0;
  #ended: VmExit | undefined;

  constructor(options: TestVmOptions) {
    const command = [
      process.execPath,
      CROSVM,
      'run',
      `--mem=${options.memoryMib ?? 256}`,
      ...options.initrds.map((path) => `--initrd=${path}`),
      `--params=quiet loglevel=1 ${options.params ?? ''}`.trimEnd(),
      ...(options.serial ?? [SERIAL]).map((port) => `--serial=${port}`),
      ...(options.options ?? []),
      options.kernel,
    ];
    const [program = '', ...parameters] = options.within?.(command) ?? command;
    this.#child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout.on('data', (chunk: Buffer) => {
      this.#console += chunk.toString('latin1');
      this.#wake();
    });
    this.#child.stderr.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
    // A guest that powers off while input is on its way: the exit status tells what there is to tell.
    this.#child.stdin.on('error', () => {});
    this.#exit = new Promise((resolveExit, reject) => {
      this.#child.once('error', reject);
      this.#child.once('close', (status, signal) => {
        this.#ended = { status, signal };
        this.#wake();
        resolveExit(this.#ended);
      });
    });
  }

  /** Of what was started: the program around crosvm where there is one. */
  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** All of the console so far, one character for each byte. */
  get console(): string {
    return this.#console;
  }

  /** What crosvm itself said on standard error. */
  get errors(): string {
    return this.#errors;
  }

  send(text: string): void {
    this.#child.stdin.write(text);
  }

  /** Waits until the console, after the last match, matches; throws with the last output at the deadline or at the end. */
  async waitFor(pattern: RegExp, { timeoutMs }: { timeoutMs: number }): Promise<RegExpExecArray> {
    const look = (): RegExpExecArray | undefined => {
      const match = pattern.exec(this.#console.slice(this.#matchedEnd));
      if (match) this.#matchedEnd += match.index + match[0].length;
      else if (this.#ended) throw this.#failure(`ended before the console matched ${pattern}`);
      return match ?? undefined;
    };
    return await this.#watch(look, { timeoutMs, what: `the console to match ${pattern}` });
  }

  async waitForExit({ timeoutMs }: { timeoutMs: number }): Promise<VmExit> {
    return await this.#watch(() => this.#ended, { timeoutMs, what: 'the machine to end' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_LIMIT_MS);
    await this.#exit;
    clearTimeout(timer);
  }

  #watch<T>(look: () => T | undefined, { timeoutMs, what }: { timeoutMs: number; what: string }): Promise<T> {
    return new Promise((resolveWatch, reject) => {
      const settle = (end: () => void): void => {
        clearTimeout(timer);
        this.#watchers.delete(check);
        end();
      };
      const check = (): void => {
        try {
          const found = look();
          if (found !== undefined) settle(() => resolveWatch(found));
        } catch (error) {
          settle(() => reject(error));
        }
      };
      const expire = (): void => settle(() => reject(this.#failure(`waited ${timeoutMs} ms for ${what}`)));
      const timer = setTimeout(expire, timeoutMs);
      this.#watchers.add(check);
      check();
    });
  }

  #wake(): void {
    for (const check of [...this.#watchers]) check();
  }

  #failure(problem: string): Error {
    const end = this.#ended === undefined ? 'still runs' : `ended with ${JSON.stringify(this.#ended)}`;
    const tail = (text: string): string => text.slice(-TAIL_CHARACTERS);
    return new Error(
      `${problem}; crosvm ${end}\n--- console ---\n${tail(this.#console)}\n--- errors ---\n${tail(this.#errors)}`,
    );
  }
}
