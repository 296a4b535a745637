import { writeSync } from 'node:fs';
import { type LogSink, logLine } from '#util/log.ts';

const STDERR_FD = 2;

/** Lines to standard error, from any thread: Node's own stream would need the main thread's loop, which is blocked. */
export function stderrSink(terminalIsRaw: boolean): LogSink {
  const lineEnd = terminalIsRaw ? '\r\n' : '\n';
  return (...message) => {
    try {
      writeSync(STDERR_FD, `crosvm: ${logLine(...message)}${lineEnd}`);
    } catch {
      // A closed or full pipe: there is no other place to say it, and the machine goes on.
    }
  };
}
