/** Lazy flags in locals; where it is known what set them, conditions are computed in place. Layout.ts says what each kind keeps. */
import type { FunctionBuilder, Local } from '#wasm/function-builder.ts';
import { bitsOf, CC, CC_SIZE_SHIFT, type Size, STATE } from '../layout.ts';
import type { Routines } from '../uops/parts.ts';

/** Conditions without their lowest bit, which turns them round (SDM vol. 1 appendix B). */
const CONDITION = { O: 0, B: 1, Z: 2, BE: 3, S: 4, P: 5, L: 6, LE: 7 } as const;
const FLAG_BITS = { ZF: 6, SF: 7, OF: 11, PF: 2 } as const;

const COMPARISONS: Readonly<Record<number, 'i64.lt_u' | 'i64.le_u' | 'i64.lt_s' | 'i64.le_s'>> = {
  [CONDITION.B]: 'i64.lt_u',
  [CONDITION.BE]: 'i64.le_u',
  [CONDITION.L]: 'i64.lt_s',
  [CONDITION.LE]: 'i64.le_s',
};

export class RegionFlags {
  readonly #f: FunctionBuilder;
  readonly #routines: Routines;
  readonly op: Local;
  readonly carryIn: Local;
  readonly dst: Local;
  readonly src: Local;
  /** Kind and size; undefined where they depend on the way here. */
  known: number | undefined;

  constructor(f: FunctionBuilder, routines: Routines) {
    this.#f = f;
    this.#routines = routines;
    this.op = f.local('i32');
    this.carryIn = f.local('i32');
    this.dst = f.local('i64');
    this.src = f.local('i64');
  }

  load(): void {
    const f = this.#f;
    f.i32(0).mem('i32.load', STATE.CC_OP).set(this.op);
    f.i32(0).mem('i32.load', STATE.CC_CARRY).set(this.carryIn);
    f.i32(0).mem('i64.load', STATE.CC_DST).set(this.dst);
    f.i32(0).mem('i64.load', STATE.CC_SRC).set(this.src);
  }

  store(): void {
    const f = this.#f;
    f.i32(0).get(this.op).mem('i32.store', STATE.CC_OP);
    f.i32(0).get(this.carryIn).mem('i32.store', STATE.CC_CARRY);
    f.i32(0).get(this.dst).mem('i64.store', STATE.CC_DST);
    f.i32(0).get(this.src).mem('i64.store', STATE.CC_SRC);
  }

  /** Pushes the six flags as i32. */
  all(): void {
    if (this.known === CC.EXPLICIT) this.#explicit();
    else this.#routine(this.#routines.flags);
  }

  /** Pushes CF as 0 or 1. */
  carry(): void {
    this.condition(CONDITION.B << 1);
  }

  /** Pushes whether condition `n` holds. */
  condition(n: number): void {
    const f = this.#f;
    if (!this.#pushInPlace(n >> 1)) {
      if (n >> 1 === CONDITION.B) this.#routine(this.#routines.carry);
      else {
        this.store();
        f.i32(n & ~1).call(this.#routines.condition);
      }
    }
    if (n & 1) f.op('i32.eqz');
  }

  #routine(index: number): void {
    this.store();
    this.#f.call(index);
  }

  #explicit(): FunctionBuilder {
    return this.#f.get(this.src).op('i32.wrap_i64');
  }

  #pushInPlace(condition: number): boolean {
    const f = this.#f;
    // CC_DST is zero exactly when ZF is set, whatever the kind.
    if (condition === CONDITION.Z) {
      f.get(this.dst).op('i64.eqz');
      return true;
    }
    if (this.known === undefined) return false;
    const kind = this.known & ((1 << CC_SIZE_SHIFT) - 1);
    if (kind === CC.EXPLICIT) return this.#ofExplicit(condition);
    if (condition === CONDITION.S) {
      f.get(this.dst).i64(0n).op('i64.lt_s');
      return true;
    }
    if (kind === CC.SUB) return this.#ofDifference(condition, (this.known >> CC_SIZE_SHIFT) as Size);
    if (kind === CC.LOGIC) return this.#ofLogic(condition);
    return condition === CONDITION.B && this.#carryOf(kind, (this.known >> CC_SIZE_SHIFT) as Size);
  }

  /** Sign extension keeps the unsigned order, too. */
  #ofDifference(condition: number, size: Size): boolean {
    const f = this.#f;
    const comparison = COMPARISONS[condition];
    if (comparison === undefined) return false;
    f.get(this.dst).get(this.src).op('i64.add');
    if (size === 0) f.op('i64.extend8_s');
    else if (size === 1) f.op('i64.extend16_s');
    else if (size === 2) f.op('i64.extend32_s');
    f.get(this.src).op(comparison);
    return true;
  }

  #ofLogic(condition: number): boolean {
    const f = this.#f;
    if (condition === CONDITION.P) return false;
    if (condition === CONDITION.O || condition === CONDITION.B) f.i32(0);
    else if (condition === CONDITION.BE) f.get(this.dst).op('i64.eqz');
    else
      f.get(this.dst)
        .i64(0n)
        .op(condition === CONDITION.L ? 'i64.lt_s' : 'i64.le_s');
    return true;
  }

  #carryOf(kind: number, size: Size): boolean {
    const f = this.#f;
    if (kind === CC.ADD) f.get(this.dst).get(this.src).op('i64.lt_u');
    else if (kind === CC.MUL) f.get(this.src).i64(0n).op('i64.ne');
    else if (kind === CC.INC || kind === CC.DEC || kind === CC.SHR) this.#explicit().i32(1).op('i32.and');
    else if (kind === CC.SHL)
      f.get(this.src)
        .i64(BigInt(64 - bitsOf(size)))
        .op('i64.shl')
        .i64(0n)
        .op('i64.lt_s');
    else return false;
    return true;
  }

  #ofExplicit(condition: number): boolean {
    const f = this.#f;
    const shifted = (bit: number): FunctionBuilder => this.#explicit().i32(bit).op('i32.shr_u');
    if (condition === CONDITION.B) this.#explicit();
    else if (condition === CONDITION.O) shifted(FLAG_BITS.OF);
    else if (condition === CONDITION.S) shifted(FLAG_BITS.SF);
    else if (condition === CONDITION.P) shifted(FLAG_BITS.PF);
    else if (condition === CONDITION.BE) this.#explicit().get(this.dst).op('i64.eqz').op('i32.or');
    else {
      shifted(FLAG_BITS.SF);
      shifted(FLAG_BITS.OF).op('i32.xor');
      if (condition === CONDITION.LE) f.get(this.dst).op('i64.eqz').op('i32.or');
    }
    f.i32(1).op('i32.and');
    return true;
  }
}
