/** PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM vol. 2 §4.1, "Imm8 Control Byte Operation"). */
import { FLAG, GPR, STATE } from '../layout.ts';
import type { Helper, HelperContext } from './context.ts';

/** Kinds in a record: bit 0 gives an index instead of a mask, bit 1 has lengths implied by a zero element. */
const KIND = { INDEX: 1, IMPLICIT: 2 } as const;

/** Fields of the immediate. */
const IMMEDIATE = {
  WORDS: 1,
  SIGNED: 2,
  AGGREGATION: 0x0c,
  NEGATE: 0x10,
  NEGATE_VALID_ONLY: 0x20,
  LAST: 0x40,
} as const;
const AGGREGATION = { EQUAL_ANY: 0x00, RANGES: 0x04, EQUAL_EACH: 0x08, EQUAL_ORDERED: 0x0c } as const;

const RAX = STATE.GPR + GPR.RAX;
const RDX = STATE.GPR + GPR.RDX;
const RCX = STATE.GPR + GPR.RCX;

export function stringCompare(h: HelperContext): Helper {
  const { cpu } = h;
  const { bytes } = cpu;

  const element = (place: number, i: number, immediate: number): number => {
    const isWord = (immediate & IMMEDIATE.WORDS) !== 0;
    const value = isWord
      ? (bytes[place + 2 * i] as number) | ((bytes[place + 2 * i + 1] as number) << 8)
      : (bytes[place + i] as number);
    if ((immediate & IMMEDIATE.SIGNED) === 0) return value;
    return isWord ? (value << 16) >> 16 : (value << 24) >> 24;
  };

  const implicitLength = (place: number, immediate: number): number => {
    const count = elementCount(immediate);
    for (let i = 0; i < count; i++) if (element(place, i, immediate & IMMEDIATE.WORDS) === 0) return i;
    return count;
  };

  /** The absolute value, cut to the number of elements. */
  const explicitLength = (place: number, wide: boolean, immediate: number): number => {
    const low = h.low(place);
    const value = wide ? Number(BigInt.asIntN(64, h.get64(place, 3))) : low;
    return Math.min(Math.abs(value), elementCount(immediate));
  };

  /** Bit j: what holds for element j of the second operand. */
  const compare = (record: number, lengthA: number, lengthB: number): number => {
    const a = h.a(record);
    const b = h.b(record);
    const immediate = h.high(record);
    const count = elementCount(immediate);
    let bits = 0;
    for (let j = 0; j < count; j++) {
      if (holds({ a, b, lengthA, lengthB, immediate, count, j })) bits |= 1 << j;
    }
    return bits;
  };

  interface Comparison {
    readonly a: number;
    readonly b: number;
    readonly lengthA: number;
    readonly lengthB: number;
    readonly immediate: number;
    readonly count: number;
    readonly j: number;
  }

  const holds = (c: Comparison): boolean => {
    const { immediate, j } = c;
    const validB = j < c.lengthB;
    switch (immediate & IMMEDIATE.AGGREGATION) {
      case AGGREGATION.EQUAL_ANY:
        return validB && any(c, 1, (x, i) => element(c.a, i, immediate) === x);
      case AGGREGATION.RANGES:
        return (
          validB &&
          any(
            c,
            2,
            (x, i) => i + 1 < c.lengthA && element(c.a, i, immediate) <= x && x <= element(c.a, i + 1, immediate),
          )
        );
      case AGGREGATION.EQUAL_EACH: {
        const validA = j < c.lengthA;
        if (!validA || !validB) return validA === validB;
        return element(c.a, j, immediate) === element(c.b, j, immediate);
      }
      default:
        return ordered(c);
    }
  };

  const any = ({ b, lengthA, immediate, j }: Comparison, step: number, test: (x: number, i: number) => boolean) => {
    const x = element(b, j, immediate);
    for (let i = 0; i < lengthA; i += step) if (test(x, i)) return true;
    return false;
  };

  /** Whether the first operand stands in the second from j on; what lies beyond the register's end counts as found. */
  const ordered = ({ a, b, lengthA, lengthB, immediate, count, j }: Comparison): boolean => {
    for (let i = 0; i < lengthA && j + i < count; i++) {
      if (j + i >= lengthB || element(a, i, immediate) !== element(b, j + i, immediate)) return false;
    }
    return true;
  };

  return (record) => {
    const kind = h.c(record) & 3;
    const wide = h.c(record) >> 4 === 3;
    const immediate = h.high(record);
    const count = elementCount(immediate);
    const implicit = (kind & KIND.IMPLICIT) !== 0;
    const lengthA = implicit ? implicitLength(h.a(record), immediate) : explicitLength(RAX, wide, immediate);
    const lengthB = implicit ? implicitLength(h.b(record), immediate) : explicitLength(RDX, wide, immediate);
    let bits = compare(record, lengthA, lengthB);
    const all = (1 << count) - 1;
    if ((immediate & IMMEDIATE.NEGATE) !== 0) {
      const validOnly = (immediate & IMMEDIATE.NEGATE_VALID_ONLY) !== 0;
      bits ^= validOnly ? (1 << lengthB) - 1 : all;
    }
    if ((kind & KIND.INDEX) !== 0) h.set(RCX, indexOf(bits, count, immediate), 0);
    else writeMask(bits, count, immediate);
    cpu.arithmeticFlags =
      (bits !== 0 ? FLAG.CF : 0) |
      (lengthB < count ? FLAG.ZF : 0) |
      (lengthA < count ? FLAG.SF : 0) |
      (bits & 1 ? FLAG.OF : 0);
    return 0;
  };

  function writeMask(bits: number, count: number, immediate: number): void {
    const isByteMask = (immediate & IMMEDIATE.LAST) !== 0;
    if (!isByteMask) {
      h.set(STATE.XMM, bits, 0);
      h.set(STATE.XMM + 8, 0, 0);
      return;
    }
    const size = 16 / count;
    for (let i = 0; i < 16; i++) bytes[STATE.XMM + i] = (bits >> Math.floor(i / size)) & 1 ? 0xff : 0;
  }
}

const elementCount = (immediate: number): number => ((immediate & IMMEDIATE.WORDS) !== 0 ? 8 : 16);

function indexOf(bits: number, count: number, immediate: number): number {
  if (bits === 0) return count;
  return (immediate & IMMEDIATE.LAST) !== 0 ? 31 - Math.clz32(bits) : 31 - Math.clz32(bits & -bits);
}
