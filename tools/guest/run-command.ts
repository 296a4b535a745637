import { spawn } from 'node:child_process';
import { GuestFilesError, type Progress } from './guest-error.ts';
import { searchPath } from './host-programs.ts';

/** How often a step that takes long says that it still works. */
const HEARTBEAT_MS = 5000;
/** What is kept of a command's error output for the message of its failure. */
const ERROR_TAIL_CHARACTERS = 1500;

export interface CommandOptions {
  readonly cwd?: string;
  /** What the step does, for lines of progress ("downloading gawk"). Without it the step is silent. */
  readonly step?: string;
  readonly progress?: Progress;
}

/**
 * Runs a program to its end and returns its standard output. Messages are in English whatever the user's language, for
 * they are parsed. A program that is missing or fails is a GuestFilesError that carries the last lines of its errors.
 */
export async function runCommand(
  program: string,
  parameters: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const started = performance.now();
  const { step, progress } = options;
  if (step !== undefined) progress?.(step);
  const heartbeat = setInterval(() => {
    if (step !== undefined) progress?.(`${step} … ${Math.round((performance.now() - started) / 1000)} s`);
  }, HEARTBEAT_MS);
  try {
    return await capture(program, parameters, options.cwd);
  } finally {
    clearInterval(heartbeat);
  }
}

function capture(program: string, parameters: readonly string[], cwd: string | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, {
      ...(cwd === undefined ? {} : { cwd }),
      env: { ...process.env, PATH: searchPath(), LC_ALL: 'C.UTF-8', LANGUAGE: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const output: Buffer[] = [];
    const errors: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => errors.push(chunk));
    child.once('error', (error) => reject(startFailure(program, error)));
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(output).toString());
      const tail = Buffer.concat(errors).toString().trim().slice(-ERROR_TAIL_CHARACTERS);
      const end = signal === null ? `status ${code}` : signal;
      reject(new GuestFilesError(`${program} failed (${end})${tail && `:\n${tail}`}`));
    });
  });
}

function startFailure(program: string, error: Error): Error {
  if (!('code' in error) || error.code !== 'ENOENT') return error;
  return new GuestFilesError(
    `'${program}' was not found. The guest's kernel and programs come from Debian packages, which apt-get, apt-cache and ` +
      `dpkg (packages apt and dpkg) fetch and unpack: run this on Debian 12 or 13.`,
    { missingProgram: true },
  );
}
