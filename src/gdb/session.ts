/** One GDB at the other end of a connection: its commands, "Debugging with GDB", appendix E. */
import type { DebugState } from '#hypervisor/debug.ts';
import { actionsOf } from './actions.ts';
import { breakpointOf } from './breakpoint-packet.ts';
import type { DebugTarget, TargetStop, ThreadAction } from './debug-target.ts';
import { addressOf, bytesOf, hexOf, numberOf, threadId, threadOf } from './numbers.ts';
import { escaped, type GdbInput, PACKET_MAX_BYTES, PacketReader, packetOf, unescaped } from './packet.ts';
import { ALL_BYTES, allRegisters, REGISTERS, registerBytes, setAllRegisters, setRegister } from './registers.ts';
import { TARGET_XML } from './target-xml.ts';

const OK = 'OK';
/** The packet is not known here. */
const UNKNOWN = '';
/** Numbers of errno.h, which GDB shows. */
const ERROR = { MALFORMED: 'E01', NO_MEMORY: 'E0e', INVALID: 'E16', NO_ROOM: 'E1c', BUSY: 'E10' } as const;
const SIGNAL = { INT: '02', TRAP: '05' } as const;
/** What a reply has room for: two digits for each byte. */
const READ_MAX_BYTES = PACKET_MAX_BYTES / 2 - 16;

export interface SessionOptions {
  readonly target: DebugTarget;
  /** Takes bytes for GDB, all of them, without waiting. */
  readonly send: (bytes: Uint8Array) => void;
  /** Why it stands still when GDB comes. */
  readonly stop: TargetStop;
}

/** What became of the session. `lost`: what came was none of the protocol. */
export type SessionState = 'open' | 'detached' | 'killed' | 'lost';

type Reply = string | undefined;
type Handler = (rest: string) => Reply;

export class GdbSession {
  readonly #target: DebugTarget;
  readonly #send: (bytes: Uint8Array) => void;
  readonly #reader = new PacketReader();
  #state: SessionState = 'open';
  #acknowledges = true;
  #isRunning = false;
  /** What GDB has said that it understands. */
  #tellsBreakpoints = { software: false, hardware: false };
  #stop: TargetStop;
  /** Of the packets that name no thread: registers and memory; `c` and `s`. */
  #thread = 0;
  #resumedThread: number | 'all' = 'all';
  #last: Uint8Array | undefined;

  constructor({ target, send, stop }: SessionOptions) {
    this.#target = target;
    this.#send = send;
    this.#stop = stop;
    this.#thread = stop.thread;
  }

  get state(): SessionState {
    return this.#state;
  }

