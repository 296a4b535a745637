/** What the benches have in common that start a guest on ours and on `qemu-system-x86_64 -accel tcg` in turn. */
import { spawn } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { resolve } from 'node:path';

export const CROSVM = resolve(import.meta.dirname, '../bin/crosvm.js');
export const KERNEL_PARAMS = 'console=ttyS0 quiet loglevel=1';
const ROUND_LIMIT_MS = 300_000;
const TAIL_CHARACTERS = 2000;

export type Command = readonly [string, ...string[]];

/** A machine of QEMU's, with further options. */
export function qemuCommand(files: { kernel: string; initramfs: string }, options: readonly string[]): Command {
  return [
    'qemu-system-x86_64',
    ...['-accel', 'tcg', '-m', '256', '-display', 'none', '-monitor', 'none', '-serial', 'stdio', '-no-reboot'],
    ...options,
    ...['-kernel', files.kernel, '-initrd', files.initramfs, '-append', KERNEL_PARAMS],
  ];
}

/** The same of ours. */
export function ownCommand(
  files: { kernel: string; initramfs: string },
  options: readonly string[],
  serial = 'type=stdout,num=1,console=true,stdin=false',
): Command {
  return [
    process.execPath,
    ...[CROSVM, 'run', '--hypervisor=software', '--mem=256', `--initrd=${files.initramfs}`],
    ...[`--params=${KERNEL_PARAMS}`, `--serial=${serial}`, ...options, files.kernel],
  ];
}

/** Runs a machine to its end. Returns how many a second of each line `done COUNT NANOSECONDS`, of which there must be `lines`. */
export async function measureRates(name: string, command: Command, lines: number): Promise<readonly number[]> {
  const [program, ...parameters] = command;
  const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'] });
  const limit = setTimeout(() => child.kill('SIGKILL'), ROUND_LIMIT_MS);
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString('latin1')));
  const status = await new Promise<number | null>((resolveStatus, reject) => {
    child.once('error', reject);
    child.once('close', resolveStatus);
  }).finally(() => clearTimeout(limit));
  const rates = [...output.matchAll(/^done (\d+) (\d+)/gm)].map(([, count, ns]) => (Number(count) * 1e9) / Number(ns));
  if (status !== 0 || rates.length !== lines) {
    throw new Error(`${name} ended with status ${status}:\n${output.slice(-TAIL_CHARACTERS)}`);
  }
  return rates;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return ((sorted[middle] ?? 0) + (sorted[sorted.length - 1 - middle] ?? 0)) / 2;
}

export function hostText(): string {
  const load = loadavg()[0]?.toFixed(1);
  return `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, load ${load}, Node ${process.versions.node}`;
}
