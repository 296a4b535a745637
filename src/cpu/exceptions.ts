/** Delivery of interrupts and exceptions (SDM vol. 3 chapter 6; §6.14 for long mode, vol. 3 §20.1.4 for real mode). */
import { isLongMode, isProtected } from './code-key.ts';
import type { Cpu } from './cpu.ts';
import { FLAG, GPR, SEGMENT, type Size, STATE } from './layout.ts';
import { errorOf, isNull } from './segments.ts';
import { ATTRIBUTE, type Segment, VECTOR } from './system-state.ts';

/** Types of gates; bit 3 is set in those of 32-bit and 64-bit handlers. */
const GATE = { INTERRUPT16: 6, TRAP16: 7, INTERRUPT: 0xe, TRAP: 0xf, WIDE: 8, PRESENT: 0x8000 } as const;
/** Where frames are put together: after the bytes of piecewise accesses. */
const FRAME = STATE.BOUNCE + 0x20;
/** What SS is after a change of privilege level in long mode. */
const NULL_STACK_ATTRIBUTES = 0xc093;

interface Event {
  readonly vector: number;
  /** −1 when there is none. */
  readonly errorCode: number;
  /** INT n and its like: the gate's DPL counts. */
  readonly software: boolean;
}

interface Gate {
  readonly selector: number;
  readonly offsetLow: number;
  readonly offsetHigh: number;
  readonly isTrap: boolean;
  /** Interrupt stack table entry, or 0. */
  readonly ist: number;
  /** Of what is pushed in protected mode. */
  readonly size: Size;
}

const CONTRIBUTORY = new Set<number>([VECTOR.DE, VECTOR.TS, VECTOR.NP, VECTOR.SS, VECTOR.GP]);

/** Whether a second fault while the first is delivered is a double fault (SDM vol. 3 table 6-5). */
const isDouble = (first: number, second: number): boolean =>
  CONTRIBUTORY.has(second)
    ? CONTRIBUTORY.has(first) || first === VECTOR.PF
    : first === VECTOR.PF && second === VECTOR.PF;

export class ExceptionUnit {
  readonly #cpu: Cpu;
  /** Of the exception that was to be delivered last, before any that its delivery raised. */
  firstVector = -1;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Delivers the exception in the system state; false when that ends in a shutdown. */
  deliverPending(): boolean {
    const { system } = this.#cpu;
    this.firstVector = system.vector;
    for (;;) {
      const { vector } = system;
      if (this.#deliver(vector, system.errorCode, false)) return true;
      if (vector === VECTOR.DF) return false;
      // A fault during delivery takes the place of the exception, or doubles it; the one that takes its place may fault too.
      if (isDouble(vector, system.vector)) this.#fault(VECTOR.DF, 0);
    }
  }

  /** An external interrupt; when its delivery faults, that exception is delivered. */
  deliverExternal(vector: number): boolean {
    return this.#deliver(vector, -1, false) || this.deliverPending();
  }

  /** INT n, INT3, INTO: the gate's DPL counts. RIP is already that of the next instruction. False: the instruction faults. */
  deliverSoftware(vector: number): boolean {
    return this.#deliver(vector, -1, true);
  }

  /** INT1: no privilege is asked for (SDM vol. 2, INT n). False: the instruction faults. */
  deliverInt1(): boolean {
    return this.#deliver(VECTOR.DB, -1, false);
  }

  #deliver(vector: number, errorCode: number, software: boolean): boolean {
    const event = { vector, errorCode, software };
    const { system } = this.#cpu;
    if (!isProtected(system)) return this.#deliverReal(event);
    const isLong = isLongMode(system);
    const gate = this.#gate(event, isLong);
    if (gate === null) return false;
    return isLong ? this.#enter(gate, event) : this.#enterProtected(gate, event);
  }

