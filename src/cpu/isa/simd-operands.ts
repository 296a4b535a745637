/** Operands of MMX and SSE instructions as places of the state. */
import { STATE } from '../layout.ts';
import { LOAD, LOAD_ZX, MOV, MOV_IMM } from '../uops/data.ts';
import { LOAD128, LOAD128_ALIGNED, SSE_CHECK } from '../uops/simd.ts';
import { helper } from './lower-common.ts';
import type { Encoding } from './table.ts';
import type { Translator } from './translator.ts';

export const xmm = (number: number): number => STATE.XMM + number * 16;
export const mmx = (number: number): number => STATE.X87 + (number & 7) * 16;
/** A memory operand is copied here before it is used. */
export const OPERAND = STATE.XMM_TEMP;

/** Every instruction that uses XMM registers begins with this; the first of a block makes the check. */
export function beginSse(t: Translator): void {
  if (t.sseChecked) return;
  t.put(SSE_CHECK);
  t.sseChecked = true;
}

export const isMmx = (row: Encoding): boolean => row.operands.some((operand) => /^[PQN]/.test(operand));

/** Bytes that an operand's letters say. */
export function operandSize(t: Translator, operand: string): 2 | 4 | 8 | 16 {
  switch (operand.slice(1)) {
    case 'w':
      return 2;
    case 'd':
    case 'ss':
      return 4;
    case 'q':
    case 'sd':
    case 'pi':
      return 8;
    case 'y':
      return t.d.operandSize === 3 ? 8 : 4;
    default:
      return 16;
  }
}

/** The place of an XMM or memory operand; 16 bytes of memory must be aligned. */
export function wSource(t: Translator, sizeBytes: 2 | 4 | 8 | 16): number {
  if (t.isRegister) return xmm(t.d.rm);
  loadOperand(t, sizeBytes, true);
  return OPERAND;
}

export function loadOperand(t: Translator, sizeBytes: 2 | 4 | 8 | 16, aligned: boolean): void {
  if (sizeBytes === 16) t.memory(aligned ? LOAD128_ALIGNED : LOAD128, OPERAND);
  else if (sizeBytes === 8) t.memory(LOAD[3], OPERAND);
  else if (sizeBytes === 4) t.memory(LOAD[2], OPERAND);
  else t.memory(LOAD_ZX[1], OPERAND);
}

/** The place of an MMX or memory operand. */
export function qSource(t: Translator, sizeBytes: 4 | 8 = 8): number {
  if (t.isRegister) return mmx(t.d.rm);
  t.memory(sizeBytes === 8 ? LOAD[3] : LOAD[2], OPERAND);
  return OPERAND;
}

/**
 * An MMX instruction: faults first, then the operand, then what makes the x87 registers MMX registers, then the work. *Measured*:
 * TOP is cleared before a store or an SSE exception faults.
 */
export function withMmx(t: Translator, load: () => number, work: (source: number) => void): void {
  helper(t, 'mmxCheck');
  const source = load();
  helper(t, 'mmxUse');
  work(source);
}

/** A written MMX register has all ones for sign and exponent, SDM vol. 1 §9.5.1. */
export function markWritten(t: Translator, place: number): void {
  t.pure(MOV_IMM[1], place + 8, 0, 0, -1);
}

/** Moves one lane within the state. A 32-bit move would clear what follows, so it is done as two of 16 bits. */
export function copyLane(t: Translator, size: 2 | 3, to: number, from: number): void {
  if (size === 3) t.pure(MOV[3], to, from);
  else {
    t.pure(MOV[1], to, from);
    t.pure(MOV[1], to + 2, from + 2);
  }
}
