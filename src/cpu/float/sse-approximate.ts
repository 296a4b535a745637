/**
 * RCPSS, RCPPS, RSQRTSS, RSQRTPS. The manual promises a relative error of at most 1.5 · 2^-12 and no exception flags; the
 * values here are those of Intel's processors, which were *measured* to be: the exact function at the middle of the
 * operand's interval (2048 to a binade for 1/x; 1024 for 1/√x), rounded to the nearest multiple of 2^-13 of the result's
 * binade. Denormal operands count as zeros, tiny results become zeros.
 */
import type { SseFunction } from './sse-arithmetic.ts';
import { commit, lanes, type SseView } from './sse-view.ts';

const INFINITY = 0x7f800000;
const QUIET = 0x400000;
const DEFAULT_NAN = 0xffc00000 | 0;

/** binary32 of m · 2^-13 · 2^(biased − 126), for m from 4096 to 8191; a tiny one is a zero. */
function assemble(sign: number, biased: number, m: number): number {
  return biased <= 0 ? sign : sign | (biased << 23) | ((m - 4096) << 11);
}

function reciprocal(bits: number): number {
  const sign = bits & 0x80000000;
  const biased = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (biased === 0) return sign | INFINITY;
  if (biased === 0xff) return fraction !== 0 ? bits | QUIET : sign;
  const middle = 1 + ((fraction >>> 12) + 0.5) / 2048;
  return assemble(sign, 253 - biased, Math.round(8192 / middle));
}

function reciprocalRoot(bits: number): number {
  const sign = bits & 0x80000000;
  const biased = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  if (biased === 0) return sign | INFINITY;
  if (biased === 0xff && fraction !== 0) return bits | QUIET;
  if (sign !== 0) return DEFAULT_NAN;
  if (biased === 0xff) return 0;
  const odd = (biased & 1) ^ 1;
  const middle = 1 + ((fraction >>> 13) + 0.5) / 1024;
  const root = Math.sqrt(odd !== 0 ? 2 * middle : middle);
  return assemble(0, 126 - (biased - 127 - odd) / 2, Math.round(8192 / root));
}

type Approximation = (bits: number) => number;

function scalar(approximate: Approximation): SseFunction {
  return (view: SseView, dst, src, mxcsr) => {
    lanes.words[0] = approximate(view.words[src]!);
    return commit(view, dst, 1, 0, mxcsr);
  };
}

function packed(approximate: Approximation): SseFunction {
  return (view: SseView, dst, src, mxcsr) => {
    for (let i = 0; i < 4; i++) lanes.words[i] = approximate(view.words[src + i]!);
    return commit(view, dst, 4, 0, mxcsr);
  };
}

/** By mnemonic. */
export const sseApproximate = {
  rcpss: scalar(reciprocal),
  rcpps: packed(reciprocal),
  rsqrtss: scalar(reciprocalRoot),
  rsqrtps: packed(reciprocalRoot),
} as const satisfies Record<string, SseFunction>;
