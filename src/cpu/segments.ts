/** Segment registers and their descriptors (SDM vol. 3 §3.4 and §5). */
import { isChecked } from './code-key.ts';
import type { Cpu } from './cpu.ts';
import { SEGMENT, STATE } from './layout.ts';
import { ATTRIBUTE, type Segment, VECTOR } from './system-state.ts';

/** Descriptors are read to here: after the bytes of piecewise accesses. */
const DESCRIPTOR = STATE.BOUNCE + 0x20;
/** Byte of a descriptor that has its type. */
const TYPE_BYTE = 5;
/** Bit 8 of a descriptor's upper half: the segment has been accessed, or the task is busy. */
const ACCESSED_HIGH = 0x100;
const BUSY_HIGH = 0x200;
/** Real mode: 64 KiB of data that may be written. */
const REAL_MODE = { attributes: 0x93, limit: 0xffff } as const;

/** The error code's selector part: index and table. */
export const errorOf = (selector: number): number => selector & 0xfffc;
export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

export class SegmentUnit {
  readonly #cpu: Cpu;
  /** The descriptor that was read last, as words, and where it stands. */
  low = 0;
  high = 0;
  /** Bits 63 to 32 of the base of a 16-byte descriptor. */
  baseHigh = 0;
  #atLow = 0;
  #atHigh = 0;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Reads a descriptor; false after raising `vector` for a selector beyond its table, or a page fault. */
  read(selector: number, sizeBytes: 8 | 16 = 8, vector: number = VECTOR.GP, external = 0): boolean {
    const { mmu, system, words } = this.#cpu;
    const table = selector & 4 ? system.ldt : system.gdt;
    const offset = selector & 0xfff8;
    if (offset + sizeBytes - 1 > table.limit || (selector & 4 && isNull(table.selector))) {
      mmu.raise(vector, errorOf(selector) | external);
      return false;
    }
    const at = (table.baseLow >>> 0) + offset;
    this.#atLow = at | 0;
    this.#atHigh = table.baseHigh + (at >= 0x100000000 ? 1 : 0);
    if (!mmu.readVirtual(this.#atLow, this.#atHigh, DESCRIPTOR, sizeBytes, 0)) return false;
    this.low = words[DESCRIPTOR >> 2] as number;
    this.high = words[(DESCRIPTOR >> 2) + 1] as number;
    this.baseHigh = words[(DESCRIPTOR >> 2) + 2] as number;
    return true;
  }

  get attributes(): number {
    return (this.high >> 8) & 0xf0ff;
  }

  get dpl(): number {
    return (this.high >> 13) & 3;
  }

  get isPresent(): boolean {
    return (this.attributes & ATTRIBUTE.PRESENT) !== 0;
  }

  get isCode(): boolean {
    const kind = ATTRIBUTE.CODE_OR_DATA | ATTRIBUTE.CODE;
    return (this.attributes & kind) === kind;
  }

  get isConforming(): boolean {
    return (this.attributes & ATTRIBUTE.CONFORMING) !== 0;
  }

  get isWritableData(): boolean {
    const kind = ATTRIBUTE.CODE_OR_DATA | ATTRIBUTE.CODE | ATTRIBUTE.READ_WRITE;
    return (this.attributes & kind) === (ATTRIBUTE.CODE_OR_DATA | ATTRIBUTE.READ_WRITE);
  }

  /** Data, or code that may be read. */
  get isReadable(): boolean {
    const { attributes } = this;
    if ((attributes & ATTRIBUTE.CODE_OR_DATA) === 0) return false;
    return (attributes & ATTRIBUTE.CODE) === 0 || (attributes & ATTRIBUTE.READ_WRITE) !== 0;
  }

  get base(): number {
    return (this.low >>> 16) | ((this.high & 0xff) << 16) | (this.high & 0xff000000);
  }

  /** In bytes, the last one that belongs to the segment. */
  get limit(): number {
    const field = (this.low & 0xffff) | (this.high & 0xf0000);
    return this.attributes & ATTRIBUTE.GRANULAR ? ((field << 12) | 0xfff) >>> 0 : field;
  }

  /** Loads a segment register from the descriptor that was read last, which is marked accessed. False after a page fault. */
  assign(register: number, selector: number): boolean {
    if (!this.#mark(ACCESSED_HIGH)) return false;
    this.#set(register, selector, this);
    return true;
  }

  /** Marks the task whose descriptor was read last busy. */
  markBusy(): boolean {
    return this.#mark(BUSY_HIGH);
  }

  #mark(bit: number): boolean {
    if ((this.high & bit) !== 0) return true;
    const { mmu, bytes } = this.#cpu;
    this.high |= bit;
    bytes[DESCRIPTOR + TYPE_BYTE] = (this.high >> 8) & 0xff;
    const at = (this.#atLow >>> 0) + TYPE_BYTE;
    const high = this.#atHigh + (at >= 0x100000000 ? 1 : 0);
    return mmu.writeVirtual(at | 0, high, DESCRIPTOR + TYPE_BYTE, 1, 0, 0);
  }

  /**
   * Whether legacy code may access the byte at this offset (SDM vol. 3 §6.3); false after #GP, for the stack #SS. Further bytes of
   * an access, the stack's pushes and pops, and instructions are not held against limits.
   */
  mayAccess(number: number, offset: number): boolean {
    if (!isChecked(this.#cpu.system, number)) return true;
    const { attributes, limit } = this.register(number);
    const at = offset >>> 0;
    const expandsDown = (attributes & (ATTRIBUTE.CODE | ATTRIBUTE.CONFORMING)) === ATTRIBUTE.CONFORMING;
    const end = (attributes & ATTRIBUTE.BIG) !== 0 ? 0xffffffff : 0xffff;
    const isInside = expandsDown ? at > limit && at <= end : at <= limit;
    if ((attributes & ATTRIBUTE.PRESENT) !== 0 && isInside) return true;
    this.#cpu.mmu.raise(number === SEGMENT.SS ? VECTOR.SS : VECTOR.GP, 0);
    return false;
  }

  /** As real mode does: the base is 16 times the selector, all else stays. */
  assignReal(register: number, selector: number): void {
    const { attributes, limit } = register === SEGMENT.CS ? this.register(register) : REAL_MODE;
    this.#set(register, selector, { attributes, limit, base: selector << 4 });
  }

  /** A null selector: nothing may be reached through it but in 64-bit mode. */
  clear(register: number, selector: number): void {
    this.#set(register, selector, { attributes: 0, limit: 0, base: 0 });
  }

  /** A flat segment, as SYSCALL and its like load it. */
  assignFlat(register: number, selector: number, attributes: number): void {
    this.#set(register, selector, { attributes, limit: 0xffffffff, base: 0 });
  }

  register(number: number): Segment {
    return this.#cpu.system.segments[number] as Segment;
  }

  baseOf(register: number): number {
    return this.#cpu.words[(STATE.SEGMENT_BASE + register * 8) >> 2] as number;
  }

  #set(register: number, selector: number, from: { attributes: number; limit: number; base: number }): void {
    const segment = this.register(register);
    segment.selector = selector;
    segment.attributes = from.attributes;
    segment.limit = from.limit;
    const { words } = this.#cpu;
    const at = (STATE.SEGMENT_BASE + register * 8) >> 2;
    words[at] = from.base;
    words[at + 1] = 0;
  }

  /**
   * MOV and POP to ES, SS, DS, FS and GS, and LDS and its like, in protected mode (SDM vol. 2, MOV). False after a fault.
   */
  load(register: number, selector: number): boolean {
    const { system, mmu } = this.#cpu;
    const stack = register === SEGMENT.SS;
    const fault = (vector: number, code: number): boolean => {
      mmu.raise(vector, code);
      return false;
    };
    if (isNull(selector)) {
      // Only 64-bit code below level 3 may have no stack segment.
      if (stack && (mmu.isLegacy || system.cpl === 3 || (selector & 3) !== system.cpl)) return fault(VECTOR.GP, 0);
      this.clear(register, selector);
      return true;
    }
    if (!this.read(selector)) return false;
    const rpl = selector & 3;
    const allowed = stack
      ? this.isWritableData && rpl === system.cpl && this.dpl === system.cpl
      : this.isReadable && ((this.isCode && this.isConforming) || (this.dpl >= rpl && this.dpl >= system.cpl));
    if (!allowed) return fault(VECTOR.GP, errorOf(selector));
    if (!this.isPresent) return fault(stack ? VECTOR.SS : VECTOR.NP, errorOf(selector));
    return this.assign(register, selector);
  }
}
