/** MMX and SSE: scalar moves are moves between places of the state, packed integers vector operations, floats helpers. */
import { type Size, STATE } from '../layout.ts';
import { LOAD, MOV, MOV_IMM, STORE } from '../uops/data.ts';
import {
  BLENDPD,
  BLENDPS,
  LOAD128,
  LOAD128_ALIGNED,
  MOV128,
  MOVDDUP,
  MOVMSKPD,
  MOVMSKPS,
  MOVSHDUP,
  MOVSLDUP,
  PALIGNR,
  PALIGNR_MMX,
  PBLENDW,
  PMOVMSKB,
  PMOVMSKB_MMX,
  PMOVSX,
  PMOVZX,
  PSLLDQ,
  PSRLDQ,
  PTEST,
  SHIFT_BY_IMMEDIATE,
  SHIFT_BY_IMMEDIATE_MMX,
  SHUFFLE16,
  SHUFFLE16_MMX,
  SHUFFLE32,
  STORE128,
  STORE128_ALIGNED,
} from '../uops/simd.ts';
import { PACKED, PACKED_MMX, SHIFTS } from '../uops/simd-packed.ts';
import { helper, type Lowering } from './lower-common.ts';
import { LANE_LOWERINGS } from './lower-simd-lanes.ts';
import { byMnemonic, SSE_FLOAT_LOWERINGS } from './lower-sse-float.ts';
import {
  beginSse,
  copyLane,
  isMmx,
  loadOperand,
  markWritten,
  mmx,
  OPERAND,
  qSource,
  withMmx,
  wSource,
  xmm,
} from './simd-operands.ts';
import type { Encoding } from './table.ts';
import { EXTENDING, type ExtendingKind } from './table-simd.ts';
import { TEMP_ADDRESS, type Translator } from './translator.ts';

function packed(t: Translator, row: Encoding): void {
  if (isMmx(row)) {
    const a = mmx(t.d.reg);
    withMmx(
      t,
      () => qSource(t, row.operands[1] === 'Qd' ? 4 : 8),
      (b) => {
        t.pure(PACKED_MMX[row.mnemonic] as number, a, b);
        markWritten(t, a);
      },
    );
    return;
  }
  beginSse(t);
  t.pure(PACKED[row.mnemonic] as number, xmm(t.d.reg), wSource(t, 16));
}

function shift(t: Translator, row: Encoding): void {
  if (!row.operands[1]?.startsWith('I')) {
    packed(t, row);
    return;
  }
  const count = t.d.immediate & 0xff;
  if (isMmx(row)) {
    const a = mmx(t.d.rm);
    withMmx(
      t,
      () => a,
      () => {
        t.pure(SHIFT_BY_IMMEDIATE_MMX[row.mnemonic] as number, a, 0, 0, count);
        markWritten(t, a);
      },
    );
    return;
  }
  beginSse(t);
  t.pure(SHIFT_BY_IMMEDIATE[row.mnemonic] as number, xmm(t.d.rm), 0, 0, count);
}

const shiftBytes =
  (op: number): Lowering =>
  (t) => {
    beginSse(t);
    t.pure(op, xmm(t.d.rm), 0, 0, Math.min(16, t.d.immediate & 0xff));
  };

/** Whole-register moves; `aligned` is whether memory must be. */
const move128 =
  (aligned: boolean): Lowering =>
  (t, row) => {
    beginSse(t);
    const toRegister = row.operands[0]?.startsWith('V');
    const [reg, rm] = [xmm(t.d.reg), xmm(t.d.rm)];
    if (t.isRegister) t.pure(MOV128, toRegister ? reg : rm, toRegister ? rm : reg);
    else if (toRegister) t.memory(aligned ? LOAD128_ALIGNED : LOAD128, reg);
    else t.memory(aligned ? STORE128_ALIGNED : STORE128, reg);
  };

const zeroUpper = (t: Translator, place: number): void => void t.pure(MOV_IMM[3], place + 8, 0, 0, 0, 0);

/** MOVSS and MOVSD: a load clears the rest of the register, a move between registers keeps it. */
const moveScalar =
  (size: 2 | 3): Lowering =>
  (t, row) => {
    beginSse(t);
    const reg = xmm(t.d.reg);
    const toRegister = row.operands[0]?.startsWith('V');
    if (t.isRegister) copyLane(t, size, toRegister ? reg : xmm(t.d.rm), toRegister ? xmm(t.d.rm) : reg);
    else if (toRegister) {
      t.memory(LOAD[size], reg);
      zeroUpper(t, reg);
    } else t.memory(STORE[size], reg);
  };

