/**
 * ADDxx, SUBxx, MULxx, DIVxx, SQRTxx, MINxx, MAXxx in their four forms, ADDSUBPx, HADDPx, HSUBPx, DPPS and DPPD (SDM
 * vol. 2). Signatures and results: see sse-view.ts.
 */
import { LANE, lane32, lane64, scalar32, scalar64 } from './sse-lane.ts';
import { commit, createSseView, isUnmasked, lanes, type SseView } from './sse-view.ts';

export type SseFunction = (view: SseView, dst: number, src: number, mxcsr: number) => number;
export type SseImmediateFunction = (
  view: SseView,
  dst: number,
  src: number,
  mxcsr: number,
  immediate: number,
) => number;

function packed32(op: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    let flags = 0;
    for (let i = 0; i < 4; i++) flags |= lane32(op, view, dst + i, src + i, mxcsr, i);
    return commit(view, dst, 4, flags, mxcsr);
  };
}

function packed64(op: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    const flags = lane64(op, view, dst, src, mxcsr, 0) | lane64(op, view, dst + 2, src + 2, mxcsr, 1);
    return commit(view, dst, 4, flags, mxcsr);
  };
}

/** ADDSUBPx: even lanes subtract, odd lanes add. */
const addsubps: SseFunction = (view, dst, src, mxcsr) => {
  let flags = 0;
  for (let i = 0; i < 4; i++) {
    flags |= lane32((i & 1) === 0 ? LANE.SUBTRACT : LANE.ADD, view, dst + i, src + i, mxcsr, i);
  }
  return commit(view, dst, 4, flags, mxcsr);
};

const addsubpd: SseFunction = (view, dst, src, mxcsr) => {
  const flags = lane64(LANE.SUBTRACT, view, dst, src, mxcsr, 0) | lane64(LANE.ADD, view, dst + 2, src + 2, mxcsr, 1);
  return commit(view, dst, 4, flags, mxcsr);
};

function horizontal32(op: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    const flags =
      lane32(op, view, dst, dst + 1, mxcsr, 0) |
      lane32(op, view, dst + 2, dst + 3, mxcsr, 1) |
      lane32(op, view, src, src + 1, mxcsr, 2) |
      lane32(op, view, src + 2, src + 3, mxcsr, 3);
    return commit(view, dst, 4, flags, mxcsr);
  };
}

function horizontal64(op: number): SseFunction {
  return (view, dst, src, mxcsr) => {
    const flags = lane64(op, view, dst, dst + 2, mxcsr, 0) | lane64(op, view, src, src + 2, mxcsr, 1);
    return commit(view, dst, 4, flags, mxcsr);
  };
}

/** Intermediate values of the dot products. */
const partial = createSseView(new ArrayBuffer(16), 0, 16);

function takePartial(): void {
  for (let i = 0; i < 4; i++) partial.words[i] = lanes.words[i]!;
}

/**
 * DPPS: products chosen by immediate[7:4], summed as (0 + 1) + (2 + 3), to the lanes chosen by immediate[3:0]. A stage with
 * an unmasked exception is the last. Which NaN of several a lane gets follows from the order of the operands in the sums,
 * lane by lane as *measured* on Intel processors; the manual leaves it open.
 */
const dpps: SseImmediateFunction = (view, dst, src, mxcsr, immediate) => {
  let flags = 0;
  for (let i = 0; i < 4; i++) {
    if (((immediate >>> (4 + i)) & 1) !== 0) flags |= lane32(LANE.MULTIPLY, view, dst + i, src + i, mxcsr, i);
    else lanes.words[i] = 0;
  }
  if (isUnmasked(flags, mxcsr)) return commit(view, dst, 4, flags, mxcsr);
  let earlier = flags;
  flags = 0;
  takePartial();
  for (let i = 0; i < 4; i++) flags |= lane32(LANE.ADD, partial, i ^ 1, i, mxcsr, i);
  if (isUnmasked(flags, mxcsr)) return earlier | commit(view, dst, 4, flags, mxcsr);
  earlier |= flags;
  flags = 0;
  takePartial();
  for (let i = 0; i < 4; i++) {
    flags |= lane32(LANE.ADD, partial, i, i ^ 2, mxcsr, i);
    if (((immediate >>> i) & 1) === 0) lanes.words[i] = 0;
  }
  return earlier | commit(view, dst, 4, flags, mxcsr);
};

