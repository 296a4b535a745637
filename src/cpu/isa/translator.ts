/** Turns decoded instructions into records of micro-operations; the lowerings write through it. */
import { CODE, CODE_KEY, RECORD, SEGMENT, type Size, STATE } from '../layout.ts';
import { HELPER, HELPER_IF } from '../uops/control.ts';
import { extensionKey, LEA, LOAD, LOAD_FOR_WRITE, MOVZX, STORE } from '../uops/data.ts';
import { INDEX_SCALE_SHIFT } from '../uops/emit.ts';
import { flaglessVariant } from '../uops/registry.ts';
import { Decoder } from './decoder.ts';
import { helperNumber } from './helper-names.ts';

type ByForm = { readonly bd: number; readonly bx: number };

export const TEMP0 = STATE.TEMP;
export const TEMP1 = STATE.TEMP + 8;
export const TEMP2 = STATE.TEMP + 16;
export const TEMP3 = STATE.TEMP + 24;
/** Holds the effective address for helpers. */
export const TEMP_ADDRESS = STATE.TEMP + 40;
const TEMP_EA = STATE.TEMP + 48;
const ZERO_EXTEND_16 = MOVZX.get(extensionKey(1, 3)) as number;

/** A compare that a following branch can take into its own record. */
export interface PendingCompare {
  record: number;
  kind: 'cmp' | 'test';
  size: Size;
  a: number;
  b: number;
  immediate: boolean;
}

export class Translator {
  readonly d: Decoder;
  readonly #words: Int32Array;
  readonly #halves: Uint16Array;
  /** Address of the next record. */
  next: number = CODE.RECORDS;
  /** Offset of the current instruction in its page. */
  offset = 0;
  /** Instructions since the last branch, this one included. */
  count = 0;
  /** Set by a lowering after which no further instruction belongs to the block. */
  ended = false;
  /** Whether the block has checked that XMM registers may be used. */
  sseChecked = false;
  readonly compare: PendingCompare = { record: 0, kind: 'cmp', size: 0, a: 0, b: 0, immediate: false };
  /** Records whose flags nothing has seen yet. */
  readonly #unseen: number[] = [];

  constructor(memory: ArrayBuffer) {
    this.d = new Decoder(new Uint8Array(memory));
    this.#words = new Int32Array(memory);
    this.#halves = new Uint16Array(memory);
  }

  /** Starts a block of code in this mode; what came before has nothing to do with it. */
  begin(key: number): void {
    this.d.key = key;
    this.count = 0;
    this.ended = false;
    this.sseChecked = false;
    this.compare.record = 0;
    this.#unseen.length = 0;
  }

  /** Page offset of the next instruction. */
  get nextOffset(): number {
    return this.offset + this.d.length;
  }

  /** Writes a record that may fault, reads flags or branches. */
  put(op: number, a = 0, b = 0, c = 0, immediate = 0, immediateHigh = 0): number {
    this.#unseen.length = 0;
    return this.#write(op, a, b, c, immediate, immediateHigh);
  }

  /** Writes a record that neither faults nor reads or writes flags. */
  pure(op: number, a = 0, b = 0, c = 0, immediate = 0, immediateHigh = 0): number {
    return this.#write(op, a, b, c, immediate, immediateHigh);
  }

  /** Writes a record that sets all flags and cannot fault: flags that earlier ones set, unseen since, are dead. */
  setsFlags(op: number, a = 0, b = 0, c = 0, immediate = 0, immediateHigh = 0): number {
    for (const before of this.#unseen) {
      this.#halves[before >> 1] = flaglessVariant(this.#halves[before >> 1] as number) as number;
    }
    this.#unseen.length = 0;
    return this.mergesFlags(op, a, b, c, immediate, immediateHigh);
  }

  /** Writes a record that sets some flags or none, keeps the others, and cannot fault: all of them may turn out to be dead. */
  mergesFlags(op: number, a = 0, b = 0, c = 0, immediate = 0, immediateHigh = 0): number {
    const record = this.#write(op, a, b, c, immediate, immediateHigh);
    if (flaglessVariant(op) === undefined) this.#unseen.length = 0;
    else this.#unseen.push(record);
    return record;
  }

  /** Calls a helper; `a`, `b`, `c` and the upper immediate are its operands. */
  helper(number: number, a = 0, b = 0, c = 0, immediateHigh = 0): number {
    return this.put(HELPER, a, b, c, number, immediateHigh);
  }

