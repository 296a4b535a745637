import { kill, pid } from 'node:process';
import { getTermios, isTerminal, setTermios, When, windowSize } from '#sys/terminal.ts';
import type { TerminalCalls } from './terminal.ts';
import { startGuardian } from './terminal-guardian.ts';

/** The host's own calls. Failures are SyscallErrors. */
export function hostTerminalCalls(warn: (message: string) => void): TerminalCalls {
  return {
    isTerminal,
    readSettings: getTermios,
    writeSettings: (fd, settings) => setTermios(fd, settings, When.NOW),
    readSize: windowSize,
    startGuardian,
    stopSelf: () => void kill(pid, 'SIGSTOP'),
    warn,
  };
}
