import { kill, pid } from 'node:process';
import { isatty } from 'node:tty';
import { bind, lastError } from '#sys/ffi.ts';
import type { TerminalCalls } from './terminal.ts';
import { startGuardian } from './terminal-guardian.ts';

/** sizeof(struct termios) of the C library on x86-64, bits/termios-struct.h. */
const TERMIOS_BYTES = 60;
/** termios(3): the change takes effect at once. */
const TCSANOW = 0;

const tcgetattr = bind<(fd: number, termios: Uint8Array) => number>('int tcgetattr(int fd, void *termios)');
const tcsetattr = bind<(fd: number, actions: number, termios: Uint8Array) => number>(
  'int tcsetattr(int fd, int actions, const void *termios)',
);

/** The host's own calls. Failures are SyscallErrors. */
export function hostTerminalCalls(warn: (message: string) => void): TerminalCalls {
  return {
    isTerminal: isatty,
    readSettings: (fd) => {
      const settings = new Uint8Array(TERMIOS_BYTES);
      if (tcgetattr(fd, settings) !== 0) throw lastError('tcgetattr', { fd });
      return settings;
    },
    writeSettings: (fd, settings) => {
      if (tcsetattr(fd, TCSANOW, settings) !== 0) throw lastError('tcsetattr', { fd });
    },
    startGuardian,
    stopSelf: () => void kill(pid, 'SIGSTOP'),
    warn,
  };
}
