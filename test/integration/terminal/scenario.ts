/**
 * Runs inside a pseudo terminal: starts the holder, ends it, and writes to the file in its first argument how the terminal's
 * settings were before, while it was held, and after.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** How the terminal's settings were, as `stty -g` says them. */
export interface Observation {
  readonly before: string;
  readonly held: string;
  /** In force when the holder stopped itself; only with the end `stop`. */
  readonly stopped: string | undefined;
  /** In force after the holder was continued; only with the end `stop`. */
  readonly continued: string | undefined;
  /** In force as soon as they equal `before`, else at the deadline. */
  readonly after: string;
}

const RESTORE_DEADLINE_MS = 5000;
/** How long to make sure that nobody restores anything: many times what a guardian takes. */
const UNGUARDED_DEADLINE_MS = 500;
const SIGNALS: Readonly<Record<string, NodeJS.Signals>> = {
  SIGKILL: 'SIGKILL',
  SIGTERM: 'SIGTERM',
  SIGHUP: 'SIGHUP',
  SIGSEGV: 'SIGSEGV',
};

const ENDS_BY_ORDER: ReadonlySet<string> = new Set(['close', 'exit', 'throw', 'stop']);

const settings = () =>
  execFileSync('stty', ['-g'], { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'latin1' }).trim();

async function observe(end: string): Promise<Observation> {
  const before = settings();
  const holderPath = fileURLToPath(new URL('holder.ts', import.meta.url));
  const holder = spawn(process.execPath, [holderPath, end], {
    stdio: ['inherit', 'inherit', 'ignore', 'pipe', 'pipe'],
    // A process group of its own, for the ends that kill the whole group.
    detached: true,
  });
  const ended = once(holder, 'exit');
  const pid = holder.pid ?? Number.NaN;
  await raw(holder);
  const held = settings();
  if (ENDS_BY_ORDER.has(end)) order(holder);
  let stopped: string | undefined;
  let continued: string | undefined;
  if (end === 'stop') {
    await untilStopped(pid);
    stopped = settings();
    const again = raw(holder);
    process.kill(pid, 'SIGCONT');
    await again;
    continued = settings();
  }
  const signal = SIGNALS[end];
  if (signal !== undefined) process.kill(pid, signal);
  else if (end === 'group' || end === 'stop') process.kill(-pid, 'SIGKILL');
  else if (end === 'unguarded') killGuardianAndHolder(pid);
  await ended;
  return {
    before,
    held,
    stopped,
    continued,
    after: await settledOn(before, end === 'unguarded' ? UNGUARDED_DEADLINE_MS : RESTORE_DEADLINE_MS),
  };
}

async function raw(holder: ChildProcess): Promise<void> {
  const reports = holder.stdio[3];
  if (reports === null || reports === undefined) throw new Error('no report pipe');
  await once(reports, 'data');
}

function order(holder: ChildProcess): void {
  const orders = holder.stdio[4];
  if (orders === null || orders === undefined || !('write' in orders)) throw new Error('no pipe for orders');
  orders.write('.');
}

async function settledOn(wanted: string, deadlineMs: number): Promise<string> {
  const deadline = Date.now() + deadlineMs;
  let current = settings();
  while (current !== wanted && Date.now() < deadline) {
    await sleep(20);
    current = settings();
  }
  return current;
}

async function untilStopped(pid: number): Promise<void> {
  while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) await sleep(10);
}

/** The control: with nobody to watch, the terminal stays raw. */
function killGuardianAndHolder(pid: number): void {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ');
  for (const child of children) process.kill(Number(child), 'SIGKILL');
  process.kill(pid, 'SIGKILL');
}

const [, , resultPath = '', end = ''] = process.argv;
if (import.meta.main) writeFileSync(resultPath, JSON.stringify(await observe(end)));
