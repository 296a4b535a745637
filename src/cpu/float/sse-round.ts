/** ROUNDxx (SDM vol. 2). Signatures and results: see sse-view.ts. */
import { roundToIntegral } from './round.ts';
import type { SseImmediateFunction } from './sse-arithmetic.ts';
import { commit, lanes, MXCSR, type SseView } from './sse-view.ts';
import {
  copyQuiet,
  EXCEPTION,
  KIND,
  packFloat32,
  packFloat64,
  Unpacked,
  unpackFloat32,
  unpackFloat64,
} from './unpacked.ts';

const operand = new Unpacked();
const result = new Unpacked();

/** The immediate's fields, SDM vol. 2 figure "Bit Control Fields of Immediate Byte for ROUNDxx". */
const IMMEDIATE = { ROUNDING: 3, USE_MXCSR: 4, SUPPRESS_PRECISION: 8 } as const;

function roundOperand(mxcsr: number, immediate: number): number {
  copyQuiet(result, operand);
  if (operand.kind === KIND.SNAN) return EXCEPTION.INVALID;
  const rounding =
    (immediate & IMMEDIATE.USE_MXCSR) !== 0 ? (mxcsr >>> MXCSR.ROUNDING_SHIFT) & 3 : immediate & IMMEDIATE.ROUNDING;
  const inexact = roundToIntegral(result, rounding);
  return inexact && (immediate & IMMEDIATE.SUPPRESS_PRECISION) === 0 ? EXCEPTION.PRECISION : 0;
}

function roundLane32(view: SseView, src: number, mxcsr: number, immediate: number, lane: number): number {
  unpackFloat32(view.words[src]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  const flags = roundOperand(mxcsr, immediate);
  lanes.words[lane] = packFloat32(result);
  return flags;
}

function roundLane64(view: SseView, src: number, mxcsr: number, immediate: number, lane: number): number {
  unpackFloat64(view.words[src]!, view.words[src + 1]!, operand, (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0);
  const flags = roundOperand(mxcsr, immediate);
  packFloat64(result, lanes.words, lane * 2);
  return flags;
}

const roundss: SseImmediateFunction = (view, dst, src, mxcsr, immediate) =>
  commit(view, dst, 1, roundLane32(view, src, mxcsr, immediate, 0), mxcsr);

const roundsd: SseImmediateFunction = (view, dst, src, mxcsr, immediate) =>
  commit(view, dst, 2, roundLane64(view, src, mxcsr, immediate, 0), mxcsr);

const roundps: SseImmediateFunction = (view, dst, src, mxcsr, immediate) => {
  let flags = 0;
  for (let i = 0; i < 4; i++) flags |= roundLane32(view, src + i, mxcsr, immediate, i);
  return commit(view, dst, 4, flags, mxcsr);
};

const roundpd: SseImmediateFunction = (view, dst, src, mxcsr, immediate) => {
  const flags = roundLane64(view, src, mxcsr, immediate, 0) | roundLane64(view, src + 2, mxcsr, immediate, 1);
  return commit(view, dst, 4, flags, mxcsr);
};

/** By mnemonic. */
export const sseRound = { roundss, roundsd, roundps, roundpd } as const satisfies Record<string, SseImmediateFunction>;
