/** Single lanes of vectors to and from general registers and memory. */
import type { Size } from '../layout.ts';
import { extensionKey, LOAD, LOAD_ZX, MOV, MOV_IMM, MOVZX, STORE } from '../uops/data.ts';
import type { Lowering } from './lower-common.ts';
import { beginSse, copyLane, isMmx, markWritten, mmx, withMmx, xmm } from './simd-operands.ts';
import { TEMP0, TEMP1, type Translator } from './translator.ts';

/** PEXTRx and EXTRACTPS: a lane of the register to a general register or memory. */
const extract =
  (size: 0 | 1 | 2): Lowering =>
  (t, row) => {
    const lane: Size = size === 2 && row.mnemonic === 'PEXTRD' && t.d.operandSize === 3 ? 3 : size;
    const offset = (t.d.immediate & (15 >> lane)) << lane;
    const toMemory = !t.isRegister;
    // PEXTRW of map 1 has the vector in ModRM.rm.
    const vectorInRm = row.operands[0] === 'Gd';
    const take = (vector: number): void => {
      const from = vector + offset;
      if (toMemory) t.memory(STORE[lane], from);
      else {
        const to = vectorInRm ? t.gRegister(3) : t.rmRegister(3);
        if (lane >= 2) t.pure(MOV[lane], to, from);
        else t.pure(MOVZX.get(extensionKey(lane, 2)) as number, to, from);
      }
    };
    if (isMmx(row)) {
      withMmx(
        t,
        () => mmx(t.d.rm) + ((t.d.immediate & 3) << 1),
        (from) => void t.pure(MOVZX.get(extensionKey(1, 2)) as number, t.gRegister(3), from),
      );
      return;
    }
    beginSse(t);
    take(xmm(vectorInRm ? t.d.rm : t.d.reg));
  };

/** PINSRx: a lane from a general register or memory. */
const insert =
  (size: 0 | 1 | 2): Lowering =>
  (t, row) => {
    const lane: Size = size === 2 && t.d.operandSize === 3 ? 3 : size;
    const load = (): number => {
      if (t.isRegister) return t.d.register(t.d.rm, 3);
      if (lane >= 2) t.memory(LOAD[lane], TEMP0);
      else t.memory(LOAD_ZX[lane as 0 | 1], TEMP0);
      return TEMP0;
    };
    const put = (to: number, from: number): void => {
      if (lane === 2) copyLane(t, 2, to, from);
      else t.pure(MOV[lane], to, from);
    };
    if (isMmx(row)) {
      const a = mmx(t.d.reg);
      withMmx(t, load, (from) => {
        put(a + ((t.d.immediate & 3) << 1), from);
        markWritten(t, a);
      });
      return;
    }
    beginSse(t);
    put(xmm(t.d.reg) + ((t.d.immediate & (15 >> lane)) << lane), load());
  };

function insertPs(t: Translator): void {
  beginSse(t);
  const { immediate } = t.d;
  let from = xmm(t.d.rm) + ((immediate >> 6) & 3) * 4;
  if (!t.isRegister) {
    t.memory(LOAD[2], TEMP0);
    from = TEMP0;
  } else {
    t.pure(MOV[2], TEMP0, from);
    from = TEMP0;
  }
  const a = xmm(t.d.reg);
  copyLane(t, 2, a + ((immediate >> 4) & 3) * 4, from);
  t.pure(MOV_IMM[3], TEMP1, 0, 0, 0, 0);
  for (let lane = 0; lane < 4; lane++) if ((immediate >> lane) & 1) copyLane(t, 2, a + lane * 4, TEMP1);
}

export const LANE_LOWERINGS: Readonly<Record<string, Lowering>> = {
  PEXTRB: extract(0),
  PEXTRW: extract(1),
  PEXTRD: extract(2),
  EXTRACTPS: extract(2),
  PINSRB: insert(0),
  PINSRW: insert(1),
  PINSRD: insert(2),
  INSERTPS: insertPs,
};
