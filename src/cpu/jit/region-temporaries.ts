/** Temporaries of one instruction in locals. */
import type { FunctionBuilder, Local } from '#wasm/function-builder.ts';
import { STATE } from '../layout.ts';

const COUNT = 8;

export class RegionTemporaries {
  readonly #f: FunctionBuilder;
  readonly #locals: readonly Local[];
  /** Those whose value is in the local, as bits; the others' is in memory. */
  #inLocals = 0;

  constructor(f: FunctionBuilder) {
    this.#f = f;
    this.#locals = Array.from({ length: COUNT }, () => f.local('i64'));
  }

  /** The temporary at this place of the state; -1 if there is none. */
  static at(offset: number): number {
    return offset >= STATE.TEMP && offset < STATE.TEMP + 8 * COUNT ? (offset - STATE.TEMP) >> 3 : -1;
  }

  forget(): void {
    this.#inLocals = 0;
  }

  has(n: number): boolean {
    return ((this.#inLocals >> n) & 1) === 1;
  }

  /** The local that has a temporary's value. */
  local(n: number): Local {
    return this.#locals[n] as Local;
  }

  /** The local, which is about to get the value. */
  take(n: number): Local {
    this.#inLocals |= 1 << n;
    return this.local(n);
  }

  /** Puts into memory what is in locals, where all of it stays. */
  spill(): void {
    this.#each((local, place) => this.#f.i32(0).get(local).mem('i64.store', place));
  }

  reload(): void {
    this.#each((local, place) => this.#f.i32(0).mem('i64.load', place).set(local));
  }

  #each(move: (local: Local, place: number) => void): void {
    for (let n = 0; n < COUNT; n++) if (this.has(n)) move(this.local(n), STATE.TEMP + 8 * n);
  }
}
