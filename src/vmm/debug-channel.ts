/** What the main thread, which has the debugger, and the vCPUs' threads tell each other: words and bytes of shared memory. */

import type { ThreadAction } from '#gdb/debug-target.ts';
import { BREAKPOINT_KINDS, type Breakpoint, DebugState, type DebugStop, type VcpuDebug } from '#hypervisor/debug.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { assert } from '#util/assert.ts';
import { struct, u32, u64 } from '#util/struct.ts';

/** Of all kinds. */
export const BREAKPOINTS_MAX = 256;

const REQUEST = { NONE: 0, READ: 1, WRITE: 2, REFUSED: 3 } as const;
const ACTIONS = ['run', 'step', 'stay'] as const satisfies readonly ThreadAction[];
const CAUSES = ['none', 'step', ...BREAKPOINT_KINDS] as const;

/** Of each vCPU: what it is asked for, what it does when it goes on, and why it stopped, a place of CAUSES. */
const VcpuWords = struct({ request: u32, action: u32, cause: u32, pad: u32, address: u64, state: DebugState });
const BreakpointEntry = struct({ kind: u32, sizeBytes: u32, address: u64 });

const COUNT_AT = 0;
const BREAKPOINTS_AT = 8;
const VCPUS_AT = BREAKPOINTS_AT + BREAKPOINTS_MAX * BreakpointEntry.size;

const { request, action, cause, address, state: stateField } = VcpuWords.fields;

/** A vCPU's thread answers at once while it stands still, but a host may be busy. */
const ANSWER_LIMIT_MS = 5000;

/** Every thread has its own over the same memory. */
export class DebugChannel {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #view: DataView;

  static create(vcpuCount: number): DebugChannel {
    return new DebugChannel(new SharedArrayBuffer(VCPUS_AT + vcpuCount * VcpuWords.size));
  }

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Of a vCPU whose thread stands still. `ring` wakes it. Undefined: the hypervisor refuses. */
  read(index: number, ring: () => void): DebugState | undefined {
    if (!this.#ask(index, REQUEST.READ, ring)) return undefined;
    const { fxsave, ...state } = DebugState.decode(this.#view, at(index) + stateField.offset);
    // What it decodes of bytes is a view.
    return { ...state, fxsave: Uint8Array.from(fxsave) };
  }

  /** False: the hypervisor refuses. */
  write(index: number, state: DebugState, ring: () => void): boolean {
    stateField.set(this.#view, at(index), state);
    return this.#ask(index, REQUEST.WRITE, ring);
  }

  #ask(index: number, what: number, ring: () => void): boolean {
    const word = wordOf(index, request.offset);
    Atomics.store(this.#words, word, what);
    ring();
    while (Atomics.load(this.#words, word) === what) {
      const outcome = Atomics.wait(this.#words, word, what, ANSWER_LIMIT_MS);
      assert(outcome !== 'timed-out', 'a vCPU that stands still answers');
    }
    return Atomics.load(this.#words, word) === REQUEST.NONE;
  }

  /** For a vCPU's thread that stands still: does what it is asked for. */
  serve(index: number, debug: VcpuDebug): void {
    const word = wordOf(index, request.offset);
    const asked = Atomics.load(this.#words, word);
    if (asked !== REQUEST.READ && asked !== REQUEST.WRITE) return;
    const done = this.#do(index, asked, debug);
    Atomics.store(this.#words, word, done ? REQUEST.NONE : REQUEST.REFUSED);
    Atomics.notify(this.#words, word);
  }

  #do(index: number, asked: number, debug: VcpuDebug): boolean {
    const place = at(index);
    try {
      if (asked === REQUEST.READ) stateField.set(this.#view, place, debug.read());
      else {
        const { fxsave, ...state } = DebugState.decode(this.#view, place + stateField.offset);
        debug.write({ ...state, fxsave: Uint8Array.from(fxsave) });
      }
      return true;
    } catch (error) {
      if (error instanceof SyscallError) return false;
      throw error;
    }
  }

  /** What the vCPUs are to do next, while their threads stand still; at most BREAKPOINTS_MAX breakpoints. */
  set(actions: readonly ThreadAction[], breakpoints: readonly Breakpoint[]): void {
    assert(breakpoints.length <= BREAKPOINTS_MAX, 'as many breakpoints as there is room for');
    for (const [index, { kind, sizeBytes, address: where }] of breakpoints.entries()) {
      const place = BREAKPOINTS_AT + index * BreakpointEntry.size;
      BreakpointEntry.set(this.#view, place, { kind: BREAKPOINT_KINDS.indexOf(kind), sizeBytes, address: where });
    }
    Atomics.store(this.#words, COUNT_AT / 4, breakpoints.length);
    for (const [index, wanted] of actions.entries()) {
      cause.set(this.#view, at(index), 0);
      Atomics.store(this.#words, wordOf(index, action.offset), ACTIONS.indexOf(wanted));
    }
  }

  /** For a vCPU's thread that goes on. */
  prepare(index: number, debug: VcpuDebug): void {
    const count = Atomics.load(this.#words, COUNT_AT / 4);
    const breakpoints = Array.from({ length: count }, (_, number): Breakpoint => {
      const entry = BreakpointEntry.decode(this.#view, BREAKPOINTS_AT + number * BreakpointEntry.size);
      return { ...entry, kind: BREAKPOINT_KINDS[entry.kind] ?? 'software' };
    });
    debug.prepare({ steps: this.actionOf(index) === 'step', breakpoints });
  }

  actionOf(index: number): ThreadAction {
    return ACTIONS[Atomics.load(this.#words, wordOf(index, action.offset))] ?? 'run';
  }

  /** For a vCPU's thread: it has stopped, and stays. */
  report(index: number, stop: DebugStop): void {
    address.set(this.#view, at(index), stop.cause === 'step' ? 0n : stop.address);
    Atomics.store(this.#words, wordOf(index, action.offset), ACTIONS.indexOf('stay'));
    Atomics.store(this.#words, wordOf(index, cause.offset), CAUSES.indexOf(stop.cause));
  }

  /** Why the vCPU stopped by itself since the last `set`, if it did. */
  stopOf(index: number): DebugStop | undefined {
    const found = CAUSES[Atomics.load(this.#words, wordOf(index, cause.offset))];
    if (found === undefined || found === 'none') return undefined;
    return found === 'step' ? { cause: found } : { cause: found, address: address.get(this.#view, at(index)) };
  }
}

const at = (index: number): number => VCPUS_AT + index * VcpuWords.size;

const wordOf = (index: number, offset: number): number => (at(index) + offset) / 4;
