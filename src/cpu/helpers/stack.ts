/** Instructions with several pushes or pops, and branches that cut the instruction pointer to 16 bits. */
import { FLAG, GPR, type Size, STATE, STOP } from '../layout.ts';
import type { Helper, HelperContext } from './context.ts';

const RSP = STATE.GPR + GPR.RSP;
const RBP = STATE.GPR + GPR.RBP;

function flags(h: HelperContext) {
  const { cpu } = h;
  const { words, stack } = cpu;
  const f = STATE.FLAGS >> 2;
  return {
    /** The upper immediate is the operand size. */
    pushf: (record: number) => {
      stack.begin(record);
      if (!stack.push(h.high(record) as Size, cpu.flags & ~(FLAG.RF | FLAG.VM))) return STOP.FAULT;
      stack.commit();
      return 0;
    },
    popf: (record: number) => {
      const size = h.high(record) as Size;
      stack.begin();
      if (!stack.pop(size)) return STOP.FAULT;
      const old = words[f] as number;
      // A 16-bit operand leaves the upper half alone.
      const value = size === 1 ? stack.valueLow | (cpu.flags & ~0xffff) : stack.valueLow;
      let mask: number = FLAG.TF | FLAG.DF | FLAG.NT | FLAG.AC | FLAG.ID;
      if (cpu.system.cpl === 0) mask |= FLAG.IOPL;
      if (cpu.system.cpl <= ((old >> 12) & 3)) mask |= FLAG.IF;
      cpu.flags = (old & ~mask & ~0x8d5 & ~FLAG.RF) | (value & (mask | 0x8d5));
      stack.commit();
      cpu.mmu.selectMode();
      return cpu.interruptible || (value & FLAG.TF) !== 0 ? h.resyncAfter(record) : 0;
    },
  } satisfies Record<string, Helper>;
}

/** ENTER. a: bytes of locals, b: nesting level, upper immediate: operand size. */
function enter(h: HelperContext): Helper {
  const { cpu } = h;
  const { stack, mmu } = cpu;
  return (record) => {
    const size = h.high(record) as Size;
    const level = h.b(record);
    const width = 1 << size;
    stack.begin(record);
    if (!stack.push(size, h.low(RBP), h.highOf(RBP))) return STOP.FAULT;
    const [frameLow, frameHigh] = [stack.low, stack.high];
    for (let i = 1; i < level; i++) {
      if (!stack.readFrom(h.low(RBP), h.highOf(RBP), -i * width, size)) return STOP.FAULT;
      if (!stack.push(size, stack.valueLow, stack.valueHigh)) return STOP.FAULT;
    }
    if (level > 0 && !stack.push(size, frameLow, frameHigh)) return STOP.FAULT;
    stack.move(-h.a(record));
    // The new top of the stack must be writable.
    if (!stack.probe()) return STOP.FAULT;
    stack.commit();
    if (size === 1) cpu.words[RBP >> 2] = (h.low(RBP) & 0xffff0000) | (frameLow & 0xffff);
    else h.set(RBP, frameLow, mmu.isLegacy || size === 2 ? 0 : frameHigh);
    return 0;
  };
}

function all(h: HelperContext) {
  const { cpu } = h;
  const { stack, words } = cpu;
  const place = (number: number): number => STATE.GPR + number * 8;
  return {
    pusha: (record: number) => {
      const size = h.high(record) as Size;
      stack.begin(record);
      for (let n = 0; n < 8; n++) if (!stack.push(size, h.low(place(n)))) return STOP.FAULT;
      stack.commit();
      return 0;
    },
    popa: (record: number) => {
      const size = h.high(record) as Size;
      stack.begin();
      // *Measured*: what was popped before a fault stays in its register.
      for (let n = 7; n >= 0; n--) {
        if (!stack.pop(size)) return STOP.FAULT;
        if (place(n) === RSP) continue;
        if (size === 1) words[place(n) >> 2] = (h.low(place(n)) & 0xffff0000) | stack.valueLow;
        else h.set(place(n), stack.valueLow, 0);
      }
      stack.commit();
      return 0;
    },
  } satisfies Record<string, Helper>;
}

export function stackHelpers(h: HelperContext) {
  const { cpu } = h;
  return {
    ...flags(h),
    ...all(h),
    enter: enter(h),
    /** Goes to the page offset in the upper immediate, cut to 16 bits, unless a is the place of a 0. */
    branch16: (record: number) => {
      const condition = h.a(record);
      if (condition !== 0 && cpu.bytes[condition] === 0) return 0;
      cpu.setRipOf(record, h.high(record) - cpu.code.place(record));
      cpu.setInstructionPointer(cpu.instructionPointerLow & 0xffff, 0);
      return STOP.LOOKUP;
    },
    /** a = instruction pointer of the next instruction. */
    returnAddress: (record: number) => {
      cpu.setRipAfter(record);
      h.set(h.a(record), cpu.instructionPointerLow, 0);
      return 0;
    },
  } satisfies Record<string, Helper>;
}
