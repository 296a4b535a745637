/** What emitters are given: functions to call, ways to go, locals to use. */
import type { FunctionBuilder, Label, Local } from '#wasm/function-builder.ts';
import type { ValueType } from '#wasm/opcodes.ts';

/** Functions that emitters may call; indices in the module that is being built. */
export interface Routines {
  /** () → i32: the six arithmetic flags. */
  readonly flags: number;
  /** () → i32: the carry flag as 0 or 1. */
  readonly carry: number;
  /** (condition 0–15) → i32 boolean. */
  readonly condition: number;
  /** (helper, record) → stop code, or 0 to go on with the next record. */
  readonly helper: number;
}

/** Functions that do the accesses which the TLB does not have. */
export interface AccessRoutines {
  /** (record, size in bytes) → place of the bytes in memory, or 0 on a fault. The address is in STATE.ADDRESS. */
  readonly slowLoad: number;
  /** As slowLoad, but the page must be writable: the load of a read-modify-write. */
  readonly slowLoadForWrite: number;
  /** (record, size in bytes) → 0, or 1 on a fault. The value is in STATE.BOUNCE. */
  readonly slowStore: number;
  /**
   * (record, kind of RMW × 4 + size) → place on which the operation is to be done, or 0 on a fault. Operands are in STATE.BOUNCE + 8
   * and + 16; where the operation is done already, the place is STATE.BOUNCE, which holds the old value.
   */
  readonly slowLocked: number;
}

/** What only the engine's main loop has: branches end a record other than by going on to the next. */
export interface Control {
  readonly budget: Local;
  readonly target: Local;
  readonly rip: Local;
  /** Takes a direct branch of this page or another: `target` holds the page offset; the link is at the record's IMM. */
  readonly direct: Label;
  /** Goes to the address in `rip`. */
  readonly indirect: Label;
  /** Begins the next record. */
  readonly next: Label;
  /** Runs the compiled code whose number in the table is the record's immediate, and goes on as it says. */
  readonly enterRegion: () => void;
}

/** Scratch locals that every emitter may use. */
export interface Scratch {
  readonly x0: Local;
  readonly x1: Local;
  readonly x2: Local;
  readonly x3: Local;
  readonly y0: Local;
  readonly y1: Local;
  readonly y2: Local;
  readonly v0: Local;
  readonly v1: Local;
  readonly v2: Local;
  readonly f0: Local;
  readonly f1: Local;
  readonly f2: Local;
  readonly d0: Local;
  readonly d1: Local;
  readonly d2: Local;
}

const SCRATCH = {
  ...{
    x0: 'i64',
    x1: 'i64',
    x2: 'i64',
    x3: 'i64',
    y0: 'i32',
    y1: 'i32',
    y2: 'i32',
    v0: 'v128',
    v1: 'v128',
    v2: 'v128',
  },
  ...{ f0: 'f32', f1: 'f32', f2: 'f32', d0: 'f64', d1: 'f64', d2: 'f64' },
} as const satisfies Record<keyof Scratch, ValueType>;

/** Locals that come to be when they are first asked for: baseline code clears all that a function has. */
export function scratch(f: FunctionBuilder): Scratch {
  const locals: Record<string, Local> = {};
  const names = Object.keys(SCRATCH) as (keyof Scratch)[];
  const get = (name: keyof Scratch) => (): Local => (locals[name] ??= f.local(SCRATCH[name]));
  return Object.defineProperties({}, Object.fromEntries(names.map((name) => [name, { get: get(name) }]))) as Scratch;
}
