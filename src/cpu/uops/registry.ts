import type { Emit } from './emit.ts';

/**
 * Where a micro-operation's code stands: in the main loop (frequent ones and all branches) or as a function of its own behind
 * a table. Measured: docs/decisions/0001-interpreter.md.
 */
export type Placement = 'loop' | 'function';

export interface Uop {
  readonly name: string;
  readonly placement: Placement;
  readonly emit: (e: Emit) => void;
}

const uops: Uop[] = [];

/** Registers a micro-operation and returns its number, which is what records hold. */
export function defineUop(name: string, placement: Placement, emit: (e: Emit) => void): number {
  uops.push({ name, placement, emit });
  return uops.length - 1;
}

export function allUops(): readonly Uop[] {
  return uops;
}

/** The variant of a micro-operation that leaves the flags alone, for those whose flags turn out to be dead. */
const withoutFlags = new Map<number, number>();

export function declareFlagless(operation: number, flagless: number): void {
  withoutFlags.set(operation, flagless);
}

export function flaglessVariant(operation: number): number | undefined {
  return withoutFlags.get(operation);
}