/** MOVLPS, MOVHPS and their like: one half of a register and memory. */
const moveHalf =
  (offset: 0 | 8): Lowering =>
  (t, row) => {
    beginSse(t);
    const place = xmm(t.d.reg) + offset;
    t.memory(row.operands[0]?.startsWith('V') ? LOAD[3] : STORE[3], place);
  };

/** MOVD and MOVQ between a general register or memory and the low lane. */
function moveGeneral(t: Translator, row: Encoding): void {
  const size: Size = t.d.operandSize === 3 ? 3 : 2;
  const toVector = !row.operands[0]?.startsWith('E');
  const vector = isMmx(row) ? mmx(t.d.reg) : xmm(t.d.reg);
  const transfer = (): void => {
    if (toVector && t.isRegister) t.pure(MOV[size], vector, t.rmRegister(size));
    else if (toVector) t.memory(LOAD[size], vector);
    else if (t.isRegister) t.pure(MOV[size], t.rmRegister(size), vector);
    else t.memory(STORE[size], vector);
  };
  if (!isMmx(row)) {
    beginSse(t);
    transfer();
    if (toVector) zeroUpper(t, vector);
    return;
  }
  helper(t, 'mmxCheck');
  if (toVector && !t.isRegister) {
    t.memory(LOAD[size], OPERAND);
    helper(t, 'mmxUse');
    t.pure(MOV[3], vector, OPERAND);
  } else {
    helper(t, 'mmxTop');
    transfer();
    helper(t, 'mmxUse');
  }
  if (toVector) markWritten(t, vector);
}

/** MOVQ in its MMX and XMM forms. */
function moveQuad(t: Translator, row: Encoding): void {
  const [first = ''] = row.operands;
  if (isMmx(row)) {
    const reg = mmx(t.d.reg);
    if (first.startsWith('P')) {
      withMmx(
        t,
        () => qSource(t),
        (b) => {
          t.pure(MOV[3], reg, b);
          markWritten(t, reg);
        },
      );
      return;
    }
    helper(t, 'mmxCheck');
    helper(t, 'mmxTop');
    if (t.isRegister) t.pure(MOV[3], mmx(t.d.rm), reg);
    else t.memory(STORE[3], reg);
    helper(t, 'mmxUse');
    if (t.isRegister) markWritten(t, mmx(t.d.rm));
    return;
  }
  beginSse(t);
  const reg = xmm(t.d.reg);
  if (!t.isRegister) {
    t.memory(first.startsWith('V') ? LOAD[3] : STORE[3], reg);
    if (first.startsWith('V')) zeroUpper(t, reg);
    return;
  }
  const [to, from] = first.startsWith('V') ? [reg, xmm(t.d.rm)] : [xmm(t.d.rm), reg];
  t.pure(MOV[3], to, from);
  zeroUpper(t, to);
}

function storeMmx(t: Translator): void {
  helper(t, 'mmxCheck');
  helper(t, 'mmxTop');
  t.memory(STORE[3], mmx(t.d.reg));
  helper(t, 'mmxUse');
}

function betweenKinds(toXmm: boolean): Lowering {
  return (t) => {
    beginSse(t);
    withMmx(
      t,
      () => (toXmm ? mmx(t.d.rm) : xmm(t.d.rm)),
      (source) => {
        const to = toXmm ? xmm(t.d.reg) : mmx(t.d.reg);
        t.pure(MOV[3], to, source);
        if (toXmm) zeroUpper(t, to);
        else markWritten(t, to);
      },
    );
  };
}

const permuted =
  (op: number, sizeBytes: 8 | 16): Lowering =>
  (t) => {
    beginSse(t);
    t.pure(op, xmm(t.d.reg), wSource(t, sizeBytes));
  };

/** Two-bit lane numbers of the immediate as bytes of `unit` times the lane, plus the lanes' first for each. */
const laneBytes = (immediate: number, unit: number, firsts: readonly number[]): number =>
  firsts.reduce((all, first, i) => all | (((first + ((immediate >> (2 * i)) & 3)) * unit) << (8 * i)), 0);

const IDENTITY_HIGH = 0x0e0c0a08;
const IDENTITY_LOW = 0x06040200;

