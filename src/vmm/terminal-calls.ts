import { getpid, pidfdOpen, pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { getTermios, isTerminal, setTermios, When, windowSize } from '#sys/terminal.ts';
import type { TerminalCalls } from './terminal.ts';
import { startGuardian } from './terminal-guardian.ts';

/** The host's own calls. Failures are SyscallErrors. */
export function hostTerminalCalls(warn: (message: string) => void): TerminalCalls {
  let self: number | undefined;
  return {
    isTerminal,
    readSettings: getTermios,
    writeSettings: (fd, settings) => setTermios(fd, settings, When.NOW),
    readSize: windowSize,
    startGuardian: (fd) => {
      // Later main's filter allows signals to processes that it has descriptors of alone.
      self ??= pidfdOpen(getpid());
      return startGuardian(fd);
    },
    stopSelf: () => pidfdSendSignal(self ?? pidfdOpen(getpid()), Signal.SIGSTOP),
    warn,
  };
}
