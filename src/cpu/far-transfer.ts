/** Far jumps, calls and returns, and IRET (SDM vol. 3 §5.8 and vol. 2). Gates and task switches are not here. */
import { isLongMode, isProtected } from './code-key.ts';
import type { Cpu } from './cpu.ts';
import { FLAG, SEGMENT, type Size } from './layout.ts';
import { errorOf, isNull } from './segments.ts';
import { ATTRIBUTE, VECTOR } from './system-state.ts';

/** Flags that IRET takes at every privilege level. */
const IRET_FLAGS = FLAG.TF | FLAG.DF | FLAG.NT | FLAG.RF | FLAG.AC | FLAG.ID | 0x8d5;
const DATA_REGISTERS = [SEGMENT.ES, SEGMENT.DS, SEGMENT.FS, SEGMENT.GS] as const;

export class FarTransfer {
  readonly #cpu: Cpu;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  #fault(vector: number, errorCode: number): false {
    this.#cpu.mmu.raise(vector, errorCode);
    return false;
  }

  /** JMP and CALL far; RIP is that of the next instruction. False after a fault. */
  transfer(to: { selector: number; low: number; high: number }, size: Size, isCall: boolean): boolean {
    const { system, segments, stack, mmu } = this.#cpu;
    const { selector } = to;
    const low = size === 1 ? to.low & 0xffff : to.low;
    if (!isProtected(system)) {
      if (isCall && !this.#pushReturn(size)) return false;
      segments.assignReal(SEGMENT.CS, selector);
    } else {
      if (isNull(selector)) return this.#fault(VECTOR.GP, 0);
      if (!segments.read(selector)) return false;
      if (!this.#mayEnter(selector)) return false;
      if (isCall && !this.#pushReturn(size)) return false;
      if (!segments.assign(SEGMENT.CS, (selector & 0xfffc) | system.cpl)) return false;
    }
    if (isCall) stack.commit();
    mmu.selectMode();
    this.#cpu.setInstructionPointer(low, size === 3 ? to.high : 0);
    return true;
  }

  /** Whether a direct transfer to the code segment that was read last is allowed at this privilege level. */
  #mayEnter(selector: number): boolean {
    const { system, segments } = this.#cpu;
    const { dpl } = segments;
    const allowed =
      segments.isCode &&
      this.#hasOneSize() &&
      (segments.isConforming ? dpl <= system.cpl : (selector & 3) <= system.cpl && dpl === system.cpl);
    if (!allowed) return this.#fault(VECTOR.GP, errorOf(selector));
    return segments.isPresent || this.#fault(VECTOR.NP, errorOf(selector));
  }

  /** A code segment is not of 64 and of 32 bits at once. */
  #hasOneSize(): boolean {
    const both = ATTRIBUTE.LONG | ATTRIBUTE.BIG;
    return !isLongMode(this.#cpu.system) || (this.#cpu.segments.attributes & both) !== both;
  }

  #pushReturn(size: Size): boolean {
    const { stack, segments, instructionPointerLow, instructionPointerHigh } = this.#cpu;
    stack.begin();
    if (!stack.push(size, segments.register(SEGMENT.CS).selector)) return false;
    return stack.push(size, instructionPointerLow, instructionPointerHigh);
  }

  /** RET far, which drops this many bytes of arguments on each stack. False after a fault. */
  farReturn(size: Size, drop: number): boolean {
    const { stack } = this.#cpu;
    stack.begin();
    if (!stack.pop(size)) return false;
    const [low, high] = [stack.valueLow, stack.valueHigh];
    if (!stack.pop(size)) return false;
    const selector = stack.valueLow & 0xffff;
    stack.move(drop);
    return this.#return({ selector, low, high, size, drop, popsStack: false });
  }

  /** IRET with operands of this size. False after a fault. */
  iret(size: Size): boolean {
    const { stack, system, mmu } = this.#cpu;
    stack.begin();
    if (!stack.pop(size)) return false;
    const [low, high] = [stack.valueLow, stack.valueHigh];
    if (!stack.pop(size)) return false;
    const selector = stack.valueLow & 0xffff;
    if (!stack.pop(size)) return false;
    const flags = stack.valueLow;
    // A task return; there are no tasks to return to.
    if (isProtected(system) && (this.#cpu.flags & FLAG.NT) !== 0) return this.#fault(VECTOR.GP, 0);
    const { cpl } = system;
    const popsStack = !mmu.isLegacy;
    if (!this.#return({ selector, low, high, size, drop: 0, popsStack })) return false;
    this.#takeFlags(flags, size, cpl);
    system.nmiBlocked = false;
    mmu.selectMode();
    return true;
  }

  /** `cpl`: the level that IRET ran at. */
  #takeFlags(flags: number, size: Size, cpl: number): void {
    const cpu = this.#cpu;
    const old = cpu.flags;
    let mask: number = IRET_FLAGS;
    if (cpl === 0) mask |= FLAG.IOPL | FLAG.VIF | FLAG.VIP;
    if (cpl <= ((old >> 12) & 3)) mask |= FLAG.IF;
    if (size === 1) mask &= 0xffff;
    cpu.flags = (old & ~mask) | (flags & mask);
  }

  #return(to: { selector: number; low: number; high: number; size: Size; drop: number; popsStack: boolean }): boolean {
    const { system, segments, stack, mmu } = this.#cpu;
    const { selector, size } = to;
    const low = size === 1 ? to.low & 0xffff : to.low;
    if (!isProtected(system)) {
      segments.assignReal(SEGMENT.CS, selector);
      stack.commit();
      mmu.selectMode();
      this.#cpu.setInstructionPointer(low, 0);
      return true;
    }
    if (isNull(selector)) return this.#fault(VECTOR.GP, 0);
    if (!segments.read(selector)) return false;
    if (!this.#mayReturn(selector)) return false;
    const isLong = isLongMode(system) && (segments.attributes & ATTRIBUTE.LONG) !== 0;
    const high = size === 3 ? to.high : 0;
    if (isLong && high >> 15 !== 0 && high >> 15 !== -1) return this.#fault(VECTOR.GP, 0);
    const cpl = selector & 3;
    const isOuter = cpl > system.cpl;
    if (!isOuter && !to.popsStack) {
      if (!segments.assign(SEGMENT.CS, selector)) return false;
      stack.commit();
      mmu.selectMode();
    } else if (!this.#returnToStack(selector, size, isLong, to.drop)) return false;
    this.#cpu.setInstructionPointer(low, high);
    return true;
  }

  #mayReturn(selector: number): boolean {
    const { system, segments } = this.#cpu;
    const rpl = selector & 3;
    const allowed =
      segments.isCode &&
      this.#hasOneSize() &&
      rpl >= system.cpl &&
      (segments.isConforming ? segments.dpl <= rpl : segments.dpl === rpl);
    if (!allowed) return this.#fault(VECTOR.GP, errorOf(selector));
    return segments.isPresent || this.#fault(VECTOR.NP, errorOf(selector));
  }

  /** The return also loads SS and the stack pointer. The code segment's descriptor was read last. */
  #returnToStack(selector: number, size: Size, isLong: boolean, drop: number): boolean {
    const { system, segments, stack, mmu } = this.#cpu;
    const cpl = selector & 3;
    if (!stack.pop(size)) return false;
    const [low, high] = [stack.valueLow, stack.valueHigh];
    if (!stack.pop(size)) return false;
    const stackSelector = stack.valueLow & 0xffff;
    const hasStack = !isNull(stackSelector);
    if (!hasStack && !(isLong && cpl !== 3 && (stackSelector & 3) === cpl)) return this.#fault(VECTOR.GP, 0);
    if (hasStack && !this.#mayUseStack(stackSelector, cpl)) return false;
    if (hasStack) {
      if (!segments.assign(SEGMENT.SS, stackSelector)) return false;
    } else segments.clear(SEGMENT.SS, stackSelector);
    if (!segments.read(selector) || !segments.assign(SEGMENT.CS, selector)) return false;
    if (cpl > system.cpl) this.#dropInnerSegments(cpl);
    system.cpl = cpl;
    mmu.selectMode();
    const big = (segments.register(SEGMENT.SS).attributes & ATTRIBUTE.BIG) !== 0;
    stack.beginAt({ low, high, base: 0, size: isLong ? 3 : big ? 2 : 1, cpl });
    stack.move(drop);
    stack.commit();
    return true;
  }

  #mayUseStack(selector: number, cpl: number): boolean {
    const { segments } = this.#cpu;
    if (!segments.read(selector)) return false;
    const allowed = segments.isWritableData && (selector & 3) === cpl && segments.dpl === cpl;
    if (!allowed) return this.#fault(VECTOR.GP, errorOf(selector));
    return segments.isPresent || this.#fault(VECTOR.SS, errorOf(selector));
  }

  /** Data segments that the outer level may not use are nulled; the base of FS and GS stays. */
  #dropInnerSegments(cpl: number): void {
    for (const register of DATA_REGISTERS) {
      const segment = this.#cpu.segments.register(register);
      const { attributes } = segment;
      const shared = (attributes & (ATTRIBUTE.CODE | ATTRIBUTE.CONFORMING)) === (ATTRIBUTE.CODE | ATTRIBUTE.CONFORMING);
      if (isNull(segment.selector) || shared || ((attributes >> ATTRIBUTE.DPL_SHIFT) & 3) >= cpl) continue;
      segment.selector = 0;
      segment.attributes = 0;
    }
  }
}