  /**
   * Takes bytes that GDB has sent and answers what is whole of them. GDB sends nothing before it has its answer, but the same again after two
   * seconds: a packet that comes twice at once has waited so long, and a second answer would be taken for that of the next packet.
   */
  receive(bytes: Uint8Array): void {
    let before: string | undefined;
    for (const input of this.#reader.read(bytes)) {
      if (input.kind === 'packet') {
        const isAgain = this.#acknowledges && input.data === before;
        before = input.data;
        if (isAgain) {
          this.#acknowledge();
          continue;
        }
      }
      this.#take(input);
      if (this.#state !== 'open') return;
    }
  }

  /** The target, which has run, stands still. */
  stopped(stop: TargetStop): void {
    if (!this.#isRunning) return;
    this.#isRunning = false;
    this.#stop = stop;
    this.#thread = stop.thread;
    this.#reply(this.#stopReply());
  }

  /** The target is no more; with the status of its program. */
  ended(status: number): void {
    if (this.#isRunning) this.#reply(`W${status.toString(16).padStart(2, '0')}`);
  }

  #take(input: GdbInput): void {
    switch (input.kind) {
      case 'interrupt':
        if (this.#isRunning) this.#target.interrupt();
        return;
      case 'nak':
        if (this.#last !== undefined && this.#acknowledges) this.#send(this.#last);
        return;
      case 'damaged':
        if (this.#acknowledges) this.#send(Uint8Array.of('-'.charCodeAt(0)));
        return;
      case 'too-long':
        this.#state = 'lost';
        return;
      case 'packet':
        if (this.#acknowledges) this.#acknowledge();
        this.#command(input.data);
    }
  }

  #acknowledge(): void {
    this.#send(Uint8Array.of('+'.charCodeAt(0)));
  }

  #command(data: string): void {
    if (data === 'QStartNoAckMode') {
      this.#reply(OK);
      this.#acknowledges = false;
      return;
    }
    const first = data.slice(0, 1);
    const endsSession = first === 'k' || first === 'D' || data.startsWith('vKill;');
    if (this.#isRunning && !endsSession) {
      this.#reply(ERROR.BUSY);
      return;
    }
    const handler = this.#handlers[first];
    const reply = handler === undefined ? UNKNOWN : handler(data.slice(1));
    if (reply !== undefined) this.#reply(reply);
  }

  readonly #handlers: Readonly<Record<string, Handler>> = {
    '?': () => this.#stopReply(),
    g: () => hexOf(allRegisters(this.#registers())),
    G: (rest) => this.#writeAll(rest),
    p: (rest) => this.#readRegister(rest),
    P: (rest) => this.#writeRegister(rest),
    m: (rest) => this.#readMemory(rest),
    M: (rest) => this.#writeMemory(rest, bytesOf),
    X: (rest) => this.#writeMemory(rest, unescaped),
    H: (rest) => this.#selectThread(rest),
    T: (rest) => (typeof this.#threadOf(rest) === 'number' ? OK : ERROR.MALFORMED),
    Z: (rest) => this.#insert(rest),
    z: (rest) => this.#remove(rest),
    c: (rest) => this.#resumeAt(rest, 'run'),
    s: (rest) => this.#resumeAt(rest, 'step'),
    C: (rest) => this.#resumeAt(withoutSignal(rest), 'run'),
    S: (rest) => this.#resumeAt(withoutSignal(rest), 'step'),
    v: (rest) => this.#multiLetter(rest),
    q: (rest) => this.#query(rest),
    D: () => this.#detach(),
    k: () => this.#kill(),
  };

  #reply(data: string): void {
    this.#last = packetOf(data);
    this.#send(this.#last);
  }

  /** Of the thread that is selected. */
  #registers(): DebugState {
    return this.#target.registers(this.#thread);
  }

  #setRegisters(state: DebugState): Reply {
    return this.#target.setRegisters(this.#thread, state) ? OK : ERROR.INVALID;
  }

  #threadOf(text: string | undefined) {
    return threadOf(text, this.#target.threadCount);
  }

  #stopReply(): string {
    const { thread, stop } = this.#stop;
    if (stop.cause === 'interrupt') return `T${SIGNAL.INT}thread:${threadId(thread)};`;
    return `T${SIGNAL.TRAP}${this.#reason(stop)}thread:${threadId(thread)};`;
  }

  #reason(stop: Exclude<TargetStop['stop'], { cause: 'interrupt' }>): string {
    switch (stop.cause) {
      case 'step':
        return '';
      case 'software':
        return this.#tellsBreakpoints.software ? 'swbreak:;' : '';
      case 'hardware':
        return this.#tellsBreakpoints.hardware ? 'hwbreak:;' : '';
      case 'write':
        return `watch:${stop.address.toString(16)};`;
      case 'read':
        return `rwatch:${stop.address.toString(16)};`;
      case 'access':
        return `awatch:${stop.address.toString(16)};`;
    }
  }

  #writeAll(rest: string): Reply {
    const bytes = bytesOf(rest);
    if (bytes?.length !== ALL_BYTES) return ERROR.MALFORMED;
    const state = { ...this.#registers() };
    setAllRegisters(state, bytes);
    return this.#setRegisters(state);
  }

  #readRegister(rest: string): Reply {
    const register = REGISTERS[numberOf(rest) ?? REGISTERS.length];
    return register === undefined ? ERROR.MALFORMED : hexOf(registerBytes(register, this.#registers()));
  }

  #writeRegister(rest: string): Reply {
    const [number, value = ''] = split(rest, '=');
    const register = REGISTERS[numberOf(number) ?? REGISTERS.length];
    const bytes = bytesOf(value);
    if (register === undefined || bytes?.length !== register.bits / 8) return ERROR.MALFORMED;
    const state = { ...this.#registers() };
    return setRegister(register, state, bytes) ? this.#setRegisters(state) : ERROR.INVALID;
  }

  #readMemory(rest: string): Reply {
    const [addressText, sizeText] = split(rest, ',');
    const address = addressOf(addressText);
    const size = numberOf(sizeText);
    if (address === undefined || size === undefined) return ERROR.MALFORMED;
    // An answer that is shorter than what was asked for is one.
    const bytes = this.#target.readMemory(this.#thread, address, Math.min(size, READ_MAX_BYTES));
    return bytes.length === 0 && size > 0 ? ERROR.NO_MEMORY : hexOf(bytes);
  }

  #writeMemory(rest: string, decode: (text: string) => Uint8Array | undefined): Reply {
    const [place, text = ''] = split(rest, ':');
    const [addressText, sizeText] = split(place, ',');
    const address = addressOf(addressText);
    const bytes = decode(text);
    if (address === undefined || bytes === undefined || bytes.length !== numberOf(sizeText)) return ERROR.MALFORMED;
    return this.#target.writeMemory(this.#thread, address, bytes) ? OK : ERROR.NO_MEMORY;
  }

