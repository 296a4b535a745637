/** Fork without exec of a JavaScript process into a jail. docs/decisions/0011-fork-without-exec.md has the reasons. */
import { readdirSync, readlinkSync } from 'node:fs';
import { closeAllExcept, dup2 } from '#sys/descriptors.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { close, OpenFlag, open, read, writeAll } from '#sys/file.ts';
import { MessageBuffer } from '#sys/message.ts';
import { setParentDeathSignal, setThreadName } from '#sys/prctl.ts';
import { clone, exitNow, getpid, pidfdOpen } from '#sys/process.ts';
import { changeSignalMask, MaskChange, resetSignals, Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { errorMessage } from '#util/errors.ts';
import { makeForkable } from './forkable.ts';
import { ChildExit, ForkError, ForkedProcess, READY } from './forked-process.ts';
import { birthFlags, enterNamespaces, leaveGroups, lockDown, tryBirthNamespaces, writeIdMaps } from './jail.ts';
import type { JailConfig } from './jail-config.ts';
import { JailError, type JailRefusal, jailStep } from './jail-error.ts';
import { otherThreadsAsleep } from './other-threads.ts';
import { installTellingFilter } from './telling-filter.ts';

/**
 * Options of `node` without which a process must not fork: V8's threads would be missing in the child, and it would wait for them. The last two are for
 * the memory of children: one collection of garbage for all of them beforehand, and a young generation of 1 MiB.
 */
export const FORKABLE_NODE_OPTIONS = [
  '--single-threaded',
  '--v8-pool-size=0',
  '--disable-sigusr1',
  '--expose-gc',
  '--max-semi-space-size=1',
] as const;
export interface ForkOptions {
  /** The thread's name, of which 15 bytes are shown. */
  readonly name: string;
  readonly jail: JailConfig;
  /** Descriptors that the child has, with the same numbers. Standard input, output and error are /dev/null unless they are here. */
  readonly keepFds: readonly number[];
  /** Runs in the child before the jail: maps, opens and makes what the device needs. */
  readonly prepare?: () => void;
  /** Runs in the jail. The child ends with what it returns, 0 to 255. */
  readonly run: () => number;
}

export interface ForkerOptions {
  /** Installs a program of `struct sock_filter` in the calling thread. Throws SyscallError. */
  readonly installSeccomp: (program: Uint8Array) => void;
}

/** What ends a process or what Node handles, with the parent's event loop in mind. SIGPIPE stays ignored, SIGSEGV V8's. */
const RESET_SIGNALS: readonly number[] = [
  Signal.SIGHUP,
  Signal.SIGINT,
  Signal.SIGQUIT,
  Signal.SIGUSR1,
  Signal.SIGUSR2,
  Signal.SIGTERM,
  Signal.SIGCHLD,
  Signal.SIGWINCH,
];
const STDIO = [0, 1, 2] as const;
/** In JSON of at most 6 bytes each, less than REPORT_MAX_BYTES. */
const REFUSAL_MAX_CHARACTERS = 600;

/** Made here, where making it is allowed. */
const readyMessage = new MessageBuffer(READY.length, 1);
/** What a parent sends to a child that may go on, and room for it. */
const GO = Uint8Array.of(1);
const goMessage = new Uint8Array(GO.length);
/** V8's threads have next to nothing to do in such a process: tens of microseconds at a time. */
const SLEEP_TIMEOUT_MS = 10_000;
/** Clones until no thread has run meanwhile. */
const ATTEMPTS_MAX = 100;

/** Makes children of this process. One for each process, made before the process opens an eventfd of its own. */
export class Forker {
  readonly #installSeccomp: (program: Uint8Array) => void;
  /** The eventfds of libuv's loops, which V8 and Node write to from anywhere, as when memory outside of V8's heap is freed. */
  readonly #loopFds: readonly number[];
  /** Why root's supplementary groups stay, which no jail may have. */
  readonly #groupsRefusal: JailError | undefined;
  /** Of this process, for its children: readable from its end on. */
  readonly #ownPidfd: number;

  /**
   * Leaves a filter on every thread, under which memory cannot be kept from children, and root's supplementary groups. Throws ForkError
   * NOT_FORKABLE when the process was started without FORKABLE_NODE_OPTIONS, SyscallError when the kernel takes no filters.
   */
  constructor({ installSeccomp }: ForkerOptions) {
    const missing = FORKABLE_NODE_OPTIONS.filter((option) => !process.execArgv.includes(option));
    if (missing.length > 0) throw new ForkError('NOT_FORKABLE', `node was started without ${missing.join(' ')}`);
    this.#installSeccomp = installSeccomp;
    this.#loopFds = openEventfds();
    this.#groupsRefusal = attempt(leaveGroups);
    makeForkable();
    this.#ownPidfd = pidfdOpen(getpid());
  }

  /** The numbers that are /dev/null in every child, besides standard input, output and error. */
  get reservedFds(): readonly number[] {
    return this.#loopFds;
  }

  /**
   * Starts a child. Throws SyscallError and ForkError NOT_FORKABLE; what goes wrong in the child is told by `ForkedProcess.waitReady` and its
   * status.
   */
  fork(options: ForkOptions): ForkedProcess {
    const { namespaces, root } = options.jail;
    assert(root === 'host' || namespaces.includes('mount'), 'another root needs a mount namespace');
    assert(!options.keepFds.some((fd) => this.#loopFds.includes(fd)), "a descriptor of libuv's is not kept");
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const child = this.#tryFork(options);
      if (child !== undefined) return child;
    }
    throw new ForkError('NOT_FORKABLE', `other threads of this process have run during each of ${ATTEMPTS_MAX} forks`);
  }

  /** Returns undefined when another thread has run meanwhile: the child, which may lack what that held, has been ended. */
  #tryFork(options: ForkOptions): ForkedProcess | undefined {
    const [ours, theirs] = socketpair(SocketType.SEQPACKET);
    const report = new Fd(ours);
    using theirEnd = new Fd(theirs);
    let child: ForkedProcess | undefined;
    try {
      const before = waitForOtherThreads();
      const born = cloneInto(birthFlags(options.jail));
      if (born.child === undefined) this.#becomeChild(options, { report: theirEnd.release(), isBorn: born.isBorn });
      child = new ForkedProcess({ ...born.child, report });
      if (otherThreadsAsleep() === before) {
        letGo(child, options.jail, born.isBorn);
        return child;
      }
    } catch (error) {
      child?.[Symbol.dispose]();
      report[Symbol.dispose]();
      throw error;
    }
    child[Symbol.dispose]();
    return undefined;
  }

  /** Whatever happens, the child does not go on with what its parent was doing. */
  #becomeChild(options: ForkOptions, birth: Birth): never {
    try {
      this.#child(options, birth);
    } finally {
      exitNow(ChildExit.NOT_JAILED);
    }
  }

  #child(options: ForkOptions, { report, isBorn }: Birth): never {
    const { jail, keepFds } = options;
    try {
      resetSignals(RESET_SIGNALS);
      changeSignalMask(MaskChange.SET, []);
      setThreadName(options.name);
      jailStep('descriptors', () => {
        this.#emptyDescriptors(keepFds);
        closeAllExcept([...STDIO, ...keepFds, ...this.#loopFds, report, this.#ownPidfd]);
      });
      // Its end closed: it has refused the id maps, or has ended.
      if (read(report, goMessage) === 0) exitNow(ChildExit.NOT_JAILED);
      if (this.#groupsRefusal !== undefined) throw this.#groupsRefusal;
      if (!isBorn) tryBirthNamespaces(jail);
      assert(isBorn, 'a namespace that a process can enter, it can be born into');
      enterNamespaces(jail);
      const listener = this.#enterJail(options);
      reportReady(report, listener);
    } catch (error) {
      refuse(report, error);
    }
    runToEnd(options.run);
  }

  /** Returns the descriptor that hears of denied calls, if there is one. */
  #enterJail({ jail, prepare }: ForkOptions): number | undefined {
    if (prepare !== undefined) jailStep('preparation', prepare);
    lockDown(jail);
    jailStep('death of the parent', () => this.#dieWithParent());
    const { seccomp, denied } = jail;
    if (seccomp === undefined) return undefined;
    return jailStep('seccomp filter', () => {
      if (denied !== undefined) return installTellingFilter(seccomp);
      this.#installSeccomp(seccomp);
      return undefined;
    });
  }

  /** After the last change of ids, which would clear it. The parent may have ended before. */
  #dieWithParent(): void {
    setParentDeathSignal(Signal.SIGKILL);
    if (pollFd(this.#ownPidfd, PollFlag.IN, 0) !== 0) exitNow(ChildExit.NOT_JAILED);
    close(this.#ownPidfd);
  }

  /**
   * Makes standard input, output and error /dev/null, unless they are kept, and libuv's eventfds too: a write to one of those must
   * neither fail, for libuv would abort the process, nor go to a descriptor that was given the same number later.
   */
  #emptyDescriptors(keep: readonly number[]): void {
    const nothing = open('/dev/null', OpenFlag.RDWR);
    for (const fd of [...STDIO.filter((fd) => !keep.includes(fd)), ...this.#loopFds]) {
      if (fd !== nothing) dup2(nothing, fd);
    }
  }
}

function attempt(step: () => void): JailError | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (error instanceof JailError) return error;
    throw error;
  }
}

interface Birth {
  /** The child's end of the seqpacket pair of its reports. */
  readonly report: number;
  /** Whether it is in the namespaces of `birthFlags`. */
  readonly isBorn: boolean;
}

/** Sleeps until no other thread runs; returns what `otherThreadsAsleep` said. */
function waitForOtherThreads(): string {
  const pause = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  for (let waitedMs = 0; waitedMs < SLEEP_TIMEOUT_MS; waitedMs++) {
    const asleep = otherThreadsAsleep();
    if (asleep !== undefined) return asleep;
    Atomics.wait(pause, 0, 0, 1);
  }
  throw new ForkError('NOT_FORKABLE', `other threads of this process have run for ${SLEEP_TIMEOUT_MS / 1000} s`);
}

/**
 * A child without the namespaces, where the host refuses them, finds out which, and says so as it says everything else. `child` is undefined
 * in the child.
 */
function cloneInto(flags: number): { child: ReturnType<typeof clone>; isBorn: boolean } {
  if (flags === 0) return { child: clone(0), isBorn: true };
  try {
    return { child: clone(flags), isBorn: true };
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    return { child: clone(0), isBorn: false };
  }
}

/** Tells a child to go on, once its id maps are written; one whose maps are refused ends. */
function letGo(child: ForkedProcess, jail: JailConfig, isBorn: boolean): void {
  try {
    if (isBorn && jail.namespaces.includes('user')) writeIdMaps(child.pid, jail);
  } catch (error) {
    if (!(error instanceof JailError)) throw error;
    child.refuse(error.refusal);
    return;
  }
  child.start(GO);
}

/** The last that happens before the device runs, in its filter: it keeps neither descriptor. */
function reportReady(report: number, listener: number | undefined): void {
  const text = Buffer.from(READY);
  if (listener === undefined) {
    writeAll(report, text);
  } else {
    readyMessage.bytes.set(text);
    readyMessage.send({ fd: report }, text.length, [{ fd: listener }], true);
    close(listener);
  }
  close(report);
}

/** Descriptors of this process that are eventfds. */
function openEventfds(): number[] {
  const links = readdirSync('/proc/self/fd').map((fd) => ({ fd: Number(fd), link: linkOf(fd) }));
  return links.filter(({ link }) => link === 'anon_inode:[eventfd]').map(({ fd }) => fd);
}

/** The listing's own descriptor is closed by now. */
function linkOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

function refuse(report: number, error: unknown): never {
  const refusal: JailRefusal =
    error instanceof JailError ? error.refusal : { step: 'preparation', errno: 0, message: errorMessage(error) };
  const message = refusal.message.slice(0, REFUSAL_MAX_CHARACTERS);
  writeAll(report, Buffer.from(JSON.stringify({ ...refusal, message })));
  exitNow(ChildExit.NOT_JAILED);
}

function runToEnd(run: () => number): never {
  try {
    const status = run();
    assert(Number.isInteger(status) && status >= 0 && status <= 255, 'a status is 0 to 255');
    exitNow(status);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    // Where the parent has given it a standard error; else /dev/null.
    writeAll(2, Buffer.from(`${text}\n`));
  } finally {
    exitNow(ChildExit.PANIC);
  }
}
