/** The control loop of a running machine: waits for its end, for input, for room for input, and for signals. */
import { setImmediate } from 'node:timers/promises';
import type { SerialInput } from '#arch/x86_64/board.ts';
import type { EventFd } from '#poll/event-fd.ts';
import { PollContext } from '#poll/poll-context.ts';
import { SignalPipe } from '#poll/signal-fd.ts';
import { namedTokens } from '#poll/token.ts';
import type { HasFd } from '#sys/fd.ts';
import { tryRead } from '#sys/file.ts';
import { Signal } from '#sys/signal.ts';
import { Errno, SyscallError } from '#sys/syscall-error.ts';
import { ConsoleInput } from './console-input.ts';
import type { DeviceSet } from './devices/device-set.ts';
import type { RunState } from './run-state.ts';
import type { Terminal } from './terminal.ts';

const STDIN: HasFd = { fd: 0 };
/** How long Node waits at most to tell what it alone knows; two turns of its event loop in a second cost nothing measurable. */
const TURN_INTERVAL_MS = 500;

export interface ControlOptions {
  readonly runState: RunState;
  /** Written by whoever ends the machine. */
  readonly exit: EventFd;
  /** Written when a serial port may take input again. */
  readonly inputSpace: EventFd;
  /** The port that reads standard input. */
  readonly input: InputPort | undefined;
  readonly terminal: Terminal | undefined;
  /** The terminal's size may have changed. */
  readonly onResize: () => void;
  /** The processes of devices, where the machine has any. */
  readonly devices: DeviceSet | undefined;
  /** Public requests, where the machine has a socket for them. */
  readonly controls: ControlRequests | undefined;
  /** GDB's, where the machine can be debugged. */
  readonly gdb: ControlRequests | undefined;
}

/** A port as the loop feeds it. */
export interface InputPort extends Pick<SerialInput, 'enqueue'> {
  /** Writable when the port may take input again; absent where `inputSpace` tells of that. */
  readonly room?: HasFd;
}

/** Requests that come from outside, as the loop sees them. */
export interface ControlRequests {
  /** Readable when `turn` has something to do. */
  readonly waiting: HasFd;
  /** The loop is to come back within this time, where there is a limit. */
  readonly timeoutMs: number | undefined;
  /** Does what waits, without waiting; true when the machine is to stop. */
  turn(): boolean;
  /** Called in every turn of the loop: about twice a second at least. */
  tick(): void;
}

/** Why the loop ended: the machine did, the user left, or a signal came. */
export type ControlEnd =
  | { readonly reason: 'machine' }
  | { readonly reason: 'stopped' }
  /** A device's process failed, for the reason that the message tells. */
  | { readonly reason: 'device-failed'; readonly message: string }
  | { readonly reason: 'signal'; readonly signal: number };

const ENDING_SIGNALS: readonly number[] = [Signal.SIGINT, Signal.SIGTERM, Signal.SIGHUP, Signal.SIGQUIT];
/** Only a terminal has a size and job control to look after; else these act on the process as they always do. */
const TERMINAL_SIGNALS: readonly number[] = [Signal.SIGTSTP, Signal.SIGCONT, Signal.SIGWINCH];

/** The status of a process that has closed its socket comes after it. */
const DEVICE_END_MS = 300;

/** Input that waits for a port whose lock a vCPU holds is offered again this often. */
const HELD_UP_RETRY_MS = 20;

type Token = 'exit' | 'stdin' | 'input-space' | 'input-room' | 'signal' | 'devices' | 'controls' | 'gdb';
const TOKENS = [
  'exit',
  'stdin',
  'input-space',
  'input-room',
  'signal',
  'devices',
  'controls',
  'gdb',
] as const satisfies Token[];

/**
 * Waits until the machine ends or is to be ended. Blocks this thread, but lets Node's event loop turn in between: the death of
 * a vCPU's thread is an event there, and no descriptor shows it.
 */
