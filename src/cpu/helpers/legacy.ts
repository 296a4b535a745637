/** Instructions that 64-bit mode does not have: decimal arithmetic, BOUND and INTO; and segments' limits. */
import { FLAG, GPR, type Size, STATE, STOP } from '../layout.ts';
import { VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const AL = STATE.GPR + GPR.RAX;
const AH = AL + 1;
/** Kinds as the lowering numbers them. */
const KIND = { DAA: 0, DAS: 1, AAA: 2, AAS: 3, AAM: 4, AAD: 5, SALC: 6 } as const;

/** SF, ZF and PF of a byte. */
function flagsOfByte(value: number): number {
  const parity = (0x9669 >> ((value ^ (value >> 4)) & 15)) & 1;
  return (value & 0x80 ? FLAG.SF : 0) | (value === 0 ? FLAG.ZF : 0) | (parity ? FLAG.PF : 0);
}

/** a: kind, b: immediate. */
function decimalAdjust(h: HelperContext): Helper {
  const { cpu } = h;
  const { bytes } = cpu;
  const packed = (sign: 1 | -1): void => {
    const al = bytes[AL] as number;
    const { flags } = cpu;
    const low = (al & 15) > 9 || (flags & FLAG.AF) !== 0;
    const high = al > 0x99 || (flags & FLAG.CF) !== 0;
    // *Measured*: DAS also borrows when taking 6 away goes below zero (SDM vol. 2, DAS).
    const borrow = sign < 0 && low && al < 6;
    const result = (al + sign * ((low ? 6 : 0) + (high ? 0x60 : 0))) & 0xff;
    bytes[AL] = result;
    cpu.arithmeticFlags = (low ? FLAG.AF : 0) | (high || borrow ? FLAG.CF : 0) | flagsOfByte(result);
  };
  const unpacked = (sign: 1 | -1): void => {
    const adjusts = ((bytes[AL] as number) & 15) > 9 || (cpu.flags & FLAG.AF) !== 0;
    if (adjusts) {
      const ax = ((bytes[AH] as number) << 8) | (bytes[AL] as number);
      const sum = ax + sign * 0x106;
      bytes[AL] = sum & 0xff;
      bytes[AH] = (sum >> 8) & 0xff;
    }
    bytes[AL] = (bytes[AL] as number) & 15;
    cpu.arithmeticFlags = (adjusts ? FLAG.AF | FLAG.CF : 0) | flagsOfByte(bytes[AL] as number);
  };
  return (record) => {
    const base = h.b(record);
    switch (h.a(record)) {
      case KIND.DAA:
        packed(1);
        return 0;
      case KIND.DAS:
        packed(-1);
        return 0;
      case KIND.AAA:
        unpacked(1);
        return 0;
      case KIND.AAS:
        unpacked(-1);
        return 0;
      case KIND.AAM: {
        if (base === 0) return h.fault(VECTOR.DE);
        const al = bytes[AL] as number;
        bytes[AH] = Math.trunc(al / base);
        bytes[AL] = al % base;
        break;
      }
      case KIND.AAD:
        bytes[AL] = (bytes[AL] as number) + (bytes[AH] as number) * base;
        bytes[AH] = 0;
        break;
      default:
        bytes[AL] = (cpu.flags & FLAG.CF) !== 0 ? 0xff : 0;
        return 0;
    }
    cpu.arithmeticFlags = flagsOfByte(bytes[AL] as number);
    return 0;
  };
}

/** BOUND: b is the index, a the address of the lower and the upper bound. */
function bound(h: HelperContext): Helper {
  const { cpu } = h;
  const { mmu } = cpu;
  return (record) => {
    const size = h.high(record) as Size;
    const width = 1 << size;
    const place = STATE.BOUNCE;
    const [low, high] = [h.low(h.a(record)), h.highOf(h.a(record))];
    const signed = (at: number): number => (size === 1 ? (h.low(at) << 16) >> 16 : h.low(at));
    const index = signed(h.b(record));
    if (!mmu.readVirtual(low, high, place, width, mmu.userBit)) return STOP.FAULT;
    if (index < signed(place)) return h.fault(VECTOR.BR);
    if (!mmu.readVirtual((low + width) | 0, high, place, width, mmu.userBit)) return STOP.FAULT;
    return index > signed(place) ? h.fault(VECTOR.BR) : 0;
  };
}

export function legacyHelpers(h: HelperContext) {
  return {
    decimalAdjust: decimalAdjust(h),
    bound: bound(h),
    /** An access through segment register c at the effective address in a. */
    checkSegment: (record: number) => (h.cpu.segments.mayAccess(h.c(record), h.low(h.a(record))) ? 0 : STOP.FAULT),
    into: (record: number) => {
      if ((h.cpu.flags & FLAG.OF) === 0) return 0;
      h.cpu.setRipAfter(record);
      return h.cpu.exceptions.deliverSoftware(VECTOR.OF) ? STOP.RESYNC : STOP.FAULT;
    },
  } satisfies Record<string, Helper>;
}
