/** In which mode the code runs that comes next, as far as decoding depends on it. */
import { CODE_KEY, SEGMENT, STATE } from './layout.ts';
import { ATTRIBUTE, CR0, EFER, type Segment, type SystemState } from './system-state.ts';

const BASED = [SEGMENT.ES, SEGMENT.CS, SEGMENT.SS, SEGMENT.DS] as const;

/** A sum of CODE_KEY for the segments and modes in force (SDM vol. 3 §2.2 and §5.2.1). */
export function codeKey(system: SystemState, words: Int32Array): number {
  const { attributes } = system.segments[SEGMENT.CS] as Segment;
  if ((system.efer & EFER.LMA) !== 0 && (attributes & ATTRIBUTE.LONG) !== 0) return CODE_KEY.LONG;
  let key: number = CODE_KEY.LEGACY;
  if ((attributes & ATTRIBUTE.BIG) === 0) key |= CODE_KEY.CODE16;
  if (((system.segments[SEGMENT.SS] as Segment).attributes & ATTRIBUTE.BIG) === 0) key |= CODE_KEY.STACK16;
  for (const number of BASED) {
    const hasBase = words[(STATE.SEGMENT_BASE + number * 8) >> 2] !== 0;
    if (hasBase || isChecked(system, number)) key |= CODE_KEY.ADDS_BASES;
  }
  return key;
}

/** Whether not every address may be reached through a segment register: it is null, or there is a limit. */
export function isChecked(system: SystemState, number: number): boolean {
  const { attributes, limit } = system.segments[number] as Segment;
  const expandsDown = (attributes & (ATTRIBUTE.CODE | ATTRIBUTE.CONFORMING)) === ATTRIBUTE.CONFORMING;
  return isProtected(system) && ((attributes & ATTRIBUTE.PRESENT) === 0 || limit !== 0xffffffff || expandsDown);
}

export const isProtected = (system: SystemState): boolean => (system.cr0 & CR0.PE) !== 0;
export const isLongMode = (system: SystemState): boolean => (system.efer & EFER.LMA) !== 0;
