/** The connection of GDB in the control loop. One at a time; others wait for their turn. */
import type { TargetStop } from '#gdb/debug-target.ts';
import { GdbSession } from '#gdb/session.ts';
import { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { namedTokens } from '#poll/token.ts';
import { Fd, type HasFd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { listenLoopback } from '#sys/loopback.ts';
import { SocketType, tryAccept, trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import type { Log } from '#util/log.ts';
import { quoted } from '#util/quoted.ts';
import { ConfigError, pathMistake } from './config.ts';
import { DebugChannel } from './debug-channel.ts';
import { Debugger, type DebuggerOptions } from './debugger.ts';
import type { GdbConfig } from './gdb-config.ts';
import type { ControlRequests } from './run-control.ts';
import { UnixListener, UnixListenerError } from './unix-listener.ts';
import type { ThreadDebug } from './vcpu-thread.ts';

const OPTION = '--gdb';
const READ_BYTES = 0x4000;

/** What debugging needs before the machine is there. */
export class GdbListener implements HasFd, Disposable {
  readonly channel: DebugChannel;
  readonly stopped = EventFd.create();
  readonly #listener: HasFd & Disposable;

  /** Throws ConfigError for an address that cannot be used. */
  constructor(gdb: GdbConfig, vcpuCount: number) {
    this.channel = DebugChannel.create(vcpuCount);
    this.#listener = listenerOf(gdb);
  }

  get fd(): number {
    return this.#listener.fd;
  }

  /** For a vCPU's thread. */
  get forThread(): ThreadDebug {
    return { buffer: this.channel.buffer, stoppedFd: this.stopped.fd };
  }

  serve(options: GdbServerOptions): GdbServer {
    return new GdbServer(this, options);
  }

  [Symbol.dispose](): void {
    this.#listener[Symbol.dispose]();
    this.stopped.close();
  }
}

function listenerOf(gdb: GdbConfig): HasFd & Disposable {
  try {
    return gdb.kind === 'unix' ? new UnixListener(gdb.path) : listenLoopback(gdb.port);
  } catch (error) {
    if (error instanceof UnixListenerError && gdb.kind === 'unix') {
      throw new ConfigError([{ option: OPTION, message: `${quoted(gdb.path)}: ${error.message}` }]);
    }
    if (!(error instanceof SyscallError)) throw error;
    const place = gdb.kind === 'unix' ? gdb.path : `port ${gdb.port}`;
    throw new ConfigError([pathMistake(OPTION, place, error)]);
  }
}

export interface GdbServerOptions extends Omit<DebuggerOptions, 'channel' | 'onStopped'> {
  readonly log: Log;
  /** How the machine ended, as GDB is told: an exit status. */
  readonly exitStatus: () => number;
}

export class GdbServer implements ControlRequests, Disposable {
  readonly #listener: GdbListener;
  readonly #options: GdbServerOptions;
  readonly #debugger: Debugger;
  readonly #poll = new PollContext<Token>(namedTokens('listener', 'connection', 'stopped', 'standing'));
  readonly #buffer = new Uint8Array(READ_BYTES);
  #isListening = false;
  #connection: Fd | undefined;
  /** From the machine's standstill for it on. */
  #session: GdbSession | undefined;
  #isKilled = false;
  #isLost = false;

  /** `listener` stays the caller's. The machine does not begin before GDB has come: it is to stand still from the start. */
  constructor(listener: GdbListener, options: GdbServerOptions) {
    this.#listener = listener;
    this.#options = options;
    const { suspension } = options;
    const onStopped = (stop: TargetStop): void => this.#onStopped(stop);
    this.#debugger = new Debugger({ ...options, channel: listener.channel, onStopped });
    this.#poll.add(listener.stopped, 'stopped');
    this.#poll.add(suspension.waiting, 'standing');
    this.#listen();
    this.#debugger.stop();
  }

  get waiting(): HasFd {
    return this.#poll;
  }

  get timeoutMs(): number | undefined {
    return this.#options.suspension.timeoutMs;
  }

  turn(): boolean {
    const events = this.#poll.wait(0);
    // What one does may take a later one's descriptor away.
    const tokens = Array.from({ length: events.length }, (_, index) => events.at(index).token);
    for (const token of tokens) this.#handle(token);
    return this.#isKilled;
  }

  tick(): void {
    this.#options.suspension.turn();
    if (this.#connection === undefined && !this.#isListening) this.#listen();
  }

  [Symbol.dispose](): void {
    this.#session?.ended(this.#options.exitStatus());
    this.#closeConnection();
    this.#poll.close();
  }

  #handle(token: Token): void {
    if (token === 'standing') this.#options.suspension.turn();
    else if (token === 'stopped') {
      this.#listener.stopped.clear();
      this.#debugger.vcpuStopped();
    } else if (token === 'listener') this.#accept();
    else this.#receive();
  }

  #listen(): void {
    this.#poll.add(this.#listener, 'listener');
    this.#isListening = true;
  }

  #accept(): void {
    const { log } = this.#options;
    let raw: number | undefined;
    try {
      raw = tryAccept(this.#listener.fd, SocketType.NONBLOCK);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      // Such as a full table of descriptors: `tick` tries again.
      log.warn(`a connection of GDB cannot be taken: ${error.message}`);
    }
    if (raw !== undefined) this.#connection = new Fd(raw);
    this.#poll.remove(this.#listener);
    this.#isListening = false;
    if (raw === undefined) return;
    log.info('GDB has connected');
    this.#isLost = false;
    if (this.#debugger.isStanding) this.#begin(0);
    else this.#debugger.stop();
  }

  #onStopped(stop: TargetStop): void {
    if (this.#connection === undefined) return;
    if (this.#session === undefined) this.#begin(stop.thread);
    else this.#session.stopped(stop);
  }

  #begin(thread: number): void {
    if (this.#connection === undefined) return;
    this.#session = new GdbSession({
      target: this.#debugger,
      send: (bytes) => this.#send(bytes),
      stop: { thread, stop: { cause: 'step' } },
    });
    this.#poll.add(this.#connection, 'connection');
  }

  #receive(): void {
    const session = this.#session;
    if (this.#connection === undefined || session === undefined) return;
    const count = this.#read(this.#connection);
    if (count === undefined) return;
    if (count > 0) session.receive(this.#buffer.subarray(0, count));
    if (count === 0 || this.#isLost || session.state !== 'open') this.#end(session);
  }

  /** Undefined when there is nothing yet; 0 at the end, whatever it comes from. */
  #read({ fd }: Fd): number | undefined {
    try {
      return tryRead(fd, this.#buffer);
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      return 0;
    }
  }

  /** Who does not read its answers is let go: the loop waits for nobody. */
  #send(bytes: Uint8Array): void {
    if (this.#connection === undefined || this.#isLost) return;
    try {
      this.#isLost = trySend(this.#connection.fd, bytes, bytes.length) !== bytes.length;
    } catch (error) {
      if (!(error instanceof SyscallError)) throw error;
      this.#isLost = true;
    }
  }

  #end(session: GdbSession): void {
    const { log } = this.#options;
    this.#closeConnection();
    if (session.state === 'killed') {
      this.#isKilled = true;
      return;
    }
    if (session.state === 'lost') log.warn('what came from GDB is too long for a packet: the connection is closed');
    else log.info(session.state === 'detached' ? 'GDB has detached' : 'the connection of GDB is lost');
    this.#debugger.release();
    this.#listen();
  }

  #closeConnection(): void {
    if (this.#connection === undefined) return;
    if (this.#session !== undefined) this.#poll.remove(this.#connection);
    this.#connection.close();
    this.#connection = undefined;
    this.#session = undefined;
  }
}

type Token = 'listener' | 'connection' | 'stopped' | 'standing';
