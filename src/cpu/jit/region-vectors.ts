/** XMM registers in locals, within a block: loaded where they are first read, stored where control leaves what is known. */
import type { FunctionBuilder, Local } from '#wasm/function-builder.ts';
import { type Size, STATE } from '../layout.ts';
import type { FloatFormat } from '../uops/emit.ts';

const VECTOR_SHIFT = 4;
const REGISTERS_MASK = 0xffff;
const VECTORS_END = STATE.MXCSR;

/** Reads of parts of a vector as i64, by size and sign. */
const EXTRACT = [
  { unsigned: 'i8x16.extract_lane_u', signed: 'i8x16.extract_lane_s' },
  { unsigned: 'i16x8.extract_lane_u', signed: 'i16x8.extract_lane_s' },
  { unsigned: 'i32x4.extract_lane', signed: 'i32x4.extract_lane' },
] as const;
const LANES = { f32: 'f32x4', f64: 'f64x2' } as const;

/** The vector that a place of the state belongs to: an XMM register or a temporary; -1 if none. */
export const vectorAt = (offset: number): number =>
  offset >= STATE.XMM && offset < VECTORS_END ? (offset - STATE.XMM) >> VECTOR_SHIFT : -1;

export class RegionVectors {
  readonly #f: FunctionBuilder;
  readonly #locals: Local[] = [];
  /** Vectors whose value is in the local, and those of them whose value in memory is an older one; as sets of bits. */
  #known = 0;
  #changed = 0;

  constructor(f: FunctionBuilder) {
    this.#f = f;
  }

  /** Nothing is known any more: memory has it all. */
  forget(): void {
    this.#known = 0;
    this.#changed = 0;
  }

  /** A new instruction begins: nobody looks at the temporaries of the one before. */
  forgetTemporaries(): void {
    this.#known &= REGISTERS_MASK;
    this.#changed &= REGISTERS_MASK;
  }

  /** Puts into memory what has changed, for a way out; after it all is as before. */
  spill(): void {
    for (let n = 0; this.#changed >> n !== 0; n++) if ((this.#changed >> n) & 1) this.#store(n);
  }

  /** Has memory alone know a vector from now on. */
  release(n: number): void {
    if ((this.#changed >> n) & 1) this.#store(n);
    this.#known &= ~(1 << n);
    this.#changed &= ~(1 << n);
  }

  releaseAll(): void {
    this.spill();
    this.forget();
  }

  #store(n: number): void {
    this.#f
      .i32(0)
      .get(this.#local(n))
      .simdMem('v128.store', STATE.XMM + (n << VECTOR_SHIFT));
  }

  #local(n: number): Local {
    this.#locals[n] ??= this.#f.local('v128');
    return this.#locals[n];
  }

  /** Pushes a vector; `keeps` where the code that reads it runs whenever what comes after runs. */
  read(n: number, keeps: boolean): FunctionBuilder {
    const f = this.#f;
    if ((this.#known >> n) & 1) return f.get(this.#local(n));
    f.i32(0).simdMem('v128.load', STATE.XMM + (n << VECTOR_SHIFT));
    if (!keeps) return f;
    this.#known |= 1 << n;
    return f.tee(this.#local(n));
  }

  /** As `read`. */
  write(n: number, keeps: boolean, value: () => void): void {
    const f = this.#f;
    if (!keeps && ((this.#known >> n) & 1) === 0) {
      f.i32(0);
      value();
      f.simdMem('v128.store', STATE.XMM + (n << VECTOR_SHIFT));
      return;
    }
    value();
    f.set(this.#local(n));
    this.#known |= 1 << n;
    this.#changed |= 1 << n;
  }

  readNumber(n: number, format: FloatFormat, keeps: boolean): FunctionBuilder {
    return this.read(n, keeps).simdLane(`${LANES[format]}.extract_lane`, 0);
  }

  writeNumber(n: number, format: FloatFormat, keeps: boolean, value: () => void): void {
    this.write(n, keeps, () => {
      this.read(n, keeps);
      value();
      this.#f.simdLane(`${LANES[format]}.replace_lane`, 0);
    });
  }

  /** Pushes an integer in a vector, at a place that is a multiple of its size, as i64. */
  readInteger(offset: number, size: Size, signed: boolean, keeps: boolean): FunctionBuilder {
    this.read(vectorAt(offset), keeps);
    const lane = (offset & 15) >> size;
    if (size === 3) return this.#f.simdLane('i64x2.extract_lane', lane);
    return this.#f
      .simdLane(EXTRACT[size][signed ? 'signed' : 'unsigned'], lane)
      .op(signed ? 'i64.extend_i32_s' : 'i64.extend_i32_u');
  }

  /** As the write of a general register: one of 32 bits clears the upper half of the 64. */
  writeInteger(offset: number, size: Size, keeps: boolean, value: () => void): void {
    const f = this.#f;
    const n = vectorAt(offset);
    this.write(n, keeps, () => {
      this.read(n, keeps);
      value();
      if (size === 2) f.i64(0xffffffffn).op('i64.and');
      if (size >= 2) f.simdLane('i64x2.replace_lane', (offset & 15) >> 3);
      else
        f.op('i32.wrap_i64').simdLane(size === 0 ? 'i8x16.replace_lane' : 'i16x8.replace_lane', (offset & 15) >> size);
    });
  }
}
