/**
 * The warden: a single-threaded process that forks device processes on request. Its entry module imports the device constructors,
 * which this module does not know, and calls `runWarden`.
 */
import { fstatSync } from 'node:fs';
import { MappingRoom } from '#memory/mapping-room.ts';
import { MsgError } from '#msg-socket/errors.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { PollContext } from '#poll/poll-context.ts';
import { encodedTokens } from '#poll/token.ts';
import { dup2 } from '#sys/descriptors.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { dup } from '#sys/file.ts';
import { exitNow } from '#sys/process.ts';
import { hearCall, refuseCall } from '#sys/seccomp.ts';
import { Signal } from '#sys/signal.ts';
import { assert } from '#util/assert.ts';
import { errorMessage } from '#util/errors.ts';
import { Forker } from './fork.ts';
import { ForkError, type ForkedProcess } from './forked-process.ts';
import type { JailConfig } from './jail-config.ts';
import { JailError } from './jail-error.ts';
import { type ForkRequest, WARDEN_TYPES, type WardenReply, type WardenRequest } from './warden-wire.ts';

/** The descriptors that a warden is started with. */
export const WARDEN_FDS = { CONTROL: 3, GUEST_MEMORY: 4 } as const;

/** What a device process gets. All descriptors are its own. */
export interface DeviceResources {
  readonly name: string;
  /** Its end of the seqpacket pair whose other end main has. */
  readonly socket: number;
  /** The descriptors of the request, in its order. */
  readonly fds: readonly number[];
  /** The guest memory's memfd, when the request asked for it. */
  readonly guestMemory: number | undefined;
  /** Of the guest memory's size, when there is one. */
  readonly guestMemoryRoom?: MappingRoom | undefined;
  /** Of the kind's declared type, for `decodeBytes`. */
  readonly parameters: Uint8Array;
}

/**
 * Makes a device in its process, still outside of the jail, and returns its loop, which runs in the jail and whose result is the exit
 * status. Whatever the loop uses must have been imported by the entry module: a module cannot be opened any more.
 */
export type DeviceMaker = (resources: DeviceResources) => () => number;

export interface WardenOptions {
  readonly devices: Readonly<Record<string, DeviceMaker>>;
  readonly installSeccomp: (program: Uint8Array) => void;
  /** Runs once before the first fork: what is compiled and loaded here, every device has. */
  readonly warmUp?: () => void;
}

const CHILD_EVENTS = ['ready', 'end', 'denied'] as const;
type Token = { readonly event: 'request' } | { readonly event: (typeof CHILD_EVENTS)[number]; readonly id: number };

/** The lowest two bits are the event of a child, counted from 1. */
const REQUEST_TOKEN = 0n;
const tokens = encodedTokens<Token>({
  encode: (token) =>
    token.event === 'request'
      ? REQUEST_TOKEN
      : (BigInt(token.id) << 2n) | BigInt(CHILD_EVENTS.indexOf(token.event) + 1),
  decode: (raw) => {
    const event = CHILD_EVENTS[Number(raw & 3n) - 1];
    return event === undefined ? { event: 'request' } : { event, id: Number(raw >> 2n) };
  },
});

/** A device process and what is done about its denied calls. */
interface Child {
  readonly process: ForkedProcess;
  readonly denied: JailConfig['denied'];
  /** The calls that main has been told of. */
  readonly told: Set<number>;
  /** Whether its listener is waited for. */
  isHeard: boolean;
  /** Whether it was killed for a denied call: the kernel would have done that with SIGSYS, which the first process of a pid namespace ignores. */
  isKilled: boolean;
}

/** Serves the control socket until main closes it; then the process ends, and its children with it. */
export function runWarden(options: WardenOptions): never {
  try {
    const warden = new WardenProcess(options);
    options.warmUp?.();
    // What is left over from loading would be copied into every child, and garbage collected in each.
    collectGarbage();
    warden.serve();
  } catch (error) {
    process.stderr.write(`crosvm: warden: ${error instanceof Error ? error.stack : error}\n`);
    exitNow(1);
  }
  // Not through libuv: nothing here has used its event loop.
  return exitNow(0);
}

