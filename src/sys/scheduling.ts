/** On which of the host's processors the calling thread runs, and whether it does. */
import { bind, lastError } from './ffi.ts';

/** CPU_SETSIZE, sched.h: numbers beyond are nobody's. */
export const HOST_CPUS_MAX = 1024;

const SELF = 0;

const c = {
  get: bind<(pid: number, sizeBytes: number, mask: Uint8Array) => number>(
    'int sched_getaffinity(int pid, size_t size, void *mask)',
  ),
  set: bind<(pid: number, sizeBytes: number, mask: Uint8Array) => number>(
    'int sched_setaffinity(int pid, size_t size, const void *mask)',
  ),
  yield: bind<() => number>('int sched_yield(void)'),
};

/** The numbers of the processors, in order. Throws SyscallError. */
export function currentAffinity(): readonly number[] {
  const mask = new Uint8Array(HOST_CPUS_MAX / 8);
  if (c.get(SELF, mask.length, mask) < 0) throw lastError('sched_getaffinity');
  return Array.from({ length: HOST_CPUS_MAX }, (_, cpu) => cpu).filter(
    (cpu) => ((mask[cpu >> 3] ?? 0) >> (cpu & 7)) & 1,
  );
}

/** From now on the calling thread runs on these processors only. Throws SyscallError: EINVAL, there is none of them. */
export function setAffinity(cpus: readonly number[]): void {
  const mask = new Uint8Array(HOST_CPUS_MAX / 8);
  for (const cpu of cpus) mask[cpu >> 3] = (mask[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  if (c.set(SELF, mask.length, mask) !== 0) throw lastError('sched_setaffinity');
}

/** The processors that the calling thread could choose, whatever it or its parent has chosen: cpuset(7) bounds them. In order. Throws SyscallError. */
export function possibleAffinity(): readonly number[] {
  const current = currentAffinity();
  setAffinity(Array.from({ length: HOST_CPUS_MAX }, (_, cpu) => cpu));
  const possible = currentAffinity();
  setAffinity(current);
  return possible;
}

/** Lets another thread run that waits for this one's processor. */
export function yieldProcessor(): void {
  c.yield();
}
