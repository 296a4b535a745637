/** Filters that tell which call they have denied. docs/decisions/0013-the-denied-call.md has the reasons. */
import { installNotifyingFilter, installSeccompFilter } from '#sys/seccomp.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import { returnValue } from './seccomp/action.ts';
import { Code, SockFilter } from './seccomp/bpf.ts';

/**
 * Installs a program that returns SECCOMP_RET_USER_NOTIF for what is denied, and returns the descriptor of its listener. Where the host gives none, as in a
 * container whose own filter has one, the kernel kills for such calls, and undefined is returned. Throws SyscallError.
 */
export function installTellingFilter(program: Uint8Array): number | undefined {
  try {
    return installNotifyingFilter(program);
  } catch (error) {
    // EBUSY: an earlier filter has a listener; EINVAL: kernels before 5.0 know none.
    if (!(error instanceof SyscallError && (error.errno === Errno.EBUSY || error.errno === Errno.EINVAL))) throw error;
    installSeccompFilter(killing(program));
    return undefined;
  }
}

/** The same program, which kills where it would have told. */
export function killing(program: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(program);
  const view = viewOf(changed);
  const { code, k } = SockFilter.fields;
  for (let at = 0; at < changed.length; at += SockFilter.size) {
    if (code.get(view, at) === Code.RETURN && k.get(view, at) === returnValue('tell'))
      k.set(view, at, returnValue('kill-process'));
  }
  return changed;
}
