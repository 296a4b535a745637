import type { SyscallError } from '#sys/syscall-error.ts';
import { CodedError } from '#util/errors.ts';

/** The parts of a jail that a host can refuse, in words for the user. */
export const JAIL_STEPS = [
  'descriptors',
  'user change',
  'user namespace',
  'pid namespace',
  'mount namespace',
  'net namespace',
  'ipc namespace',
  'uts namespace',
  'cgroup namespace',
  'id maps',
  'preparation',
  'empty root',
  'shared folder as root',
  'host name',
  'capabilities',
  'limits',
  'no new privileges',
  'death of the parent',
  'seccomp filter',
] as const;
export type JailStep = (typeof JAIL_STEPS)[number];

/** What a failed step was refused with: travels from the child to its parent. */
export interface JailRefusal {
  readonly step: JailStep;
  /** Positive; 0 when it was no system call that failed. */
  readonly errno: number;
  readonly message: string;
}

/** A jail that could not be entered. The child has ended without having run. */
export class JailError extends CodedError<'JAIL_REFUSED'> {
  override readonly name = 'JailError';
  readonly refusal: JailRefusal;

  constructor(refusal: JailRefusal, options?: ErrorOptions) {
    super('JAIL_REFUSED', `jail: ${refusal.step}: ${refusal.message}`, options);
    this.refusal = refusal;
  }
}

/** Does one step of a jail; what fails becomes a JailError that names it. */
export function jailStep<T>(step: JailStep, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const errno = error.name === 'SyscallError' ? (error as SyscallError).errno : errnoOf(error);
    throw new JailError({ step, errno, message: error.message }, { cause: error });
  }
}

/** Node's own file calls have the errno as a negative number. */
function errnoOf(error: Error): number {
  return 'errno' in error && typeof error.errno === 'number' ? Math.abs(error.errno) : 0;
}