/** All of it, and gives back what is free. A full collection in a child would make most of V8's heap its own memory. */
function collectGarbage(): void {
  const { gc } = globalThis;
  assert(gc !== undefined, 'node was started with FORKABLE_NODE_OPTIONS');
  gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

class WardenProcess {
  readonly #options: WardenOptions;
  readonly #forker: Forker;
  readonly #poll: PollContext<Token>;
  readonly #children = new Map<number, Child>();
  readonly #messages = new MsgSocket<WardenReply, WardenRequest>(
    { borrowed: { fd: WARDEN_FDS.CONTROL } },
    { send: WARDEN_TYPES.recv, recv: WARDEN_TYPES.send },
  );

  /** Of the guest memory that main has given last: every child has it. */
  #guestMemoryRoom: MappingRoom | undefined;

  constructor(options: WardenOptions) {
    this.#options = options;
    this.#forker = new Forker(options);
    this.#poll = new PollContext(tokens);
    this.#poll.add({ fd: WARDEN_FDS.CONTROL }, { event: 'request' });
  }

  serve(): void {
    this.#makeRoom();
    for (;;) {
      for (const { token } of this.#poll.wait()) {
        if (token.event === 'end') this.#reportEnd(token.id);
        else if (token.event === 'ready') this.#reportReady(token.id);
        else if (token.event === 'denied') this.#denyCall(token.id);
        else if (!this.#takeRequest()) return;
      }
    }
  }

  #reply(reply: WardenReply): void {
    try {
      this.#messages.send(reply);
    } catch (error) {
      if (error instanceof MsgError && error.code === 'DISCONNECTED') exitNow(0);
      throw error;
    }
  }

  /** Returns false when main has closed its end. */
  #takeRequest(): boolean {
    const request = this.#messages.recv();
    if (request === null) return false;
    try {
      if (request.kind === 'fork') this.#tryFork(request);
      else {
        dup2(request.memfd.fd, WARDEN_FDS.GUEST_MEMORY);
        this.#makeRoom();
      }
    } finally {
      this.#messages.closeReceived();
    }
    return true;
  }

  #tryFork(request: ForkRequest): void {
    try {
      this.#fork(request);
    } catch (error) {
      this.#reply({ kind: 'refused', id: request.id, message: errorMessage(error) });
    }
  }

  #fork(request: ForkRequest): void {
    const { id, name, jail, parameters } = request;
    const { devices } = this.#options;
    const make = Object.hasOwn(devices, request.device) ? devices[request.device] : undefined;
    if (make === undefined) throw new Error(`no device of this name: ${request.device}`);
    const socket = request.socket.fd;
    const fds = request.fds.map(({ fd }) => fd);
    const guestMemory = request.usesGuestMemory ? WARDEN_FDS.GUEST_MEMORY : undefined;
    const guestMemoryRoom = this.#guestMemoryRoom;
    const resources: DeviceResources = { name, socket, fds, guestMemory, guestMemoryRoom, parameters };
    let run: () => number = () => 0;
    const child = this.#forker.fork({
      name,
      jail,
      keepFds: [socket, ...fds, ...(guestMemory === undefined ? [] : [guestMemory])],
      prepare: () => {
        run = make(resources);
      },
      run: () => run(),
    });
    this.#children.set(id, { process: child, denied: jail.denied, told: new Set(), isHeard: false, isKilled: false });
    this.#poll.add(readyOf(child), { event: 'ready', id });
    this.#poll.add(child, { event: 'end', id });
    this.#reply({ kind: 'forked', id, pid: child.pid, pidfd: new Fd(dup(child.fd)) });
  }

  /** For the guest memory that main has given, if it has. */
  #makeRoom(): void {
    const { size } = fstatSync(WARDEN_FDS.GUEST_MEMORY);
    if (size === 0 || this.#guestMemoryRoom?.sizeBytes === size) return;
    this.#guestMemoryRoom = MappingRoom.reserve(size);
    // V8 has begun to collect garbage for so large a buffer: every child would go on with that.
    collectGarbage();
  }

  #reportReady(id: number): void {
    const child = this.#children.get(id);
    if (child === undefined) return;
    const { process } = child;
    this.#poll.remove(readyOf(process));
    try {
      process.waitReady();
      if (process.listener !== undefined) {
        this.#poll.add(process.listener, { event: 'denied', id });
        child.isHeard = true;
      }
      this.#reply({ kind: 'ready', id });
    } catch (error) {
      if (error instanceof JailError) this.#reply({ kind: 'notJailed', id, refusal: error.refusal });
      else if (!(error instanceof ForkError)) throw error; // CHILD_DIED: its end will be reported
    }
  }

  /** The call waits. Main hears of it before the process's end. */
  #denyCall(id: number): void {
    const child = this.#children.get(id);
    const listener = child?.process.listener;
    if (child?.isHeard !== true || listener === undefined) return;
    const heard = hearCall(listener.fd);
    if (heard === undefined) {
      // The process has ended.
      this.#stopHearing(child);
      return;
    }
    const { process, denied, told } = child;
    if (!told.has(heard.call)) this.#reply({ kind: 'denied', id, call: heard.call });
    told.add(heard.call);
    if (denied === 'refuse') {
      refuseCall(listener.fd, heard);
    } else {
      child.isKilled = true;
      process.kill();
    }
  }

  #reportEnd(id: number): void {
    const child = this.#children.get(id);
    const status = child?.process.tryWait();
    if (child === undefined || status === undefined) return;
    // Both may have come with one wait, the end first.
    if (child.process.isUnready) this.#reportReady(id);
    this.#children.delete(id);
    this.#stopHearing(child);
    this.#poll.remove(child.process);
    child.process.close();
    this.#reply({ kind: 'ended', id, status: child.isKilled ? { signal: Signal.SIGSYS } : status });
  }

  #stopHearing(child: Child): void {
    const { listener } = child.process;
    if (child.isHeard && listener !== undefined) this.#poll.remove(listener);
    child.isHeard = false;
  }
}

function readyOf(child: ForkedProcess): HasFd {
  return { fd: child.readyFd };
}
