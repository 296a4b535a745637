/** Calls on the process itself. */
import { bind } from './ffi.ts';

const c = { getpid: bind<() => number>('int getpid()') };

/** The process id as the kernel says it now: `process.pid` is the value at the start, wrong in a forked child. */
export function getpid(): number {
  return c.getpid();
}
