/** Delivery of interrupts and exceptions, and the return from them, in 64-bit mode (SDM vol. 3 §6.14). */
import type { Cpu } from './cpu.ts';
import { FLAG, GPR, SEGMENT, STATE } from './layout.ts';
import { VECTOR } from './system-state.ts';

const GATE = { INTERRUPT: 0xe, TRAP: 0xf, PRESENT: 0x8000 } as const;
/** Attribute bits of a code segment descriptor's upper half. */
const CODE = { LONG: 1 << 21, DPL_SHIFT: 13, PRESENT: 0x8000 } as const;
/** Where frames are put together: after the bytes of piecewise accesses. */
const FRAME = STATE.BOUNCE + 0x20;
const CONTRIBUTORY = new Set<number>([VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP]);

export class ExceptionUnit {
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Delivers the exception in the system state; false when that ends in a shutdown. */
  deliverPending(): boolean {
    const { system } = this.#cpu;
    const vector = system.vector;
    if (this.#deliver(vector, system.errorCode, false)) return true;
    const second = system.vector;
    const doubles =
      (CONTRIBUTORY.has(vector) && CONTRIBUTORY.has(second)) ||
      (vector === VECTOR.PF && (second === VECTOR.PF || CONTRIBUTORY.has(second)));
    if (!doubles) {
      // A fault while delivering a benign exception is delivered in its place.
      if (this.#deliver(second, system.errorCode, false)) return true;
    }
    return this.#deliver(VECTOR.DF, 0, false);
  }

  /** An external interrupt; when its delivery faults, that exception is delivered. */
  deliverExternal(vector: number): boolean {
    return this.#deliver(vector, -1, false) || this.deliverPending();
  }

  /** INT n, INT3, INTO: the gate's DPL counts. RIP is already that of the next instruction. False: the instruction faults. */
  deliverSoftware(vector: number): boolean {
    return this.#deliver(vector, -1, true);
  }

  #deliver(vector: number, errorCode: number, software: boolean): boolean {
    const { mmu, system, words } = this.#cpu;
    const gateError = vector * 8 + (software ? 2 : 3);
    const { idt } = system;
    if (vector * 16 + 15 > idt.limit) return this.#fault(VECTOR.GP, gateError);
    const at = (idt.baseLow >>> 0) + vector * 16;
    if (!mmu.readVirtual(at | 0, idt.baseHigh + (at >= 0x100000000 ? 1 : 0), FRAME, 16, 0)) return false;
    const w = FRAME >> 2;
    const first = words[w] as number;
    const second = words[w + 1] as number;
    const type = (second >> 8) & 0x1f;
    if (type !== GATE.INTERRUPT && type !== GATE.TRAP) return this.#fault(VECTOR.GP, gateError);
    if (software && ((second >> 13) & 3) < system.cpl) return this.#fault(VECTOR.GP, gateError);
    if ((second & GATE.PRESENT) === 0) return this.#fault(VECTOR.NP, gateError);
    const offsetLow = (first & 0xffff) | (second & 0xffff0000);
    const offsetHigh = words[w + 2] as number;
    return this.#enter(first >>> 16, offsetLow, offsetHigh, second & 7, { errorCode, trap: type === GATE.TRAP });
  }

  #fault(vector: number, errorCode: number): false {
    this.#cpu.mmu.raise(vector, errorCode);
    return false;
  }

  /** Reads a descriptor into FRAME; false after a fault. */
  readDescriptor(selector: number, sizeBytes: 8 | 16, vector: number = VECTOR.GP): boolean {
    const { mmu, system } = this.#cpu;
    const table = selector & 4 ? system.ldt : system.gdt;
    const offset = selector & 0xfff8;
    if (offset + sizeBytes - 1 > table.limit) return this.#fault(vector, selector & 0xfffc);
    const at = (table.baseLow >>> 0) + offset;
    return mmu.readVirtual(at | 0, table.baseHigh + (at >= 0x100000000 ? 1 : 0), FRAME, sizeBytes, 0);
  }

  get descriptorLow(): number {
    return this.#cpu.words[FRAME >> 2] as number;
  }

  get descriptorHigh(): number {
    return this.#cpu.words[(FRAME >> 2) + 1] as number;
  }