  #selectThread(rest: string): Reply {
    const thread = this.#threadOf(rest.slice(1));
    if (thread === undefined) return ERROR.MALFORMED;
    if (rest.startsWith('g')) {
      if (typeof thread === 'number') this.#thread = thread;
    } else if (rest.startsWith('c')) this.#resumedThread = thread === 'any' ? 'all' : thread;
    else return UNKNOWN;
    return OK;
  }

  #insert(rest: string): Reply {
    const breakpoint = breakpointOf(rest);
    if (breakpoint === undefined) return ERROR.MALFORMED;
    if (breakpoint === 'unknown') return UNKNOWN;
    const result = this.#target.insert(this.#thread, breakpoint);
    return result === 'done' ? OK : result === 'no-room' ? ERROR.NO_ROOM : ERROR.INVALID;
  }

  #remove(rest: string): Reply {
    const breakpoint = breakpointOf(rest);
    if (breakpoint === undefined) return ERROR.MALFORMED;
    if (breakpoint === 'unknown') return UNKNOWN;
    this.#target.remove(breakpoint);
    return OK;
  }

  /** As it was before GDB had vCont: one thread does it and the others run, or all run. */
  #resumeAt(rest: string | undefined, action: ThreadAction): Reply {
    if (rest === undefined) return ERROR.MALFORMED;
    const one = this.#resumedThread === 'all' ? this.#thread : this.#resumedThread;
    if (rest !== '') {
      const address = addressOf(rest);
      if (address === undefined) return ERROR.MALFORMED;
      const state = { ...this.#target.registers(one), rip: address };
      if (!this.#target.setRegisters(one, state)) return ERROR.INVALID;
    }
    const actions = Array.from({ length: this.#target.threadCount }, (_, thread): ThreadAction => {
      if (thread === one) return action;
      return this.#resumedThread === 'all' ? 'run' : 'stay';
    });
    return this.#resume(actions);
  }

  /** The answer is the next stop. */
  #resume(actions: readonly ThreadAction[]): undefined {
    this.#isRunning = true;
    this.#target.resume(actions);
    return undefined;
  }

  #multiLetter(rest: string): Reply {
    if (rest === 'Cont?') return 'vCont;c;C;s;S';
    if (rest.startsWith('Cont')) {
      const actions = actionsOf(rest.slice('Cont'.length), this.#target.threadCount);
      return actions === undefined ? ERROR.MALFORMED : this.#resume(actions);
    }
    if (!rest.startsWith('Kill;')) return UNKNOWN;
    this.#kill();
    return OK;
  }

  #query(rest: string): Reply {
    const [name, parameters = ''] = split(rest, /[:,]/);
    switch (name) {
      case 'Supported':
        return this.#supported(parameters);
      case 'Xfer':
        return transfer(parameters);
      case 'C':
        return `QC${threadId(this.#thread)}`;
      // GDB ends with a detach, not a kill.
      case 'Attached':
        return '1';
      case 'fThreadInfo':
        return `m${Array.from({ length: this.#target.threadCount }, (_, thread) => threadId(thread)).join(',')}`;
      case 'sThreadInfo':
        return 'l';
      case 'ThreadExtraInfo':
        return this.#threadInfo(parameters);
      default:
        return UNKNOWN;
    }
  }

  #supported(features: string): string {
    const names = new Set(features.split(';'));
    this.#tellsBreakpoints = { software: names.has('swbreak+'), hardware: names.has('hwbreak+') };
    const size = PACKET_MAX_BYTES.toString(16);
    return `PacketSize=${size};QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;hwbreak+`;
  }

  #threadInfo(text: string): Reply {
    const thread = this.#threadOf(text);
    if (typeof thread !== 'number') return ERROR.MALFORMED;
    const { isHalted } = this.#target.registers(thread);
    return hexOf(new TextEncoder().encode(`vCPU ${thread}, ${isHalted === 0 ? 'running' : 'halted'}`));
  }

  #detach(): Reply {
    this.#state = 'detached';
    return OK;
  }

  #kill(): undefined {
    this.#state = 'killed';
    return undefined;
  }
}

/** The text before the first separator, and what is after it. */
function split(text: string, separator: string | RegExp): [first: string, rest?: string] {
  const at = text.search(separator);
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** `SIGNAL` or `SIGNAL;ADDRESS`: the address. */
function withoutSignal(text: string): string | undefined {
  const [signal, address = ''] = split(text, ';');
  return signal.length <= 2 && numberOf(signal) !== undefined ? address : undefined;
}

/** `OBJECT:read:ANNEX:OFFSET,LENGTH`. */
function transfer(parameters: string): string {
  const [object, operation, annex, range, ...more] = parameters.split(':');
  if (object !== 'features' || operation !== 'read') return UNKNOWN;
  if (annex !== 'target.xml') return 'E00';
  const [offset, length] = split(range ?? '', ',').map(numberOf);
  if (offset === undefined || length === undefined || more.length > 0) return ERROR.MALFORMED;
  const end = offset + Math.min(length, READ_MAX_BYTES);
  return `${end < TARGET_XML.length ? 'm' : 'l'}${escaped(TARGET_XML.slice(offset, end))}`;
}
