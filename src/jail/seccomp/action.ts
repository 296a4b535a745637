import { assert } from '#util/assert.ts';

/** What a filter does with a system call, seccomp(2). `tell`: SECCOMP_RET_USER_NOTIF, whose listener decides. */
export type Action = 'allow' | 'log' | 'tell' | 'trap' | 'kill-thread' | 'kill-process' | { readonly errno: number };

/** SECCOMP_RET_ values, uapi/linux/seccomp.h. The upper half is the action, the lower its data. */
const RETURN_VALUES = {
  'kill-process': 0x8000_0000,
  'kill-thread': 0x0000_0000,
  trap: 0x0003_0000,
  tell: 0x7fc0_0000,
  log: 0x7ffc_0000,
  allow: 0x7fff_0000,
} as const;
const RETURN_ERRNO = 0x0005_0000;

/** MAX_ERRNO, linux/err.h: the kernel cuts what is larger. */
export const ERRNO_MAX = 4095;

/** What a filter returns for the action. */
export function returnValue(action: Action): number {
  if (typeof action === 'string') return RETURN_VALUES[action];
  assert(Number.isInteger(action.errno) && action.errno >= 0 && action.errno <= ERRNO_MAX, 'an errno is 0 to 4095');
  return RETURN_ERRNO | action.errno;
}

/** The action's name for a value that a filter returns; undefined for one that no action has. */
export function showReturnValue(value: number): string | undefined {
  if ((value & 0xffff_0000) === RETURN_ERRNO) return `errno ${value & 0xffff}`;
  return Object.entries(RETURN_VALUES).find(([, known]) => known === value)?.[0];
}
