/** One program run to its end in a folder of its own, and what it left behind. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Every descendant has it in its environment, whatever session it made for itself. */
const MARKER = 'CROSVM_TEST_SCRATCH';
const PEAK_FD = 3;
/**
 * Writes the largest resident size of a Node process, in KiB, when it ends: not getrusage's, which where the child is made by vfork has that of
 * its parent in it. The file is opened at the start: behind its walls a process opens none.
 */
const PEAK_REPORTER = `data:text/javascript,import { openSync, readSync, writeSync } from 'node:fs';
const [fd, text] = [openSync('/proc/self/status'), Buffer.alloc(4096)];
process.on('exit', () => writeSync(${PEAK_FD}, text.latin1Slice(0, readSync(fd, text)).match(/^VmHWM:\\s+(\\d+)/m)[1]));`;

/** Options of Node with which `Leavings.peakMib` is known. */
export const REPORT_PEAK: readonly string[] = ['--import', PEAK_REPORTER];

export interface Leavings {
  /** Null where a signal ended the program, which is also what happens at the time limit. */
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
  /** Undefined unless the program is Node with `REPORT_PEAK`. */
  readonly peakMib: number | undefined;
  /** Descendants that still run. */
  readonly processes: readonly number[];
  /** What is new in the working folder and in the folder for temporary files. */
  readonly created: readonly string[];
}

/** The object owns its folder, and the processes that were left behind. */
export class Scratch implements Disposable {
  readonly #root = mkdtempSync(join(tmpdir(), 'crosvm-scratch-'));
  /** Where the program runs: its input goes here. */
  readonly folder = join(this.#root, 'work');
  readonly #temporary = join(this.#root, 'tmp');

  constructor() {
    mkdirSync(this.folder);
    mkdirSync(this.#temporary);
  }

  run([program = '', ...parameters]: readonly string[], { timeoutMs }: { timeoutMs: number }): Leavings {
    const before = new Set(this.#files());
    // Files, not pipes: a process that is left behind would keep a pipe open and us waiting.
    const names = ['output', 'errors', 'peak'].map((name) => join(this.#root, name));
    const fds = names.map((name) => openSync(name, 'w'));
    const { status, error } = spawnSync(program, parameters, {
      cwd: this.folder,
      env: { ...process.env, TMPDIR: this.#temporary, [MARKER]: this.#root },
      stdio: ['ignore', ...fds],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
    });
    for (const fd of fds) closeSync(fd);
    if (error !== undefined && !('code' in error && error.code === 'ETIMEDOUT')) throw error;
    const [output = '', errors = '', peak = ''] = names.map((name) => readFileSync(name, 'utf8'));
    return {
      status,
      output,
      errors,
      peakMib: peak === '' ? undefined : Number(peak) / 1024,
      processes: this.#processes(),
      created: this.#files().filter((path) => !before.has(path)),
    };
  }

  [Symbol.dispose](): void {
    for (const pid of this.#processes()) process.kill(pid, 'SIGKILL');
    rmSync(this.#root, { recursive: true, force: true });
  }

  #files(): string[] {
    return [this.folder, this.#temporary].flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
    );
  }

  #processes(): number[] {
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return pids.filter((pid) => environment(pid).includes(`${MARKER}=${this.#root}`)).map(Number);
  }
}

/** Empty for a process of another user, and for one that ended meanwhile. */
function environment(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}
