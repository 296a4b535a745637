import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MsgError } from '#msg-socket/errors.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { pidfdOpen, pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { assert } from '#util/assert.ts';
import { FORKABLE_NODE_OPTIONS } from './fork.ts';
import {
  duplicates,
  type ForkRequest,
  WARDEN_TYPES,
  WardenError,
  type WardenReply,
  type WardenRequest,
} from './warden-wire.ts';

export interface WardenStart {
  /** The module that calls `runWarden`. */
  readonly entry: URL;
  /** The guest memory's memfd, of which the warden gets a duplicate; where there is none yet, `giveGuestMemory` brings it. */
  readonly guestMemoryFd?: number;
}

export type DeviceRequest = Readonly<Omit<ForkRequest, 'kind' | 'id' | 'socket' | 'fds'>>;

/** A device that the warden has been asked for. */
export interface RequestedDevice {
  readonly id: number;
  readonly name: string;
  /** Main's end of the device's seqpacket pair. */
  readonly socket: Fd;
}

/** A device process, as main knows it. */
export interface ForkedDevice extends RequestedDevice {
  readonly pid: number;
  /** Readable from the end on; its status is in the warden's event. */
  readonly pidfd: Fd;
}

/** What the warden says of a device on its own account. */
export type WardenEvent = Exclude<WardenReply, Answer>;

/** What the warden says to a request. */
type Answer = Extract<WardenReply, { kind: 'forked' | 'refused' }>;

const DIED = 'the warden process has ended';

/** The warden starts Node and loads the devices; on a loaded machine that takes seconds. */
const ANSWER_TIMEOUT_MS = 30_000;
/** Of requests that are not answered yet: the kernel lets a user have as many in flight as a process may have open, unix(7), ETOOMANYREFS. */
const UNANSWERED_FDS_MAX = 512;
/** It has nothing to do at its end. */
const END_TIMEOUT_MS = 1000;

/**
 * The warden process, as main knows it: main's end of the control socket, which is `fd`, readable when there is an event. When it is
 * closed, or main ends, the warden ends, and every device with it.
 */
export class Warden implements HasFd, Disposable {
  readonly pid: number;
  /** Readable from the warden's end on. */
  readonly pidfd: Fd;
  readonly #control: Fd;
  readonly #messages: MsgSocket<WardenRequest, WardenReply>;
  readonly #events: WardenEvent[] = [];
  /** Descriptors of each request that has no answer. */
  readonly #unanswered = new Map<number, number>();
  readonly #answers = new Map<number, Answer>();
  #nextId = 1;

  /** Starts the process and does not wait for it. Throws SyscallError. */
  constructor({ entry, guestMemoryFd }: WardenStart) {
    const [ours, theirs] = socketpair(SocketType.SEQPACKET);
    this.#control = new Fd(ours);
    this.#messages = new MsgSocket({ borrowed: this.#control }, WARDEN_TYPES);
    using theirEnd = new Fd(theirs);
    const child = spawn(process.execPath, [...FORKABLE_NODE_OPTIONS, fileURLToPath(entry)], {
      stdio: ['ignore', 'ignore', 'inherit', theirEnd.fd, guestMemoryFd ?? 'ignore'],
      // A session of its own: what a terminal sends to everyone, main gets and decides about.
      detached: true,
      cwd: '/',
      // NODE_OPTIONS could give it threads, and what else is here is no device's business.
      env: {},
    });
    // Node reports a failed start by this event too, and without a listener it would end the process.
    child.on('error', () => {});
    child.unref();
    try {
      if (child.pid === undefined) throw new WardenError('WARDEN_DIED', 'the warden process does not start');
      this.pid = child.pid;
      this.pidfd = new Fd(pidfdOpen(child.pid));
    } catch (error) {
      this.#control.close();
      throw error;
    }
  }

  get fd(): number {
    return this.#control.fd;
  }

  /** Gives the warden a duplicate of the guest memory's memfd, before the first device that uses it. Throws WardenError and SyscallError. */
  giveGuestMemory(fd: number): void {
    this.#send({ kind: 'guestMemory', memfd: new Fd(dup(fd)) });
  }

  /** Forks a device: `request`, then `forked`. Throws WardenError and SyscallError. */
  fork(device: DeviceRequest, fds: readonly number[] = []): ForkedDevice {
    const requested = this.request(device, fds);
    try {
      return this.forked(requested);
    } catch (error) {
      requested.socket.close();
      throw error;
    }
  }

