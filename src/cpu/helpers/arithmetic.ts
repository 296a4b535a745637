/** Division, rotates through carry and other arithmetic that is too rare or too long for micro-operations. */
import { FLAG, GPR, type Size, STATE, STOP } from '../layout.ts';
import { VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const RAX = STATE.GPR + GPR.RAX;
const RDX = STATE.GPR + GPR.RDX;

function divide(h: HelperContext, signed: boolean): Helper {
  return (record) => {
    const size = h.high(record) as Size;
    const bits = BigInt(8 << size);
    const divisorRaw = h.get64(h.a(record), size);
    if (divisorRaw === 0n) return h.fault(VECTOR.DE);
    const dividendRaw = size === 0 ? h.get64(RAX, 1) : (h.get64(RDX, size) << bits) | h.get64(RAX, size);
    const dividend = signed ? BigInt.asIntN(Number(bits) * 2, dividendRaw) : dividendRaw;
    const divisor = signed ? BigInt.asIntN(Number(bits), divisorRaw) : divisorRaw;
    const quotient = dividend / divisor;
    const remainder = dividend % divisor;
    const fits = signed
      ? BigInt.asIntN(Number(bits), quotient) === quotient
      : BigInt.asUintN(Number(bits), quotient) === quotient;
    if (!fits) return h.fault(VECTOR.DE);
    if (size === 0) h.set64(RAX, 1, (BigInt.asUintN(8, remainder) << 8n) | BigInt.asUintN(8, quotient));
    else {
      h.set64(RAX, size, BigInt.asUintN(Number(bits), quotient));
      h.set64(RDX, size, BigInt.asUintN(Number(bits), remainder));
    }
    return 0;
  };
}

/** RCL and RCR: the operand and CF together turn by the count modulo one more than the width. */
function rotateThroughCarry(h: HelperContext, left: boolean): Helper {
  return (record) => {
    const size = h.high(record) as Size;
    const bits = 8 << size;
    const raw = h.b(record) === 1 ? h.low(STATE.GPR + GPR.RCX) & 0xff : h.c(record);
    let count = raw & (size === 3 ? 63 : 31);
    const place = h.a(record);
    let value = h.get64(place, size);
    if (count === 0) {
      h.set64(place, size, value);
      return 0;
    }
    count %= bits + 1;
    const flags = h.cpu.flags;
    let carry = BigInt(flags & FLAG.CF);
    const top = BigInt(bits - 1);
    for (let i = 0; i < count; i++) {
      if (left) {
        const out = value >> top;
        value = BigInt.asUintN(bits, (value << 1n) | carry);
        carry = out;
      } else {
        const out = value & 1n;
        value = (value >> 1n) | (carry << top);
        carry = out;
      }
    }
    h.set64(place, size, value);
    const sign = Number(value >> top) & 1;
    const overflow = left ? sign ^ Number(carry) : sign ^ (Number(value >> (top - 1n)) & 1);
    h.cpu.arithmeticFlags = (flags & ~(FLAG.CF | FLAG.OF)) | Number(carry) | (overflow ? FLAG.OF : 0);
    return 0;
  };
}

/** SHLD and SHRD of 16 bits; counts above 16 leave the result undefined, here shifted on from both operands. */
function doubleShift16(h: HelperContext): Helper {
  return (record) => {
    const count = (h.c(record) === 0xffff ? h.low(STATE.GPR + GPR.RCX) : h.c(record)) & 31;
    if (count === 0) return 0;
    const left = h.high(record) === 1;
    const place = h.a(record);
    const value = Number(h.get64(place, 1));
    const fill = Number(h.get64(h.b(record), 1));
    const wide = left
      ? BigInt(value) * 0x100000000n + BigInt(fill) * 0x10000n + BigInt(value)
      : (BigInt(value) << 32n) + (BigInt(fill) << 16n) + BigInt(value);
    const shifted = left ? BigInt.asUintN(48, wide << BigInt(count)) >> 32n : (wide >> BigInt(count)) & 0xffffn;
    const carry = left ? Number((wide >> BigInt(48 - count)) & 1n) : Number((wide >> BigInt(count - 1)) & 1n);
    const result = Number(shifted);
    h.set64(place, 1, shifted);
    const parity = (0x9669 >> ((result ^ (result >> 4)) & 15)) & 1;
    const overflow = ((result ^ value) >> 15) & 1;
    h.cpu.arithmeticFlags =
      carry |
      (parity ? FLAG.PF : 0) |
      (result === 0 ? FLAG.ZF : 0) |
      (result & 0x8000 ? FLAG.SF : 0) |
      (overflow ? FLAG.OF : 0);
    return 0;
  };
}

/** LOOP, LOOPE, LOOPNE and JRCXZ. */
function loop(h: HelperContext): Helper {
  const RCX = STATE.GPR + GPR.RCX;
  return (record) => {
    const kind = h.a(record);
    const size = h.b(record) as Size;
    let counter = h.get64(RCX, size);
    if (kind !== 3) {
      counter = BigInt.asUintN(8 << size, counter - 1n);
      h.set64(RCX, size, counter);
    }
    const zero = (h.cpu.flags & FLAG.ZF) !== 0;
    const taken = kind === 3 ? counter === 0n : counter !== 0n && (kind === 0 || (kind === 1) === zero);
    if (!taken) return 0;
    h.cpu.setRipOf(record, h.high(record) - h.cpu.code.place(record));
    // c: the target is cut to 16 bits.
    if (h.c(record) === 1) h.cpu.setInstructionPointer(h.cpu.instructionPointerLow & 0xffff, 0);
    return STOP.LOOKUP;
  };
}

export function arithmeticHelpers(h: HelperContext) {
  return {
    div: divide(h, false),
    idiv: divide(h, true),
    rcl: rotateThroughCarry(h, true),
    rcr: rotateThroughCarry(h, false),
    doubleShift16: doubleShift16(h),
    loop: loop(h),
    /** a = b, cleared above 32 bits, when ZF is c; else a stays whole. */
    moveKeeping32: (record: number) => {
      if (((h.cpu.flags & FLAG.ZF) !== 0) === (h.c(record) === 1)) h.set(h.a(record), h.low(h.b(record)), 0);
      return 0;
    },
    /** Begins the instruction again when a and b differ, the carry flag as it was, in the byte at c. */
    retryUnlessSame: (record: number) => {
      const size = h.high(record) as Size;
      if (h.get64(h.a(record), size) === h.get64(h.b(record), size)) return 0;
      if (h.c(record) !== 0) h.cpu.arithmeticFlags = h.cpu.bytes[h.c(record)] === 0 ? 0 : FLAG.CF;
      h.cpu.setRipOf(record, 0);
      return STOP.LOOKUP;
    },
    ahFlags: (record: number) => {
      const { bytes } = h.cpu;
      if (h.a(record) === 1) bytes[RAX + 1] = (h.cpu.flags & 0xd5) | 2;
      else h.cpu.arithmeticFlags = (h.cpu.flags & FLAG.OF) | ((bytes[RAX + 1] as number) & 0xd5);
      return 0;
    },
    setDirection: (record: number) => {
      const { words } = h.cpu;
      const rest = (words[STATE.FLAGS >> 2] as number) & ~FLAG.DF;
      words[STATE.FLAGS >> 2] = rest | (h.a(record) === 1 ? FLAG.DF : 0);
      return 0;
    },
  } satisfies Record<string, Helper>;
}