/** DPPD: products chosen by immediate[5:4], their sum to the lanes chosen by immediate[1:0]; see DPPS. */
const dppd: SseImmediateFunction = (view, dst, src, mxcsr, immediate) => {
  let flags = 0;
  for (let i = 0; i < 2; i++) {
    if (((immediate >>> (4 + i)) & 1) !== 0) {
      flags |= lane64(LANE.MULTIPLY, view, dst + 2 * i, src + 2 * i, mxcsr, i);
    } else {
      lanes.doubles[i] = 0;
    }
  }
  if (isUnmasked(flags, mxcsr)) return commit(view, dst, 4, flags, mxcsr);
  const earlier = flags;
  flags = 0;
  takePartial();
  for (let i = 0; i < 2; i++) {
    flags |= lane64(LANE.ADD, partial, 2 * i, 2 - 2 * i, mxcsr, i);
    if (((immediate >>> i) & 1) === 0) lanes.doubles[i] = 0;
  }
  return earlier | commit(view, dst, 4, flags, mxcsr);
};

/** By mnemonic. */
export const sseArithmetic = {
  addss: (view, dst, src, mxcsr) => scalar32(LANE.ADD, view, dst, src, mxcsr),
  addsd: (view, dst, src, mxcsr) => scalar64(LANE.ADD, view, dst, src, mxcsr),
  addps: packed32(LANE.ADD),
  addpd: packed64(LANE.ADD),
  subss: (view, dst, src, mxcsr) => scalar32(LANE.SUBTRACT, view, dst, src, mxcsr),
  subsd: (view, dst, src, mxcsr) => scalar64(LANE.SUBTRACT, view, dst, src, mxcsr),
  subps: packed32(LANE.SUBTRACT),
  subpd: packed64(LANE.SUBTRACT),
  mulss: (view, dst, src, mxcsr) => scalar32(LANE.MULTIPLY, view, dst, src, mxcsr),
  mulsd: (view, dst, src, mxcsr) => scalar64(LANE.MULTIPLY, view, dst, src, mxcsr),
  mulps: packed32(LANE.MULTIPLY),
  mulpd: packed64(LANE.MULTIPLY),
  divss: (view, dst, src, mxcsr) => scalar32(LANE.DIVIDE, view, dst, src, mxcsr),
  divsd: (view, dst, src, mxcsr) => scalar64(LANE.DIVIDE, view, dst, src, mxcsr),
  divps: packed32(LANE.DIVIDE),
  divpd: packed64(LANE.DIVIDE),
  sqrtss: (view, dst, src, mxcsr) => scalar32(LANE.SQUARE_ROOT, view, dst, src, mxcsr),
  sqrtsd: (view, dst, src, mxcsr) => scalar64(LANE.SQUARE_ROOT, view, dst, src, mxcsr),
  sqrtps: packed32(LANE.SQUARE_ROOT),
  sqrtpd: packed64(LANE.SQUARE_ROOT),
  minss: (view, dst, src, mxcsr) => scalar32(LANE.MINIMUM, view, dst, src, mxcsr),
  minsd: (view, dst, src, mxcsr) => scalar64(LANE.MINIMUM, view, dst, src, mxcsr),
  minps: packed32(LANE.MINIMUM),
  minpd: packed64(LANE.MINIMUM),
  maxss: (view, dst, src, mxcsr) => scalar32(LANE.MAXIMUM, view, dst, src, mxcsr),
  maxsd: (view, dst, src, mxcsr) => scalar64(LANE.MAXIMUM, view, dst, src, mxcsr),
  maxps: packed32(LANE.MAXIMUM),
  maxpd: packed64(LANE.MAXIMUM),
  addsubps,
  addsubpd,
  haddps: horizontal32(LANE.ADD),
  haddpd: horizontal64(LANE.ADD),
  hsubps: horizontal32(LANE.SUBTRACT),
  hsubpd: horizontal64(LANE.SUBTRACT),
} as const satisfies Record<string, SseFunction>;

/** By mnemonic; with an immediate. */
export const sseDotProduct = { dpps, dppd } as const satisfies Record<string, SseImmediateFunction>;
