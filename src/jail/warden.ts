import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PollFlag, pollFd } from '#sys/epoll.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { type ChildStatus, pidfdOpen, pidfdSendSignal } from '#sys/process.ts';
import { Signal } from '#sys/signal.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { assert } from '#util/assert.ts';
import { FORKABLE_NODE_OPTIONS } from './fork.ts';
import type { JailRefusal } from './jail-error.ts';
import {
  type ForkRequest,
  type Received,
  receiveMessage,
  sendMessage,
  WardenError,
  type WardenReply,
} from './warden-wire.ts';

export interface WardenStart {
  /** The module that calls `runWarden`. */
  readonly entry: URL;
  /** The guest memory's memfd, of which the warden gets a duplicate; where there is none yet, `giveGuestMemory` brings it. */
  readonly guestMemoryFd?: number;
}

export type DeviceRequest = Omit<ForkRequest, 'kind' | 'id'>;

/** A device process, as main knows it. */
export interface ForkedDevice {
  readonly id: number;
  readonly name: string;
  /** Of the process that ends as the device does, and with which it ends. */
  readonly pid: number;
  /** Readable from the end on; its status is in the warden's event. */
  readonly pidfd: Fd;
  /** Main's end of the device's seqpacket pair. */
  readonly socket: Fd;
}

/** What the warden says of a device on its own account. */
export type WardenEvent =
  | { readonly kind: 'ready'; readonly id: number }
  | { readonly kind: 'notJailed'; readonly id: number; readonly refusal: JailRefusal }
  | { readonly kind: 'denied'; readonly id: number; readonly call: number }
  | { readonly kind: 'ended'; readonly id: number; readonly status: ChildStatus };

const DIED = 'the warden process has ended';

/** The warden starts Node and loads the devices; on a loaded machine that takes seconds. */
const ANSWER_TIMEOUT_MS = 30_000;
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
  readonly #events: WardenEvent[] = [];
  #started = false;
  #nextId = 1;

  /** Starts the process and does not wait for it: the first `fork` does. Throws SyscallError. */
  constructor({ entry, guestMemoryFd }: WardenStart) {
    const [ours, theirs] = socketpair(SocketType.SEQPACKET);
    this.#control = new Fd(ours);
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
    if (!sendMessage(this.fd, { kind: 'guestMemory' }, [fd])) throw new WardenError('WARDEN_DIED', DIED);
  }

  /**
   * Forks a device, which has `fds` (they stay open here) and a socket to main. Returns before the device is in its jail; an event
   * tells when it is, or why not. Throws WardenError and SyscallError.
   */
  fork(device: DeviceRequest, fds: readonly number[] = []): ForkedDevice {
    if (!this.#started) this.#receiveUntil(({ kind }) => kind === 'started');
    this.#started = true;
    const id = this.#nextId++;
    if (!sendMessage(this.fd, { kind: 'fork', id, ...device }, fds)) throw new WardenError('WARDEN_DIED', DIED);
    const { message, fds: received } = this.#receiveUntil(
      (reply) => (reply.kind === 'forked' || reply.kind === 'refused') && reply.id === id,
    );
    if (message.kind === 'refused') throw new WardenError('FORK_REFUSED', `${device.name}: ${message.message}`);
    const [pidfd, socket] = received;
    assert(message.kind === 'forked' && pidfd !== undefined && socket !== undefined, 'an answer as it has to be');
    return { id, name: device.name, pid: message.pid, pidfd: new Fd(pidfd), socket: new Fd(socket) };
  }

  /** The next event, waiting up to `timeoutMs` (0: not at all; absent: without end). Throws WardenError WARDEN_DIED. */
  nextEvent(timeoutMs?: number): WardenEvent | undefined {
    const event = this.#events.shift();
    if (event !== undefined) return event;
    while (pollFd(this.fd, PollFlag.IN, timeoutMs) !== 0) {
      const { message } = this.#receive();
      if (isEvent(message)) return message;
      if (message.kind === 'started') this.#started = true;
    }
    return undefined;
  }

  /** Ends the warden and every device. Does not wait: `pidfd` tells. */
  close(): void {
    this.#control.close();
    this.pidfd.close();
  }

  /** As `close`, and waits for the warden's end; one that does not end, as when it is stopped, is killed. */
  [Symbol.dispose](): void {
    if (!this.#control.isOpen) return;
    this.#control.close();
    if (pollFd(this.pidfd.fd, PollFlag.IN, END_TIMEOUT_MS) === 0) {
      pidfdSendSignal(this.pidfd.fd, Signal.SIGKILL);
      pollFd(this.pidfd.fd, PollFlag.IN, END_TIMEOUT_MS);
    }
    this.pidfd.close();
  }

  #receive(): Received<WardenReply> {
    const received = receiveMessage<WardenReply>(this.fd);
    if (received === undefined) throw new WardenError('WARDEN_DIED', DIED);
    return received;
  }

  /** Keeps the events that come before for `nextEvent`. */
  #receiveUntil(isAnswer: (reply: WardenReply) => boolean): Received<WardenReply> {
    for (;;) {
      if (pollFd(this.fd, PollFlag.IN, ANSWER_TIMEOUT_MS) === 0) {
        throw new WardenError('WARDEN_STUCK', `the warden process has not answered for ${ANSWER_TIMEOUT_MS / 1000} s`);
      }
      const received = this.#receive();
      if (isAnswer(received.message)) return received;
      if (isEvent(received.message)) this.#events.push(received.message);
    }
  }
}

function isEvent(reply: WardenReply): reply is WardenEvent {
  return reply.kind !== 'started' && reply.kind !== 'forked' && reply.kind !== 'refused';
}