  /**
   * Asks for a device, which has `fds` (they stay open here) and a socket to main, and does not wait for an answer: `forked` does. The caller
   * owns the socket. Throws WardenError and SyscallError.
   */
  request(device: DeviceRequest, fds: readonly number[] = []): RequestedDevice {
    // What it has to say never fills its socket, on which it would wait, while this waits for room.
    while (pollFd(this.fd, PollFlag.IN, 0) !== 0) this.#take();
    while (this.#unanswered.size > 0 && this.#unansweredFds() + fds.length > UNANSWERED_FDS_MAX) this.#waitAndTake();
    const [ours, theirs] = socketpair(SocketType.SEQPACKET);
    using _theirEnd = new Fd(theirs);
    const socket = new Fd(ours);
    try {
      const id = this.#nextId++;
      const { name } = device;
      const [end, ...copies] = duplicates([theirs, ...fds]);
      assert(end !== undefined, "the device's socket");
      this.#send({ kind: 'fork', id, ...device, socket: end, fds: copies });
      this.#unanswered.set(id, fds.length);
      return { id, name, socket };
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Waits until a device that was asked for is forked, once for each; the caller owns its pidfd. It is not in its jail yet; an event tells when
   * it is, or why not. Throws WardenError and SyscallError.
   */
  forked(requested: RequestedDevice): ForkedDevice {
    const { id, name } = requested;
    while (this.#unanswered.has(id)) this.#waitAndTake();
    const answer = this.#answers.get(id);
    assert(answer !== undefined, 'a device is waited for once');
    this.#answers.delete(id);
    if (answer.kind === 'refused') throw new WardenError('FORK_REFUSED', `${name}: ${answer.message}`);
    return { ...requested, pid: answer.pid, pidfd: answer.pidfd };
  }

  /** The next event, waiting up to `timeoutMs` (0: not at all; absent: without end). Throws WardenError WARDEN_DIED. */
  nextEvent(timeoutMs?: number): WardenEvent | undefined {
    while (this.#events.length === 0 && pollFd(this.fd, PollFlag.IN, timeoutMs) !== 0) this.#take();
    return this.#events.shift();
  }

  /** Ends the warden and every device. Does not wait: `pidfd` tells. */
  close(): void {
    this.#control.close();
    this.#closeAnswers();
    this.pidfd.close();
  }

  /** As `close`, and waits for the warden's end; one that does not end, as when it is stopped, is killed. */
  [Symbol.dispose](): void {
    if (!this.#control.isOpen) return;
    this.#control.close();
    this.#closeAnswers();
    if (pollFd(this.pidfd.fd, PollFlag.IN, END_TIMEOUT_MS) === 0) {
      pidfdSendSignal(this.pidfd.fd, Signal.SIGKILL);
      pollFd(this.pidfd.fd, PollFlag.IN, END_TIMEOUT_MS);
    }
    this.pidfd.close();
  }

  #unansweredFds(): number {
    return this.#unanswered.values().reduce((sum, count) => sum + count, 0);
  }

  #waitAndTake(): void {
    if (pollFd(this.fd, PollFlag.IN, ANSWER_TIMEOUT_MS) === 0) {
      throw new WardenError('WARDEN_STUCK', `the warden process has not answered for ${ANSWER_TIMEOUT_MS / 1000} s`);
    }
    this.#take();
  }

  #send(message: WardenRequest): void {
    try {
      this.#messages.send(message);
    } catch (error) {
      if (!(error instanceof MsgError && error.code === 'DISCONNECTED')) throw error;
      throw new WardenError('WARDEN_DIED', DIED, { cause: error });
    }
  }

  /** Receives one message and keeps it for who asks for it. */
  #take(): void {
    const message = this.#messages.recv();
    if (message === null) throw new WardenError('WARDEN_DIED', DIED);
    if (message.kind !== 'forked' && message.kind !== 'refused') {
      this.#events.push(message);
      return;
    }
    this.#unanswered.delete(message.id);
    this.#answers.set(message.id, message);
  }

  #closeAnswers(): void {
    for (const answer of this.#answers.values()) if (answer.kind === 'forked') answer.pidfd.close();
    this.#answers.clear();
  }
}
