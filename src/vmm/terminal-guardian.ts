import { spawn, spawnSync } from 'node:child_process';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { pidfdOpen, pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { CodedError } from '#util/errors.ts';

/** The process that outlives us to restore the terminal. */
export interface Guardian {
  /** Its process id: its end is no concern of who watches the device processes. */
  readonly pid: number;
  /** Ends it without an effect on the terminal. Call it after the terminal has been restored. */
  dismiss(): void;
}

export class GuardianError extends CodedError<'NO_GUARDIAN'> {
  override readonly name = 'GuardianError';
}

/**
 * Waits for the end of the pipe on descriptor 3, whose other end only the parent has, and then writes the settings in $1 to
 * the terminal on standard input. Signals that a terminal or a supervisor sends to everyone must not end it before.
 */
const SCRIPT = `trap '' HUP INT QUIT TERM TSTP TTIN TTOU PIPE; read -r _ <&3; exec stty "$1"`;

/**
 * Starts a guardian for the terminal `fd`, which at this moment has the settings to be restored. It runs in a session of its
 * own, so that no job control applies to it and a signal to our process group does not reach it.
 *
 * Throws GuardianError when there is no `stty` or `sh`.
 */
export function startGuardian(fd: number): Guardian {
  const query = spawnSync('stty', ['-g'], { stdio: [fd, 'pipe', 'ignore'], encoding: 'latin1', timeout: 5000 });
  if (query.error !== undefined) throw new GuardianError('NO_GUARDIAN', query.error.message);
  const settings = query.stdout.trim();
  if (query.status !== 0 || settings === '') throw new GuardianError('NO_GUARDIAN', 'stty -g failed');

  const child = spawn('/bin/sh', ['-c', SCRIPT, 'crosvm-terminal', settings], {
    stdio: [fd, 'ignore', 'ignore', 'pipe'],
    detached: true,
    cwd: '/',
  });
  // Node reports a failed start by this event too, and without a listener it would end the process.
  child.on('error', () => {});
  if (child.pid === undefined) throw new GuardianError('NO_GUARDIAN', '/bin/sh does not start');
  const pipe = child.stdio[3];
  // Neither the child nor its pipe may keep this process from ending.
  child.unref();
  if (pipe !== null && pipe !== undefined && 'unref' in pipe && typeof pipe.unref === 'function') pipe.unref();
  const pidfd = new Fd(pidfdOpen(child.pid));
  return {
    pid: child.pid,
    dismiss: () => {
      // SIGKILL is pending before the pipe closes, so the script never gets past its read.
      if (pollFd(pidfd.fd, PollFlag.IN, 0) === 0) pidfdSendSignal(pidfd.fd, Signal.SIGKILL);
      pidfd.close();
    },
  };
}
