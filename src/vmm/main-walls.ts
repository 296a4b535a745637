import { dropProcessPrivileges, installProcessFilter, threadNames } from '#jail/process-walls.ts';
import { X86_64 } from '#jail/seccomp/architecture.ts';
import type { DeniedCallTexts } from '#sys/denied-call.ts';
import { exitNow } from '#sys/process.ts';
import type { Policies } from './policies.ts';
import { VCPU_THREAD_NAME } from './vcpu-worker.ts';

/** What main, with its vCPU threads, puts around itself: whatever it still does has to be in its policy. */
export class MainWalls {
  readonly #filter: Uint8Array;

  /** Reads the policy. Throws ConfigError for one of the user's. */
  constructor(policies: Policies) {
    this.#filter = policies.main();
  }

  /** Of all threads, before any vCPU is made. Threads that start later have what is left. Throws JailError. */
  dropPrivileges(): void {
    dropProcessPrivileges();
  }

  /** When everything that the threads need is loaded and made, before the guest runs. Throws JailError. */
  installFilter(terminalIsRaw: boolean): void {
    installProcessFilter(this.#filter, deniedCallTexts(terminalIsRaw));
    // Node takes its event loop apart when it ends, for which libuv uses its io_uring; that would open files past any filter.
    process.once('exit', exitNow);
  }
}

/** The line that is the last of a process that its filter has killed. */
function deniedCallTexts(terminalIsRaw: boolean): DeniedCallTexts {
  const threads = new Map<number, string>();
  for (const [id, name] of threadNames()) {
    if (id === process.pid) threads.set(id, lineOf('the main thread'));
    else if (name.startsWith(VCPU_THREAD_NAME)) threads.set(id, lineOf(`vCPU thread ${name}`));
  }
  return {
    threads,
    otherThread: lineOf("a thread of Node's"),
    calls: new Map([...X86_64.systemCalls].map(([name, number]) => [number, name])),
    otherCall: 'a system call without a name',
    advice: `, which main.policy forbids: killed by SIGSYS${ADVICE}${terminalIsRaw ? '\r\n' : '\n'}`,
  };
}

const ADVICE =
  '; if no guest is to blame, allow it in a copy of the policies for --seccomp-policy-dir and report it; with --seccomp-log-failures it fails with EPERM instead';

const lineOf = (thread: string): string => `crosvm: ${thread} called `;