  /** Reads the gate of an event's vector; null after a fault. */
  #gate({ vector, software }: Event, isLong: boolean): Gate | null {
    const { mmu, system, words } = this.#cpu;
    const gateError = vector * 8 + (software ? 2 : 3);
    const { idt } = system;
    const shift = isLong ? 4 : 3;
    const offset = vector << shift;
    if (offset + (1 << shift) - 1 > idt.limit) return this.#noGate(VECTOR.GP, gateError);
    const at = (idt.baseLow >>> 0) + offset;
    if (!mmu.readVirtual(at | 0, idt.baseHigh + (at >= 0x100000000 ? 1 : 0), FRAME, 1 << shift, 0)) return null;
    const w = FRAME >> 2;
    const first = words[w] as number;
    const second = words[w + 1] as number;
    const type = (second >> 8) & 0x1f;
    const isWide = type === GATE.INTERRUPT || type === GATE.TRAP;
    if (!isWide && (isLong || (type !== GATE.INTERRUPT16 && type !== GATE.TRAP16))) {
      return this.#noGate(VECTOR.GP, gateError);
    }
    if (software && ((second >> 13) & 3) < system.cpl) return this.#noGate(VECTOR.GP, gateError);
    if ((second & GATE.PRESENT) === 0) return this.#noGate(VECTOR.NP, gateError);
    return {
      selector: first >>> 16,
      offsetLow: (first & 0xffff) | (isWide ? second & 0xffff0000 : 0),
      offsetHigh: isLong ? (words[w + 2] as number) : 0,
      isTrap: type === GATE.TRAP || type === GATE.TRAP16,
      ist: isLong ? second & 7 : 0,
      size: (type & GATE.WIDE) !== 0 ? 2 : 1,
    };
  }

  #noGate(vector: number, errorCode: number): null {
    this.#fault(vector, errorCode);
    return null;
  }

  #fault(vector: number, errorCode: number): false {
    this.#cpu.mmu.raise(vector, errorCode);
    return false;
  }

  /** Reads and checks the descriptor of a handler's code segment; its privilege level, or −1 after a fault. */
  #handlerLevel(selector: number, external: number): number {
    const { system, segments } = this.#cpu;
    if (isNull(selector)) {
      this.#fault(VECTOR.GP, external);
      return -1;
    }
    if (!segments.read(selector, 8, VECTOR.GP, external)) return -1;
    const { dpl, isConforming } = segments;
    const fits = !isLongMode(system) || (segments.attributes & (ATTRIBUTE.LONG | ATTRIBUTE.BIG)) === ATTRIBUTE.LONG;
    if (!segments.isCode || dpl > system.cpl || !fits) this.#fault(VECTOR.GP, errorOf(selector) | external);
    else if (!segments.isPresent) this.#fault(VECTOR.NP, errorOf(selector) | external);
    else return isConforming ? system.cpl : dpl;
    return -1;
  }

  #enter(gate: Gate, event: Event): boolean {
    const cpu = this.#cpu;
    const { system, words, mmu, segments } = cpu;
    const { selector, ist } = gate;
    const cpl = this.#handlerLevel(selector, event.software ? 0 : 1);
    if (cpl < 0) return false;
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
    const sizeBytes = event.errorCode >= 0 ? 48 : 40;
    const size = this.#writeFrame(saved, event.errorCode);
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
    if (!segments.assign(SEGMENT.CS, errorOf(selector) | cpl)) return false;
    if (cpl !== oldCpl) segments.assignFlat(SEGMENT.SS, cpl, NULL_STACK_ATTRIBUTES);
    this.#startHandler(gate);
    mmu.selectMode();
    cpu.setRip(gate.offsetLow, gate.offsetHigh);
    return true;
  }

  #startHandler(gate: Gate): void {
    const { words } = this.#cpu;
    const clear = FLAG.TF | FLAG.NT | FLAG.RF | FLAG.VM | (gate.isTrap ? 0 : FLAG.IF);
    words[STATE.FLAGS >> 2] = (words[STATE.FLAGS >> 2] as number) & ~clear;
  }

  /** Through a gate of protected mode, onto the stack of the task's level if that changes (SDM vol. 3 §6.12.1). */
  #enterProtected(gate: Gate, event: Event): boolean {
    const cpu = this.#cpu;
    const { system, segments, stack, mmu, words } = cpu;
    const { size, selector } = gate;
    const external = event.software ? 0 : 1;
    const cpl = this.#handlerLevel(selector, external);
    if (cpl < 0) return false;
    const isInner = cpl !== system.cpl;
    const oldStack = segments.register(SEGMENT.SS).selector;
    const oldPointer = words[(STATE.GPR + GPR.RSP) >> 2] as number;
    const inner = isInner ? this.#innerStack(cpl, external) : 0;
    if (inner < 0) return false;
    if (!isInner) stack.begin();
    if (isInner && !(stack.push(size, oldStack) && stack.push(size, oldPointer))) return false;
    const codeSelector = segments.register(SEGMENT.CS).selector;
    if (!(stack.push(size, cpu.flags) && stack.push(size, codeSelector))) return false;
    if (!stack.push(size, cpu.instructionPointerLow)) return false;
    if (event.errorCode >= 0 && !stack.push(size, event.errorCode)) return false;
    if (isInner && !(segments.read(inner) && segments.assign(SEGMENT.SS, inner))) return false;
    if (!segments.read(selector) || !segments.assign(SEGMENT.CS, errorOf(selector) | cpl)) return false;
    system.cpl = cpl;
    stack.commit();
    this.#startHandler(gate);
    mmu.selectMode();
    cpu.setInstructionPointer(gate.offsetLow, 0);
    return true;
  }

  /** Begins on the stack that the 32-bit or 16-bit task state segment has for this level; its selector, or −1 after a fault. */
  #innerStack(cpl: number, external: number): number {
    const { system, segments, stack, mmu, words } = this.#cpu;
    const { tr } = system;
    const { isWide } = tr;
    const offset = isWide ? 4 + cpl * 8 : 2 + cpl * 4;
    const fault = (vector: number, code: number): number => {
      this.#fault(vector, code | external);
      return -1;
    };
    if (offset + (isWide ? 6 : 4) - 1 > tr.limit) return fault(VECTOR.TS, errorOf(tr.selector));
    if (!mmu.readVirtual((tr.baseLow + offset) | 0, 0, FRAME, 8, 0)) return -1;
    const pointer = words[FRAME >> 2] as number;
    const selector = isWide ? (words[(FRAME >> 2) + 1] as number) & 0xffff : pointer >>> 16;
    if (isNull(selector)) return fault(VECTOR.TS, 0);
    if (!segments.read(selector, 8, VECTOR.TS, external)) return -1;
    if ((selector & 3) !== cpl || segments.dpl !== cpl || !segments.isWritableData) {
      return fault(VECTOR.TS, errorOf(selector));
    }
    if (!segments.isPresent) return fault(VECTOR.SS, errorOf(selector));
    const big = (segments.attributes & ATTRIBUTE.BIG) !== 0;
    const low = isWide ? pointer : pointer & 0xffff;
    stack.beginAt({ low, high: 0, base: segments.base, size: big ? 2 : 1, cpl });
    return selector;
  }

  /** Through the interrupt vector table. */
  #deliverReal({ vector }: Event): boolean {
    const cpu = this.#cpu;
    const { system, segments, stack, mmu, words } = cpu;
    const { idt } = system;
    if (vector * 4 + 3 > idt.limit) return this.#fault(VECTOR.GP, 0);
    if (!mmu.readVirtual((idt.baseLow + vector * 4) | 0, 0, FRAME, 4, 0)) return false;
    const entry = words[FRAME >> 2] as number;
    stack.begin();
    const { selector } = segments.register(SEGMENT.CS);
    if (!(stack.push(1, cpu.flags) && stack.push(1, selector) && stack.push(1, cpu.instructionPointerLow)))
      return false;
    stack.commit();
    words[STATE.FLAGS >> 2] = (words[STATE.FLAGS >> 2] as number) & ~(FLAG.IF | FLAG.TF | FLAG.AC | FLAG.RF);
    segments.assignReal(SEGMENT.CS, entry >>> 16);
    mmu.selectMode();
    cpu.setInstructionPointer(entry & 0xffff, 0);
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
    push(this.#cpu.instructionPointerLow, this.#cpu.instructionPointerHigh);
    push((system.segments[SEGMENT.CS] as Segment).selector, 0);
    push(flags, 0);
    push(sp.low, sp.high);
    push((system.segments[SEGMENT.SS] as Segment).selector, 0);
    return w * 4 - FRAME;
  }
}