export async function runControl(options: ControlOptions): Promise<ControlEnd> {
  const { terminal, exit, inputSpace, devices, controls, gdb } = options;
  using signals = new SignalPipe([...ENDING_SIGNALS, ...(terminal === undefined ? [] : TERMINAL_SIGNALS)]);
  using poll = new PollContext<Token>(namedTokens(...TOKENS));
  poll.add(exit, 'exit');
  poll.add(inputSpace, 'input-space');
  poll.add(signals, 'signal');
  if (devices !== undefined) poll.add(devices.waiting, 'devices');
  if (controls !== undefined) poll.add(controls.waiting, 'controls');
  if (gdb !== undefined) poll.add(gdb.waiting, 'gdb');
  const stdin = stdinOf(options, poll);
  terminal?.enterRaw();
  options.onResize();
  stdin?.start();
  for (;;) {
    if (stdin?.isHeldUp === true) stdin.deliver();
    const turnMs = stdin?.isHeldUp === true ? HELD_UP_RETRY_MS : TURN_INTERVAL_MS;
    const requestsMs = controls?.timeoutMs ?? gdb?.timeoutMs ?? turnMs;
    for (const { token } of poll.wait(Math.min(turnMs, requestsMs))) {
      if (token === 'exit') return endOfMachine(options);
      if (token === 'signal') {
        const signal = handleSignal(signals, options);
        if (signal !== undefined) return { reason: 'signal', signal };
      } else if (token === 'devices') {
        const message = devices?.turn();
        if (message !== undefined) return { reason: 'device-failed', message };
      } else if (token === 'controls') {
        if (controls?.turn() === true) return { reason: 'stopped' };
      } else if (token === 'gdb') {
        if (gdb?.turn() === true) return { reason: 'stopped' };
      } else if (token === 'input-space') {
        inputSpace.read();
        stdin?.deliver();
      } else if (token === 'input-room') {
        stdin?.deliver();
      } else if (stdin?.readable() === true) return { reason: 'stopped' };
    }
    controls?.tick();
    gdb?.tick();
    await setImmediate();
  }
}

/** A vCPU that ended the machine because a device failed knows less of it than the device's process can tell. */
function endOfMachine({ runState, devices }: ControlOptions): ControlEnd {
  // What a device told before the machine ended, such as a panic, is heard.
  const told = devices?.turn();
  const message = runState.outcome === 'host-error' ? (told ?? devices?.failure(DEVICE_END_MS)) : undefined;
  return message === undefined ? { reason: 'machine' } : { reason: 'device-failed', message };
}

/** The number of a signal that ends the run. */
function handleSignal(signals: SignalPipe, { terminal, onResize }: ControlOptions): number | undefined {
  const signal = signals.read();
  if (signal === Signal.SIGTSTP) terminal?.stop();
  else if (signal === Signal.SIGWINCH) onResize();
  else if (signal === Signal.SIGCONT) {
    terminal?.enterRaw();
    onResize();
  } else return signal;
  return undefined;
}

function stdinOf({ input: port, terminal }: ControlOptions, poll: PollContext<Token>): Stdin | undefined {
  if (port === undefined) return undefined;
  const input = new ConsoleInput({ read: readStdin, port, isTerminal: terminal !== undefined });
  return new Stdin(input, port.room, poll);
}

/** A terminal that hung up, or that belongs to another job now, has no more input. */
function readStdin(target: Uint8Array): number | undefined {
  try {
    return tryRead(STDIN.fd, target);
  } catch (error) {
    if (error instanceof SyscallError && error.errno === Errno.EIO) return 0;
    throw error;
  }
}

/** Standard input in the loop: watched only while more is wanted. */
class Stdin {
  readonly #input: ConsoleInput;
  readonly #room: HasFd | undefined;
  readonly #poll: PollContext<Token>;
  #watched = false;
  #isRoomWatched = false;
  /** A regular file or /dev/null: epoll takes neither, for both are always ready. */
  #alwaysReady = false;

  constructor(input: ConsoleInput, room: HasFd | undefined, poll: PollContext<Token>) {
    this.#input = input;
    this.#room = room;
    this.#poll = poll;
  }

  start(): void {
    this.#update();
  }

  get isHeldUp(): boolean {
    return this.#input.isHeldUp;
  }

  /** True when the user asked to leave. */
  readable(): boolean {
    const leave = this.#input.read();
    this.#update();
    return leave;
  }

  deliver(): void {
    this.#input.deliver();
    this.#update();
  }

  #update(): void {
    this.#updateInput();
    this.#updateRoom();
  }

  #updateRoom(): void {
    const wanted = this.#room !== undefined && this.#input.isWaiting;
    if (this.#room === undefined || wanted === this.#isRoomWatched) return;
    this.#isRoomWatched = wanted;
    if (wanted) this.#poll.add(this.#room, 'input-room', 'writable');
    else this.#poll.remove(this.#room);
  }

  #updateInput(): void {
    while (this.#alwaysReady && this.#input.wantsMore && !this.#input.isHeldUp) this.#input.read();
    if (this.#alwaysReady || this.#input.wantsMore === this.#watched) return;
    this.#watched = this.#input.wantsMore;
    if (!this.#watched) this.#poll.remove(STDIN);
    else if (!this.#tryWatch()) this.#updateInput();
  }

  #tryWatch(): boolean {
    try {
      this.#poll.add(STDIN, 'stdin');
      return true;
    } catch (error) {
      if (!(error instanceof SyscallError) || error.errno !== Errno.EPERM) throw error;
      this.#alwaysReady = true;
      this.#watched = false;
      return false;
    }
  }
}
