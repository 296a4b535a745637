/** A target of plain memory and registers for tests and fuzzing, whose deeds are noted. */
import { type Breakpoint, type DebugState, isOfCode, noDebugState } from '#hypervisor/debug.ts';
import type { DebugTarget, InsertResult, TargetStop, ThreadAction } from './debug-target.ts';
import { packetOf } from './packet.ts';
import { GdbSession } from './session.ts';

/** Where its memory begins. */
export const MEMORY_START = 0x1000n;

export class ScriptedTarget implements DebugTarget {
  readonly threadCount: number;
  readonly memory = Uint8Array.from({ length: 0x100 }, (_, index) => index);
  readonly deeds: string[] = [];
  readonly states: DebugState[];
  insertResult: InsertResult = 'done';

  constructor(threadCount = 2) {
    this.threadCount = threadCount;
    this.states = Array.from({ length: threadCount }, noDebugState);
  }

  registers(thread: number): DebugState {
    return this.#state(thread);
  }

  setRegisters(thread: number, state: DebugState): boolean {
    this.#state(thread);
    this.states[thread] = state;
    return true;
  }

  readMemory(thread: number, address: bigint, sizeBytes: number): Uint8Array {
    this.#state(thread);
    const offset = Number(address - MEMORY_START);
    return offset < 0 ? new Uint8Array(0) : this.memory.slice(offset, offset + sizeBytes);
  }

  writeMemory(thread: number, address: bigint, data: Uint8Array): boolean {
    this.#state(thread);
    const offset = Number(address - MEMORY_START);
    if (offset < 0 || offset + data.length > this.memory.length) return false;
    this.memory.set(data, offset);
    return true;
  }

  insert(_thread: number, breakpoint: Breakpoint): InsertResult {
    this.#note('insert', breakpoint);
    return this.insertResult;
  }

  remove(breakpoint: Breakpoint): void {
    this.#note('remove', breakpoint);
  }

  resume(actions: readonly ThreadAction[]): void {
    if (actions.length !== this.threadCount) throw new Error('an action for each thread');
    this.deeds.push(actions.join(' '));
  }

  interrupt(): void {
    this.deeds.push('interrupt');
  }

  #note(what: string, { kind, address, sizeBytes }: Breakpoint): void {
    const size = isOfCode({ kind }) ? '' : `+${sizeBytes}`;
    this.deeds.push(`${what} ${kind} ${address.toString(16)}${size}`);
  }

  #state(thread: number): DebugState {
    const state = this.states[thread];
    if (state === undefined) throw new Error(`there is no thread ${thread}`);
    return state;
  }
}

/** A session over such a target, and what it has sent. */
export class ScriptedSession {
  readonly target: ScriptedTarget;
  readonly session: GdbSession;
  #sent = '';

  constructor(threadCount?: number) {
    this.target = new ScriptedTarget(threadCount);
    this.session = new GdbSession({
      target: this.target,
      send: (bytes) => {
        this.#sent += Buffer.from(bytes).toString('latin1');
      },
      stop: { thread: 0, stop: { cause: 'step' } },
    });
  }

  /** What has been sent since the last call. */
  take(): string {
    const sent = this.#sent;
    this.#sent = '';
    return sent;
  }

  receive(text: string): string {
    this.session.receive(Buffer.from(text, 'latin1'));
    return this.take();
  }

  /** The data of the answer to a packet, which must come as protocol says, undefined when there is none yet. */
  ask(data: string): string | undefined {
    this.session.receive(packetOf(data));
    return this.#answer(true);
  }

  stopped(stop: TargetStop): string | undefined {
    this.session.stopped(stop);
    return this.#answer(false);
  }

  #answer(isAcknowledged: boolean): string | undefined {
    const sent = this.take();
    const match = /^(\+?)(?:\$([^#]*)#[0-9a-f]{2})?$/s.exec(sent);
    if (match === null || (match[1] === '+') !== isAcknowledged) throw new Error(`sent: ${sent}`);
    return match[2];
  }
}
