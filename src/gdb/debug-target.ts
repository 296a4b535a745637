import type { Breakpoint, DebugState, DebugStop } from '#hypervisor/debug.ts';

/** What a thread does when the target goes on. */
export type ThreadAction = 'run' | 'step' | 'stay';

/** Why a breakpoint is not set: there are as many as there can be; or the place, size or kind is none that it can have. */
export type InsertResult = 'done' | 'no-room' | 'refused';

/** Why the target stands still: a thread's stop, or that it was asked to. */
export interface TargetStop {
  readonly thread: number;
  readonly stop: DebugStop | { readonly cause: 'interrupt' };
}

/** What a debugger debugs: threads, counted from 0, with the memory that they see. All but `interrupt` while it stands still. */
export interface DebugTarget {
  readonly threadCount: number;
  registers(thread: number): DebugState;
  /** False where the hypervisor refuses them. */
  setRegisters(thread: number, state: DebugState): boolean;
  /** What the thread sees at an address, up to the first byte that is no memory. */
  readMemory(thread: number, address: bigint, sizeBytes: number): Uint8Array;
  /** False, and nothing is written, where not all is memory. */
  writeMemory(thread: number, address: bigint, data: Uint8Array): boolean;
  insert(thread: number, breakpoint: Breakpoint): InsertResult;
  remove(breakpoint: Breakpoint): void;
  /** One action for each thread. Whoever made the session is told of the stop. */
  resume(actions: readonly ThreadAction[]): void;
  interrupt(): void;
}