  #write(op: number, a: number, b: number, c: number, immediate: number, immediateHigh: number): number {
    const record = this.next;
    const half = record >> 1;
    const word = record >> 2;
    this.#halves[half] = op;
    this.#halves[half + (RECORD.A >> 1)] = a;
    this.#halves[half + (RECORD.B >> 1)] = b;
    this.#halves[half + (RECORD.C >> 1)] = c;
    this.#words[word + (RECORD.IMM >> 2)] = immediate;
    this.#words[word + (RECORD.IMM_HIGH >> 2)] = immediateHigh;
    this.#halves[(CODE.PLACES + ((record - CODE.RECORDS) >> 3)) >> 1] = this.offset | (this.d.length << 12);
    this.next = record + CODE.RECORD_SIZE;
    return record;
  }

  /** A record that no instruction shares its place with ends each block, so that patching stays inside it. */
  sentinel(): void {
    const { offset } = this;
    const { length } = this.d;
    this.offset = 0xfff;
    this.d.length = 0;
    this.helper(helperNumber('resync'));
    this.offset = offset;
    this.d.length = length;
  }

  /** Takes back the last record. */
  retract(record: number): void {
    this.next = record;
    this.#unseen.length = 0;
  }

  get isRegister(): boolean {
    return this.d.mod === 3;
  }

  rmRegister(size: Size): number {
    return this.d.register(this.d.rm, size);
  }

  gRegister(size: Size): number {
    return this.d.register(this.d.reg, size);
  }

  get isLegacy(): boolean {
    return this.d.isLegacy;
  }

  /** Whether the bases of ES, CS, SS and DS count. */
  get addsBases(): boolean {
    return (this.d.key & CODE_KEY.ADDS_BASES) !== 0;
  }

  /** Size of the stack pointer: SP, ESP or RSP. */
  get stackSize(): Size {
    return this.isLegacy ? ((this.d.key & CODE_KEY.STACK16) !== 0 ? 1 : 2) : 3;
  }

  /** Writes a record with this instruction's memory operand, in the form that it needs. */
  memory(op: ByForm, a: number, immediateHigh = 0, pure = false): number {
    const { d } = this;
    let base = d.base;
    let index = d.index < 0 ? -1 : d.index | (d.scale << INDEX_SCALE_SHIFT);
    let displacement = d.displacement;
    if (d.ripRelative) {
      displacement += this.nextOffset;
      if (displacement > 0x7fffffff) {
        this.#lea(3, base, -1, d.displacement);
        base = TEMP_EA;
        displacement = this.nextOffset;
      }
    }
    // LEA takes the effective address: segment bases are not part of it.
    const isLea = op === LEA[1] || op === LEA[2] || op === LEA[3];
    const segment = isLea ? -1 : this.addedSegment;
    // Legacy registers and their sums fit 64 bits: the access itself finds out when such a sum has wrapped.
    if (d.addressSize < (this.isLegacy ? 2 : 3)) {
      this.#lea(2, base, index, displacement);
      if (d.addressSize === 1) this.pure(ZERO_EXTEND_16, TEMP_EA, TEMP_EA);
      base = TEMP_EA;
      index = -1;
      displacement = 0;
    }
    if (segment >= 0) {
      if (index >= 0 || (this.isLegacy && displacement !== 0)) {
        this.#lea(this.isLegacy ? 2 : 3, base, index, displacement);
        base = TEMP_EA;
        displacement = 0;
      }
      if (this.isLegacy) this.#checkSegment(segment, base);
      index = STATE.SEGMENT_BASE + segment * 8;
    }
    const write = pure ? this.pure : this.put;
    return index < 0
      ? write.call(this, op.bd, a, base, 0, displacement, immediateHigh)
      : write.call(this, op.bx, a, base, index, displacement, immediateHigh);
  }

  /** Faults where the segment does not hold the first byte at the effective address in this place. */
  #checkSegment(segment: number, place: number): void {
    this.put(HELPER_IF, place, STATE.SEGMENT_CHECKED + segment * 4, segment, helperNumber('checkSegment'));
  }

  /** The segment register whose base must be added to the memory operand's effective address, or −1. */
  get addedSegment(): number {
    const segment = this.d.operandSegment;
    return segment >= SEGMENT.FS || this.addsBases ? segment : -1;
  }

  /**
   * Makes the address of what lies `displacement` bytes from a register as the stack sees it: the register's place and the
   * displacement for an access in form bd.
   */
  stackOperand(register: number, displacement: number): readonly [base: number, displacement: number] {
    if (this.stackSize !== 1 && !this.addsBases) return [register, displacement];
    this.#lea(2, register, -1, displacement);
    if (this.stackSize === 1) this.pure(ZERO_EXTEND_16, TEMP_EA, TEMP_EA);
    if (this.addsBases) this.#lea(2, TEMP_EA, STATE.SEGMENT_BASE + SEGMENT.SS * 8, 0);
    return [TEMP_EA, 0];
  }

  #lea(size: 2 | 3, base: number, index: number, displacement: number): void {
    if (index < 0) this.pure(LEA[size].bd, TEMP_EA, base, 0, displacement);
    else this.pure(LEA[size].bx, TEMP_EA, base, index, displacement);
  }

  /** The place of the r/m operand: its register, or TEMP0 after a load. */
  readRm(size: Size, forWrite = false): number {
    if (this.isRegister) return this.rmRegister(size);
    this.memory((forWrite ? LOAD_FOR_WRITE : LOAD)[size], TEMP0);
    return TEMP0;
  }

  /** Stores TEMP0 back to a memory operand; a register has been changed in place. */
  writeBack(size: Size): void {
    if (!this.isRegister) this.memory(STORE[size], TEMP0);
  }

  /** Puts the effective address of the memory operand, without the base of its segment, where helpers find it. */
  effectiveAddressForHelper(): void {
    this.memory(LEA[3], TEMP_ADDRESS, 0, true);
  }

  /** Puts the linear address of the memory operand where helpers find it. */
  addressForHelper(): void {
    this.effectiveAddressForHelper();
    const segment = this.addedSegment;
    const sum = LEA[this.isLegacy ? 2 : 3];
    if (segment >= 0 && this.isLegacy) this.#checkSegment(segment, TEMP_ADDRESS);
    if (segment >= 0) this.pure(sum.bx, TEMP_ADDRESS, TEMP_ADDRESS, STATE.SEGMENT_BASE + segment * 8);
    else if (this.isLegacy) this.pure(sum.bd, TEMP_ADDRESS, TEMP_ADDRESS);
  }
}
