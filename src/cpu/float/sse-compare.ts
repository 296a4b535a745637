/** CMPxx, COMISx, UCOMISx (SDM vol. 2). Signatures and results: see sse-view.ts. */
import { compare, ORDER } from './compare.ts';
import type { SseFunction, SseImmediateFunction } from './sse-arithmetic.ts';
import { commit, lanes, MXCSR, type SseView } from './sse-view.ts';
import { EXCEPTION, KIND, Unpacked, unpackFloat32, unpackFloat64 } from './unpacked.ts';

const operandA = new Unpacked();
const operandB = new Unpacked();

/** COMISx and UCOMISx return the arithmetic flags in these bits besides the exceptions (see `comparisonEflags`). */
const EFLAGS_SHIFT = 8;
const EFLAGS = { CF: 0x01, PF: 0x04, ZF: 0x40 } as const;

/** The arithmetic EFLAGS (ZF, PF, CF; OF, SF, AF are cleared) from a result of comisx or ucomisx, valid without #XM. */
export function comparisonEflags(result: number): number {
  return (result >>> EFLAGS_SHIFT) & 0xff;
}

function exceptions(order: number, signalsQuiet: boolean): number {
  if (order === ORDER.UNORDERED) {
    const signalling = signalsQuiet || operandA.kind === KIND.SNAN || operandB.kind === KIND.SNAN;
    return signalling ? EXCEPTION.INVALID : 0;
  }
  return (operandA.denormal | operandB.denormal) !== 0 ? EXCEPTION.DENORMAL : 0;
}

/** Whether predicate 0–7 (EQ, LT, LE, UNORD and their negations) holds. */
function holds(predicate: number, order: number): boolean {
  let positive: boolean;
  switch (predicate & 3) {
    case 0:
      positive = order === ORDER.EQUAL;
      break;
    case 1:
      positive = order === ORDER.LESS;
      break;
    case 2:
      positive = order === ORDER.LESS || order === ORDER.EQUAL;
      break;
    default:
      positive = order === ORDER.UNORDERED;
      break;
  }
  return positive !== ((predicate & 4) !== 0);
}

/** LT, LE, NLT and NLE signal quiet NaNs too. */
function signalsQuietNan(predicate: number): boolean {
  return (predicate & 3) === 1 || (predicate & 3) === 2;
}

/**
 * The order of two doubles that are normal or zero, by the host's comparison; −1 for all else. These raise no exception.
 */
function fastOrder(x: number, y: number, minNormal: number): number {
  const xSize = Math.abs(x);
  const ySize = Math.abs(y);
  if (!(xSize >= minNormal || xSize === 0) || !(ySize >= minNormal || ySize === 0)) return -1;
  return x < y ? ORDER.LESS : x > y ? ORDER.GREATER : ORDER.EQUAL;
}

function order64(view: SseView, a: number, b: number, mxcsr: number): number {
  const { words } = view;
  const daz = (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0;
  unpackFloat64(words[a]!, words[a + 1]!, operandA, daz);
  unpackFloat64(words[b]!, words[b + 1]!, operandB, daz);
  return compare(operandA, operandB);
}

function order32(view: SseView, a: number, b: number, mxcsr: number): number {
  const daz = (mxcsr & MXCSR.DENORMALS_ARE_ZERO) !== 0;
  unpackFloat32(view.words[a]!, operandA, daz);
  unpackFloat32(view.words[b]!, operandB, daz);
  return compare(operandA, operandB);
}

function compareLane32(view: SseView, a: number, b: number, mxcsr: number, predicate: number, lane: number): number {
  let order = fastOrder(view.singles[a]!, view.singles[b]!, 2 ** -126);
  let flags = 0;
  if (order < 0) {
    order = order32(view, a, b, mxcsr);
    flags = exceptions(order, signalsQuietNan(predicate));
  }
  lanes.words[lane] = holds(predicate, order) ? -1 : 0;
  return flags;
}

function compareLane64(view: SseView, a: number, b: number, mxcsr: number, predicate: number, lane: number): number {
  let order = fastOrder(view.doubles[a >>> 1]!, view.doubles[b >>> 1]!, 2 ** -1022);
  let flags = 0;
  if (order < 0) {
    order = order64(view, a, b, mxcsr);
    flags = exceptions(order, signalsQuietNan(predicate));
  }
  const mask = holds(predicate, order) ? -1 : 0;
  lanes.words[lane * 2] = mask;
  lanes.words[lane * 2 + 1] = mask;
  return flags;
}

const cmpss: SseImmediateFunction = (view, dst, src, mxcsr, predicate) =>
  commit(view, dst, 1, compareLane32(view, dst, src, mxcsr, predicate, 0), mxcsr);

const cmpsd: SseImmediateFunction = (view, dst, src, mxcsr, predicate) =>
  commit(view, dst, 2, compareLane64(view, dst, src, mxcsr, predicate, 0), mxcsr);

const cmpps: SseImmediateFunction = (view, dst, src, mxcsr, predicate) => {
  let flags = 0;
  for (let i = 0; i < 4; i++) flags |= compareLane32(view, dst + i, src + i, mxcsr, predicate, i);
  return commit(view, dst, 4, flags, mxcsr);
};

const cmppd: SseImmediateFunction = (view, dst, src, mxcsr, predicate) => {
  const flags =
    compareLane64(view, dst, src, mxcsr, predicate, 0) | compareLane64(view, dst + 2, src + 2, mxcsr, predicate, 1);
  return commit(view, dst, 4, flags, mxcsr);
};

/** Immediate bits 2:0 are the predicate; the others are ignored. */
export const sseCompare = { cmpss, cmpsd, cmpps, cmppd } as const satisfies Record<string, SseImmediateFunction>;

function eflagsOf(order: number): number {
  switch (order) {
    case ORDER.LESS:
      return EFLAGS.CF << EFLAGS_SHIFT;
    case ORDER.EQUAL:
      return EFLAGS.ZF << EFLAGS_SHIFT;
    case ORDER.GREATER:
      return 0;
    default:
      return (EFLAGS.ZF | EFLAGS.PF | EFLAGS.CF) << EFLAGS_SHIFT;
  }
}

function comparison32(signalsQuiet: boolean): SseFunction {
  return (view, dst, src, mxcsr) => {
    const fast = fastOrder(view.singles[dst]!, view.singles[src]!, 2 ** -126);
    if (fast >= 0) return eflagsOf(fast);
    const order = order32(view, dst, src, mxcsr);
    return eflagsOf(order) | exceptions(order, signalsQuiet);
  };
}

function comparison64(signalsQuiet: boolean): SseFunction {
  return (view, dst, src, mxcsr) => {
    const fast = fastOrder(view.doubles[dst >>> 1]!, view.doubles[src >>> 1]!, 2 ** -1022);
    if (fast >= 0) return eflagsOf(fast);
    const order = order64(view, dst, src, mxcsr);
    return eflagsOf(order) | exceptions(order, signalsQuiet);
  };
}

/** Results hold the exceptions in bits 5:0 and the EFLAGS for `comparisonEflags`; nothing is written. */
export const sseComparison = {
  comiss: comparison32(true),
  comisd: comparison64(true),
  ucomiss: comparison32(false),
  ucomisd: comparison64(false),
} as const satisfies Record<string, SseFunction>;
