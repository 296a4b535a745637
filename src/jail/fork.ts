/** Fork without exec of a JavaScript process into a jail. docs/decisions/0011-fork-without-exec.md has the reasons. */
import { readdirSync, readlinkSync } from 'node:fs';
import { closeAllExcept, dup2 } from '#sys/descriptors.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd } from '#sys/fd.ts';
import { close, OpenFlag, open, writeAll } from '#sys/file.ts';
import { MessageBuffer } from '#sys/message.ts';
import { setParentDeathSignal, setThreadName } from '#sys/prctl.ts';
import { type ChildStatus, exitNow, fork, getpid, getppid, pidfdOpen, waitPid } from '#sys/process.ts';
import { changeSignalMask, kill, MaskChange, resetSignals, Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { assert } from '#util/assert.ts';
import { errorMessage } from '#util/errors.ts';
import { makeForkable } from './forkable.ts';
import { ChildExit, ForkError, ForkedProcess, READY } from './forked-process.ts';
import { dropPrivileges, enterNamespaces, lockDown } from './jail.ts';
import type { JailConfig } from './jail-config.ts';
import { JailError, type JailRefusal, jailStep } from './jail-error.ts';
import { installTellingFilter } from './telling-filter.ts';

/** Options of `node` without which a process must not fork: V8's threads would be missing in the child, and it would wait for them. */
export const FORKABLE_NODE_OPTIONS = ['--single-threaded', '--v8-pool-size=0', '--disable-sigusr1'] as const;

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

/** Makes children of this process. One for each process, made before the process opens an eventfd of its own. */
export class Forker {
  readonly #installSeccomp: (program: Uint8Array) => void;
  /** The eventfds of libuv's loops, which V8 and Node write to from anywhere, as when memory outside of V8's heap is freed. */
  readonly #loopFds: readonly number[];

  /**
   * Leaves a filter on every thread, under which memory cannot be kept from children. Throws ForkError NOT_FORKABLE when the process was
   * started without FORKABLE_NODE_OPTIONS, SyscallError when the kernel takes no filters.
   */
  constructor({ installSeccomp }: ForkerOptions) {
    const missing = FORKABLE_NODE_OPTIONS.filter((option) => !process.execArgv.includes(option));
    if (missing.length > 0) throw new ForkError('NOT_FORKABLE', `node was started without ${missing.join(' ')}`);
    this.#installSeccomp = installSeccomp;
    this.#loopFds = openEventfds();
    makeForkable();
  }

  /** The numbers that are /dev/null in every child, besides standard input, output and error. */
  get reservedFds(): readonly number[] {
    return this.#loopFds;
  }

  /** Starts a child. Throws SyscallError; what goes wrong in the child is told by `ForkedProcess.waitReady` and its status. */
  fork(options: ForkOptions): ForkedProcess {
    const { namespaces, root } = options.jail;
    assert(root === 'host' || namespaces.includes('mount'), 'another root needs a mount namespace');
    assert(!options.keepFds.some((fd) => this.#loopFds.includes(fd)), "a descriptor of libuv's is not kept");
    const parentPid = getpid();
    const [readerFd, writerFd] = socketpair(SocketType.SEQPACKET);
    const reader = new Fd(readerFd);
    using writer = new Fd(writerFd);
    try {
      const pid = fork();
      if (pid === 0) this.#becomeChild(options, { parentPid, report: writer.release() });
      return adopt(pid, reader);
    } catch (error) {
      reader.close();
      throw error;
    }
  }

  /** Whatever happens, the child does not go on with what its parent was doing. */
  #becomeChild(options: ForkOptions, first: { parentPid: number; report: number }): never {
    try {
      this.#child(options, first);
    } finally {
      exitNow(ChildExit.NOT_JAILED);
    }
  }

  #child(options: ForkOptions, { parentPid, report }: { parentPid: number; report: number }): never {
    let listener: number | undefined;
    try {
      resetSignals(RESET_SIGNALS);
      changeSignalMask(MaskChange.SET, []);
      setThreadName(options.name);
      jailStep('descriptors', () => {
        this.#emptyDescriptors(options.keepFds);
        this.#closeDescriptors([...STDIO, ...options.keepFds, report]);
      });
      enterNamespaces(options.jail);
      const isParentAlive = () => getppid() === parentPid;
      const isSecondFork = options.jail.namespaces.includes('pid');
      if (isSecondFork) listener = this.#forkAgain(options, { isParentAlive, report });
      else listener = this.#enterJail(options, isParentAlive);
      reportReady(report, listener);
    } catch (error) {
      refuse(report, error);
    }
    runToEnd(options.run);
  }

  /** Returns in the second child, which is the first process of its pid namespace, in the jail. The first waits for it. */
  #forkAgain(options: ForkOptions, first: { isParentAlive: () => boolean; report: number }): number | undefined {
    const ownPidfd = pidfdOpen(getpid());
    const pid = jailStep('second fork', () => fork());
    if (pid !== 0) this.#waitFor(pid, options.jail, first);
    // The C library's fork has let libuv make a pipe for signals, in this child too.
    jailStep('descriptors', () => this.#closeDescriptors([...STDIO, ...options.keepFds, first.report, ownPidfd]));
    // getppid is 0 here, for the parent is outside of the namespace; its pidfd becomes readable when it ends.
    return this.#enterJail(options, () => {
      const isAlive = pollFd(ownPidfd, PollFlag.IN, 0) === 0;
      close(ownPidfd);
      return isAlive;
    });
  }

  /** Returns the descriptor that hears of denied calls, if there is one. */
  #enterJail({ jail, prepare }: ForkOptions, isParentAlive: () => boolean): number | undefined {
    if (prepare !== undefined) jailStep('preparation', prepare);
    lockDown(jail);
    jailStep('death of the parent', () => dieWithParent(isParentAlive));
    const { seccomp, denied } = jail;
    if (seccomp === undefined) return undefined;
    return jailStep('seccomp filter', () => {
      if (denied !== undefined) return installTellingFilter(seccomp);
      this.#installSeccomp(seccomp);
      return undefined;
    });
  }

  /** The first of two children: it keeps nothing, may do nothing, and ends as the second does. */
  #waitFor(
    pid: number,
    jail: JailConfig,
    { isParentAlive, report }: { isParentAlive: () => boolean; report: number },
  ): never {
    try {
      jailStep('descriptors', () => this.#closeDescriptors([report]));
      // With the second's ids, else its end would not be allowed to end the second.
      dropPrivileges({ ...jail, capabilities: 0 });
      jailStep('death of the parent', () => dieWithParent(isParentAlive));
      close(report);
      endAs(waitPid(pid));
    } catch (error) {
      refuse(report, error);
    }
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

  #closeDescriptors(keep: readonly number[]): void {
    closeAllExcept([...keep, ...this.#loopFds]);
  }
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

/** A child without a pidfd, for want of descriptors, does not stay. */
function adopt(pid: number, report: Fd): ForkedProcess {
  try {
    return new ForkedProcess(pid, report);
  } catch (error) {
    kill(pid, Signal.SIGKILL);
    waitPid(pid);
    throw error;
  }
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

/** After the last change of ids, which would clear it. */
function dieWithParent(isParentAlive: () => boolean): void {
  setParentDeathSignal(Signal.SIGKILL);
  if (!isParentAlive()) exitNow(ChildExit.NOT_JAILED);
}

function refuse(report: number, error: unknown): never {
  const refusal: JailRefusal =
    error instanceof JailError ? error.refusal : { step: 'preparation', errno: 0, message: errorMessage(error) };
  // One write, for two processes may report; the reader takes the first line.
  const message = refusal.message.slice(0, REFUSAL_MAX_CHARACTERS);
  writeAll(report, Buffer.from(`${JSON.stringify({ ...refusal, message })}\n`));
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

/** Ends this process as another has ended, by the same signal too. */
function endAs(status: ChildStatus): never {
  if ('exitCode' in status) exitNow(status.exitCode);
  const { signal } = status;
  if (signal !== Signal.SIGKILL) resetSignals([signal]);
  kill(getpid(), signal);
  exitNow(128 + signal);
}
