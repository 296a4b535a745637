/** The walls of a process that goes on with all of its threads, as main does: no capabilities, no new privileges, a seccomp filter. */
import { capsetCall, getCapabilities, setCapabilities } from '#sys/credentials.ts';
import { type DeniedCallTexts, nameDeniedCalls } from '#sys/denied-call.ts';
import { callOnOtherThreads, threadIds, threadStatus } from '#sys/every-thread.ts';
import { clearAmbientSet, dropBoundingSet, privilegeCalls, setSecureBits } from '#sys/prctl.ts';
import { installSeccompFilter, SeccompFlag, setNoNewPrivileges } from '#sys/seccomp.ts';
import { CAP_SETPCAP, NO_CAPABILITIES, SECURE_BITS } from './jail.ts';
import { JailError, jailStep } from './jail-error.ts';

/** A thread that waits in the kernel is woken for it; one that computes is interrupted. */
const THREADS_TIMEOUT_MS = 2000;

/**
 * Takes every capability away from every thread, and new privileges; what is started later has none either. The bounding set and the secure
 * bits go too where the caller may change them: an ordinary user has no use of either. Throws JailError.
 */
export function dropProcessPrivileges(): void {
  const mayChangeBounds = (getCapabilities().effective & CAP_SETPCAP) !== 0n;
  // The last first: without CAP_SETPCAP nothing else can be dropped.
  const calls = [...privilegeCalls(SECURE_BITS), capsetCall(NO_CAPABILITIES)];
  jailStep('capabilities', () => {
    if (mayChangeBounds) {
      dropBoundingSet();
      setSecureBits(SECURE_BITS);
    }
    clearAmbientSet();
    setCapabilities(NO_CAPABILITIES);
  });
  jailStep('no new privileges', setNoNewPrivileges);
  const isDone = () => threadsWithPrivileges(mayChangeBounds).length === 0;
  const done = jailStep('capabilities', () => callOnOtherThreads(calls, { isDone, timeoutMs: THREADS_TIMEOUT_MS }));
  if (done) return;
  const message = `threads keep theirs: ${threadsWithPrivileges(mayChangeBounds).join(', ')}`;
  throw new JailError({ step: 'capabilities', errno: 0, message });
}

/**
 * Puts a filter on every thread for the rest of the process's life. `program` is an array of struct sock_filter; where it traps, the call is named
 * with `texts` and the process ends by SIGSYS. Throws JailError.
 */
export function installProcessFilter(program: Uint8Array, texts: DeniedCallTexts): void {
  jailStep('seccomp filter', () => {
    nameDeniedCalls(texts);
    setNoNewPrivileges();
    installSeccompFilter(program, SeccompFlag.TSYNC);
  });
}

/** Names of this process's threads that have a capability in some set, or may gain new ones, proc(5). */
function threadsWithPrivileges(mustHaveNoBounds: boolean): string[] {
  const sets = mustHaveNoBounds ? 'Inh|Prm|Eff|Bnd|Amb' : 'Inh|Prm|Eff|Amb';
  const hasCapability = new RegExp(`^Cap(?:${sets}):\\s*0*[1-9a-f]`, 'm');
  const names: string[] = [];
  for (const id of threadIds()) {
    const status = threadStatus(id);
    if (status === undefined || !(hasCapability.test(status) || /^NoNewPrivs:\s*0/m.test(status))) continue;
    names.push(/^Name:\s*(.*)$/m.exec(status)?.[1] ?? String(id));
  }
  return names;
}

/** The threads of this process by id, with their names, prctl(2), PR_SET_NAME. */
export function threadNames(): Map<number, string> {
  const names = new Map<number, string>();
  for (const id of threadIds()) {
    const status = threadStatus(id);
    if (status !== undefined) names.set(id, /^Name:\s*(.*)$/m.exec(status)?.[1] ?? '');
  }
  return names;
}