  get descriptorBaseHigh(): number {
    return this.#cpu.words[(FRAME >> 2) + 2] as number;
  }

  #enter(
    selector: number,
    ripLow: number,
    ripHigh: number,
    ist: number,
    how: { errorCode: number; trap: boolean },
  ): boolean {
    const cpu = this.#cpu;
    const { system, words, mmu } = cpu;
    if ((selector & 0xfffc) === 0) return this.#fault(VECTOR.GP, 0);
    if (!this.readDescriptor(selector, 8)) return false;
    const attributes = this.descriptorHigh;
    if ((attributes & CODE.PRESENT) === 0) return this.#fault(VECTOR.NP, selector & 0xfffc);
    if ((attributes & CODE.LONG) === 0) return this.#fault(VECTOR.GP, selector & 0xfffc);
    const conforming = (attributes & 0x400) !== 0;
    const cpl = conforming ? system.cpl : (attributes >> CODE.DPL_SHIFT) & 3;
    if (cpl > system.cpl) return this.#fault(VECTOR.GP, selector & 0xfffc);
    const oldSp = STATE.GPR + GPR.RSP;
    let spLow = words[oldSp >> 2] as number;
    let spHigh = words[(oldSp >> 2) + 1] as number;
    const saved = { low: spLow, high: spHigh };
    if (ist !== 0 || cpl !== system.cpl) {
      const at = (system.tr.baseLow >>> 0) + (ist !== 0 ? 0x24 + (ist - 1) * 8 : 4 + cpl * 8);
      if (!mmu.readVirtual(at | 0, system.tr.baseHigh + (at >= 0x100000000 ? 1 : 0), FRAME, 8, 0)) return false;
      spLow = words[FRAME >> 2] as number;
      spHigh = words[(FRAME >> 2) + 1] as number;
    }
    spLow &= ~15;
    const sizeBytes = how.errorCode >= 0 ? 48 : 40;
    const size = this.#writeFrame(saved, how.errorCode);
    const newLow = (spLow - sizeBytes) | 0;
    const newHigh = (spHigh - (spLow >>> 0 < sizeBytes ? 1 : 0)) | 0;
    const oldCpl = system.cpl;
    system.cpl = cpl;
    if (!mmu.writeVirtual(newLow, newHigh, FRAME, size, 0, cpl === 3 ? 4 : 0)) {
      system.cpl = oldCpl;
      return mmu.nonCanonical ? this.#fault(VECTOR.SS, 0) : false;
    }
    words[oldSp >> 2] = newLow;
    words[(oldSp >> 2) + 1] = newHigh;
    const cs = system.segments[SEGMENT.CS] as { selector: number; attributes: number };
    cs.selector = (selector & 0xfffc) | cpl;
    cs.attributes = (attributes >> 8) & 0xf0ff;
    if (cpl !== oldCpl) (system.segments[SEGMENT.SS] as { selector: number }).selector = cpl;
    const clear = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM | (how.trap ? 0 : FLAG.IF);
    words[STATE.FLAGS >> 2] = (words[STATE.FLAGS >> 2] as number) & ~clear;
    cpu.setRip(ripLow, ripHigh);
    mmu.selectMode();
    return true;
  }

  /** Builds the frame from low to high addresses: error code, RIP, CS, RFLAGS, RSP, SS. Returns its size. */
  #writeFrame(sp: { low: number; high: number }, errorCode: number): number {
    const { words, system } = this.#cpu;
    const flags = this.#cpu.flags;
    let w = FRAME >> 2;
    const push = (low: number, high: number): void => {
      words[w++] = low;
      words[w++] = high;
    };
    if (errorCode >= 0) push(errorCode, 0);
    push(words[STATE.RIP >> 2] as number, words[(STATE.RIP >> 2) + 1] as number);
    push((system.segments[SEGMENT.CS] as { selector: number }).selector, 0);
    push(flags, 0);
    push(sp.low, sp.high);
    push((system.segments[SEGMENT.SS] as { selector: number }).selector, 0);
    return w * 4 - FRAME;
  }

  /** IRETQ: RIP, CS, RFLAGS, RSP and SS from the stack. False after a fault. */
  iret(): boolean {
    const cpu = this.#cpu;
    const { system, words, mmu } = cpu;
    const sp = STATE.GPR + GPR.RSP;
    if (!mmu.readVirtual(words[sp >> 2] as number, words[(sp >> 2) + 1] as number, FRAME, 40, mmu.userBit))
      return false;
    const frame = words.slice(FRAME >> 2, (FRAME >> 2) + 10);
    const at = (i: number): number => frame[i] as number;
    const selector = at(2) & 0xffff;
    const cpl = selector & 3;
    if ((selector & 0xfffc) === 0 || cpl < system.cpl) return this.#fault(VECTOR.GP, selector & 0xfffc);
    if (!this.readDescriptor(selector, 8)) return false;
    const attributes = this.descriptorHigh;
    if ((attributes & CODE.LONG) === 0) return this.#fault(VECTOR.GP, selector & 0xfffc);
    if (at(1) >> 15 !== 0 && at(1) >> 15 !== -1) return this.#fault(VECTOR.GP, 0);
    const old = words[STATE.FLAGS >> 2] as number;
    let mask: number = FLAG.TF | FLAG.DF | FLAG.NT | FLAG.RF | FLAG.AC | FLAG.ID;
    if (system.cpl === 0) mask |= FLAG.IOPL | FLAG.VIF | FLAG.VIP;
    if (system.cpl <= ((old >> 12) & 3)) mask |= FLAG.IF;
    cpu.flags = (old & ~mask & ~0x8d5) | (at(4) & (mask | 0x8d5));
    const cs = system.segments[SEGMENT.CS] as { selector: number; attributes: number };
    cs.selector = selector;
    cs.attributes = (attributes >> 8) & 0xf0ff;
    (system.segments[SEGMENT.SS] as { selector: number }).selector = at(8) & 0xffff;
    system.cpl = cpl;
    system.nmiBlocked = false;
    words[sp >> 2] = at(6);
    words[(sp >> 2) + 1] = at(7);
    cpu.setRip(at(0), at(1));
    mmu.selectMode();
    return true;
  }

  /** RET far to the same or an outer privilege level of 64-bit code; `drop` bytes of arguments go too. False after a fault. */
  farReturn(size: 2 | 3, drop: number): boolean {
    const { system, words, mmu } = this.#cpu;
    const width = 1 << size;
    const sp = STATE.GPR + GPR.RSP;
    const low = words[sp >> 2] as number;
    const high = words[(sp >> 2) + 1] as number;
    if (!mmu.readVirtual(low, high, FRAME, 2 * width, mmu.userBit)) return false;
    const w = FRAME >> 2;
    const ripLow = words[w] as number;
    const ripHigh = size === 3 ? (words[w + 1] as number) : 0;
    const selector = (words[w + width / 4] as number) & 0xffff;
    const cpl = selector & 3;
    if ((selector & 0xfffc) === 0 || cpl < system.cpl) return this.#fault(VECTOR.GP, selector & 0xfffc);
    if (!this.readDescriptor(selector, 8)) return false;
    const attributes = this.descriptorHigh;
    if ((attributes & CODE.LONG) === 0 || (attributes & CODE.PRESENT) === 0) {
      return this.#fault(VECTOR.GP, selector & 0xfffc);
    }
    let sum = (low >>> 0) + 2 * width + drop;
    let newHigh = (high + (sum >= 0x100000000 ? 1 : 0)) | 0;
    if (cpl !== system.cpl) {
      if (!mmu.readVirtual(sum | 0, newHigh, FRAME, 2 * width, mmu.userBit)) return false;
      sum = words[w] as number;
      newHigh = size === 3 ? (words[w + 1] as number) : 0;
      (system.segments[SEGMENT.SS] as { selector: number }).selector = (words[w + width / 4] as number) & 0xffff;
    }
    const cs = system.segments[SEGMENT.CS] as { selector: number; attributes: number };
    cs.selector = selector;
    cs.attributes = (attributes >> 8) & 0xf0ff;
    system.cpl = cpl;
    words[sp >> 2] = sum | 0;
    words[(sp >> 2) + 1] = newHigh;
    this.#cpu.setRip(ripLow, ripHigh);
    mmu.selectMode();
    return true;
  }
}
