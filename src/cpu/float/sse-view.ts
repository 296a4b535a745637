/**
 * What the SSE functions share: access to the register state, MXCSR, and the collecting of lane results.
 *
 * Every operation is a function `(view, dst, src, mxcsr[, immediate]) → flags`. `dst` and `src` are word (32-bit) indices
 * into `view.words`, multiples of 4 for a register or a 16-byte copy of a memory operand (multiples of 2 suffice where one
 * 64-bit operand is read). The result is the set of EXCEPTION flags raised by this operation; the caller ORs it into
 * MXCSR and, when `isUnmasked(flags, mxcsr)`, raises #XM: the destination is then unchanged (SDM vol. 1 §11.5).
 */
import { EXCEPTION } from './unpacked.ts';

/** The register state: three views of one buffer, all starting at the same byte, a multiple of 8. */
export interface SseView {
  readonly words: Int32Array;
  readonly singles: Float32Array;
  readonly doubles: Float64Array;
}

/** Views over `sizeBytes` bytes (a multiple of 8) of the buffer that holds registers and scratch operands. */
export function createSseView(buffer: ArrayBufferLike, byteOffset: number, sizeBytes: number): SseView {
  return {
    words: new Int32Array(buffer, byteOffset, sizeBytes >>> 2),
    singles: new Float32Array(buffer, byteOffset, sizeBytes >>> 2),
    doubles: new Float64Array(buffer, byteOffset, sizeBytes >>> 3),
  };
}

/** MXCSR, SDM vol. 1 figure 10-3. */
export const MXCSR = {
  FLAGS: 0x3f,
  PRECISION_FLAG: 0x20,
  DENORMALS_ARE_ZERO: 0x40,
  MASK_SHIFT: 7,
  OVERFLOW_MASK: 0x400,
  UNDERFLOW_MASK: 0x800,
  PRECISION_MASK: 0x1000,
  ROUNDING_SHIFT: 13,
  ROUNDING: 0x6000,
  FLUSH_TO_ZERO: 0x8000,
  RESET: 0x1f80,
  WRITABLE: 0xffff,
} as const;

/** Whether any of the raised flags is unmasked: the instruction ends with #XM. */
export function isUnmasked(flags: number, mxcsr: number): boolean {
  return (flags & MXCSR.FLAGS & ~(mxcsr >>> MXCSR.MASK_SHIFT)) !== 0;
}

/** Results of an operation until it is known that all its lanes complete; also the scratch of bit conversions. */
export const lanes: SseView = createSseView(new ArrayBuffer(32), 0, 32);

const PRE_COMPUTATION = EXCEPTION.INVALID | EXCEPTION.DENORMAL | EXCEPTION.ZERO_DIVIDE;

/**
 * Ends an operation: copies `count` words of `lanes` to the destination unless an exception is unmasked. An unmasked
 * pre-computation exception hides the post-computation ones of every lane (SDM vol. 1 §11.5.2).
 */
export function commit(view: SseView, dst: number, count: number, flags: number, mxcsr: number): number {
  const unmasked = flags & ~(mxcsr >>> MXCSR.MASK_SHIFT);
  if ((unmasked & MXCSR.FLAGS) === 0) {
    const { words } = view;
    for (let i = 0; i < count; i++) words[dst + i] = lanes.words[i]!;
    return flags;
  }
  return (unmasked & PRE_COMPUTATION) !== 0 ? flags & PRE_COMPUTATION : flags;
}