function shuffleWords(t: Translator, row: Encoding): void {
  const { immediate } = t.d;
  if (row.mnemonic === 'PSHUFW') {
    const a = mmx(t.d.reg);
    withMmx(
      t,
      () => qSource(t),
      (b) => {
        t.pure(SHUFFLE16_MMX, a, b, 0, laneBytes(immediate, 2, [0, 0, 0, 0]), IDENTITY_HIGH);
        markWritten(t, a);
      },
    );
    return;
  }
  beginSse(t);
  const low = row.mnemonic === 'PSHUFLW' ? laneBytes(immediate, 2, [0, 0, 0, 0]) : IDENTITY_LOW;
  const high = row.mnemonic === 'PSHUFLW' ? IDENTITY_HIGH : laneBytes(immediate, 2, [4, 4, 4, 4]);
  t.pure(SHUFFLE16, xmm(t.d.reg), wSource(t, 16), 0, low, high);
}

/** PSHUFD takes all lanes from the source, SHUFPS and SHUFPD the upper ones; lanes of the source are 4 to 7. */
function shuffleDoublewords(t: Translator, row: Encoding): void {
  beginSse(t);
  const { immediate } = t.d;
  const b = wSource(t, 16);
  let lanes: number;
  if (row.mnemonic === 'PSHUFD') lanes = laneBytes(immediate, 4, [4, 4, 4, 4]);
  else if (row.mnemonic === 'SHUFPS') lanes = laneBytes(immediate, 4, [0, 0, 4, 4]);
  else {
    const low = (immediate & 1) * 2;
    const high = ((immediate >> 1) & 1) * 2;
    lanes = (4 * low) | ((4 * low + 4) << 8) | ((16 + 4 * high) << 16) | ((20 + 4 * high) << 24);
  }
  t.pure(SHUFFLE32, xmm(t.d.reg), b, 0, lanes);
}

const withImmediate =
  (op: number): Lowering =>
  (t) => {
    beginSse(t);
    const b = wSource(t, 16);
    t.pure(op, xmm(t.d.reg), b, 0, t.d.immediate & 0xff);
  };

function alignRight(t: Translator, row: Encoding): void {
  const count = t.d.immediate & 0xff;
  if (!isMmx(row)) {
    beginSse(t);
    t.pure(PALIGNR, xmm(t.d.reg), wSource(t, 16), 0, Math.min(32, count));
    return;
  }
  const a = mmx(t.d.reg);
  withMmx(
    t,
    () => qSource(t),
    (b) => {
      t.pure(PALIGNR_MMX, a, b, 0, Math.min(16, count));
      markWritten(t, a);
    },
  );
}

function moveMask(xmmOp: number): Lowering {
  return (t, row) => {
    const to = t.gRegister(3);
    if (isMmx(row)) {
      withMmx(
        t,
        () => mmx(t.d.rm),
        (b) => void t.pure(PMOVMSKB_MMX, to, b),
      );
      return;
    }
    beginSse(t);
    t.pure(xmmOp, to, xmm(t.d.rm));
  };
}

const extending =
  (kind: ExtendingKind, op: number): Lowering =>
  (t) => {
    beginSse(t);
    t.pure(op, xmm(t.d.reg), wSource(t, EXTENDING[kind] as 2 | 4 | 8));
  };

/** Rare ones on two registers (or memory) and an immediate: helpers over bytes. */
const viaHelper =
  (name: 'phminposuw' | 'mpsadbw' | 'stringCompare', sizeBytes: 16, kind = 0): Lowering =>
  (t) => {
    beginSse(t);
    const aligned = name !== 'stringCompare';
    if (!t.isRegister) loadOperand(t, sizeBytes, aligned);
    const b = t.isRegister ? xmm(t.d.rm) : OPERAND;
    // The lengths of PCMPESTRx have the size of the general registers.
    helper(t, name, { a: xmm(t.d.reg), b, c: kind | (t.d.operandSize << 4), high: t.d.immediate & 0xff });
  };

function maskedMove(t: Translator, row: Encoding): void {
  const wide = !isMmx(row);
  if (wide) beginSse(t);
  else helper(t, 'mmxCheck');
  Object.assign(t.d, { base: STATE.GPR + 7 * 8, index: -1, scale: 0, displacement: 0, ripRelative: false });
  t.addressForHelper();
  if (!wide) helper(t, 'mmxUse');
  const place = wide ? xmm : mmx;
  helper(t, 'maskedMove', { a: place(t.d.reg), b: place(t.d.rm), c: TEMP_ADDRESS, high: wide ? 16 : 8 });
}

