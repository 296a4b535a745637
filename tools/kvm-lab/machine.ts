/** The machine of the lab: QEMU's TCG, which emulates AMD's SVM with nested paging, so that Linux has a /dev/kvm in it. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { STATUS_LINE } from '../guest/init-script.ts';
import { HEARTBEAT } from './script.ts';

/** The program, and Debian's package of it. */
export const QEMU = { program: 'qemu-system-x86_64', debianPackage: 'qemu-system-x86' } as const;
/** Starts a program that the kernel kills when its parent dies, however that dies. */
export const SETPRIV = { program: 'setpriv', debianPackage: 'util-linux' } as const;

const MEMORY_MIB = 3072;
/** The lab's clock runs beside the host's: a kernel that says nothing for so long has hung. */
const SILENCE_LIMIT_MS = 90_000;
const WATCH_PERIOD_MS = 1000;
/** What of the console is kept for the message of a failure. */
const CONSOLE_TAIL_CHARACTERS = 4000;

export interface LabMachineOptions {
  readonly kernel: string;
  readonly initrd: string;
  /** The machine is killed after so long. */
  readonly limitMs: number;
  /** Receives what the command in the lab prints. */
  readonly onLog: (text: string) => void;
}

/** How the lab ended: with the command's exit status, or why there is none. */
export type LabEnd = { readonly status: number } | { readonly failure: string; readonly console: string };

/** Descriptor of the second serial port's socket in QEMU. */
const LOG_FD = 3;

function qemuOptions({ kernel, initrd }: LabMachineOptions): string[] {
  return [
    ...['-accel', 'tcg,thread=multi,tb-size=512', '-cpu', 'EPYC,+svm,+npt', '-smp', '2', '-m', `${MEMORY_MIB}`],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-monitor', 'none', '-no-reboot', '-nic', 'none'],
    ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet mitigations=off panic=-1'],
    ...['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=log,fd=${LOG_FD}`, '-serial', 'chardev:log'],
  ];
}

/** Boots the lab and waits for its end. `signal` ends it before. */
export async function runLab(options: LabMachineOptions, signal: AbortSignal): Promise<LabEnd> {
  const parameters = ['--pdeathsig', 'KILL', '--', QEMU.program, ...qemuOptions(options)];
  const child = spawn(SETPRIV.program, parameters, { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  const watch = new LabWatch(child, options);
  const abort = (): void => watch.fail('the lab was interrupted');
  signal.addEventListener('abort', abort);
  try {
    return await watch.end;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

class LabWatch {
  readonly end: Promise<LabEnd>;
  readonly #child: ChildProcess;
  readonly #started = performance.now();
  #console = '';
  #errors = '';
  #failure: string | undefined;
  #heardMs = performance.now();

  constructor(child: ChildProcess, { limitMs, onLog }: LabMachineOptions) {
    this.#child = child;
    const [, stdout, stderr, log] = child.stdio as unknown as [null, Readable, Readable, Readable];
    log.setEncoding('utf8').on('data', (text: string) => {
      this.#heardMs = performance.now();
      onLog(text);
    });
    stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#heardMs = performance.now();
      this.#console += text;
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#errors += text;
    });
    const timer = setInterval(() => this.#watch(limitMs), WATCH_PERIOD_MS);
    this.end = new Promise<LabEnd>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, killed) => resolve(this.#result(code ?? killed ?? 'unknown')));
    }).finally(() => clearInterval(timer));
  }

  /** Kills the machine; the first reason counts. */
  fail(reason: string): void {
    this.#failure ??= reason;
    this.#child.kill('SIGKILL');
  }

  #watch(limitMs: number): void {
    const now = performance.now();
    if (now - this.#started > limitMs) this.fail(`the lab did not end within ${Math.round(limitMs / 1000)} s`);
    const silentMs = now - this.#heardMs;
    if (silentMs > SILENCE_LIMIT_MS) {
      this.fail(`the lab hangs: its kernel has run no program for ${Math.round(silentMs / 1000)} s`);
    }
  }

  #result(ended: number | string): LabEnd {
    const status = labStatus(this.#console);
    if (this.#failure === undefined && status !== undefined) return { status };
    const why = this.#failure ?? `the lab ended without the status of its command (QEMU: ${ended})`;
    const errors = this.#errors.trim();
    const failure = errors === '' ? why : `${why}\n${errors}`;
    return { failure, console: withoutHeartbeats(this.#console).slice(-CONSOLE_TAIL_CHARACTERS) };
  }
}

/** The exit status that init prints as its last line; undefined where the console has none. */
export function labStatus(console: string): number | undefined {
  const found = new RegExp(`^${STATUS_LINE} (\\d+)\\s*$`, 'm').exec(console)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** What the kernel and init said. */
export function withoutHeartbeats(console: string): string {
  const lines = console.replaceAll('\r', '').split('\n');
  return lines.filter((line) => line !== HEARTBEAT).join('\n');
}