function crc32(t: Translator, row: Encoding): void {
  const size: Size = row.operands[1] === 'Eb' ? 0 : t.d.operandSize;
  const b = t.readRm(size);
  helper(t, 'crc32', { a: t.gRegister(3), b, c: size });
}

function moveNonTemporal(t: Translator): void {
  const size: Size = t.d.operandSize === 3 ? 3 : 2;
  t.memory(STORE[size], t.gRegister(size));
}

export const SIMD_LOWERINGS: Readonly<Record<string, Lowering>> = {
  ...SSE_FLOAT_LOWERINGS,
  ...LANE_LOWERINGS,
  ...byMnemonic(Object.keys(PACKED), packed),
  ...byMnemonic(Object.keys(SHIFTS), shift),
  ...byMnemonic(['MOVAPS', 'MOVAPD', 'MOVDQA', 'MOVNTPS', 'MOVNTPD', 'MOVNTDQ', 'MOVNTDQA'], move128(true)),
  ...byMnemonic(['MOVUPS', 'MOVUPD', 'MOVDQU', 'LDDQU'], move128(false)),
  ...Object.fromEntries(
    (Object.keys(EXTENDING) as ExtendingKind[]).flatMap((kind) => [
      [`PMOVSX${kind.toUpperCase()}`, extending(kind, PMOVSX[kind])],
      [`PMOVZX${kind.toUpperCase()}`, extending(kind, PMOVZX[kind])],
    ]),
  ),
  PSLLDQ: shiftBytes(PSLLDQ),
  PSRLDQ: shiftBytes(PSRLDQ),
  MOVSS: moveScalar(2),
  MOVSD: moveScalar(3),
  MOVLPS: moveHalf(0),
  MOVLPD: moveHalf(0),
  MOVHPS: moveHalf(8),
  MOVHPD: moveHalf(8),
  MOVHLPS: (t) => {
    beginSse(t);
    t.pure(MOV[3], xmm(t.d.reg), xmm(t.d.rm) + 8);
  },
  MOVLHPS: (t) => {
    beginSse(t);
    t.pure(MOV[3], xmm(t.d.reg) + 8, xmm(t.d.rm));
  },
  MOVD: moveGeneral,
  MOVQ: moveQuad,
  MOVNTQ: storeMmx,
  MOVNTI: moveNonTemporal,
  MOVQ2DQ: betweenKinds(true),
  MOVDQ2Q: betweenKinds(false),
  MOVDDUP: permuted(MOVDDUP, 8),
  MOVSLDUP: permuted(MOVSLDUP, 16),
  MOVSHDUP: permuted(MOVSHDUP, 16),
  MOVMSKPS: moveMask(MOVMSKPS),
  MOVMSKPD: moveMask(MOVMSKPD),
  PMOVMSKB: moveMask(PMOVMSKB),
  MASKMOVQ: maskedMove,
  MASKMOVDQU: maskedMove,
  PSHUFW: shuffleWords,
  PSHUFLW: shuffleWords,
  PSHUFHW: shuffleWords,
  PSHUFD: shuffleDoublewords,
  SHUFPS: shuffleDoublewords,
  SHUFPD: shuffleDoublewords,
  PBLENDW: withImmediate(PBLENDW),
  BLENDPS: withImmediate(BLENDPS),
  BLENDPD: withImmediate(BLENDPD),
  PALIGNR: alignRight,
  PTEST: (t) => {
    beginSse(t);
    const b = wSource(t, 16);
    t.setsFlags(PTEST, xmm(t.d.reg), b);
  },
  PHMINPOSUW: viaHelper('phminposuw', 16),
  MPSADBW: viaHelper('mpsadbw', 16),
  PCMPESTRM: viaHelper('stringCompare', 16, 0),
  PCMPESTRI: viaHelper('stringCompare', 16, 1),
  PCMPISTRM: viaHelper('stringCompare', 16, 2),
  PCMPISTRI: viaHelper('stringCompare', 16, 3),
  CRC32: crc32,
  EMMS: (t) => {
    helper(t, 'mmxCheck');
    helper(t, 'emms');
  },
};
