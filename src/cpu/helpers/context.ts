import type { Cpu } from '../cpu.ts';
import { CODE, RECORD, type Size, STATE, STOP } from '../layout.ts';
import { VECTOR } from '../system-state.ts';

/** An operation done in TypeScript: gets its record, returns 0 to go on or a STOP code. */
export type Helper = (record: number) => number;

/** What helpers share: operands of records, registers by size, and the ways to end. */
export class HelperContext {
  readonly cpu: Cpu;
  readonly #halves: Uint16Array;
  readonly #view: DataView;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
    this.#view = new DataView(cpu.bytes.buffer);
    this.#halves = new Uint16Array(cpu.bytes.buffer, 0, (CODE.RECORDS + CODE.RECORDS_SIZE) / 2);
  }

  a(record: number): number {
    return this.#halves[(record + RECORD.A) >> 1] as number;
  }

  b(record: number): number {
    return this.#halves[(record + RECORD.B) >> 1] as number;
  }

  c(record: number): number {
    return this.#halves[(record + RECORD.C) >> 1] as number;
  }

  high(record: number): number {
    return this.cpu.words[(record + RECORD.IMM_HIGH) >> 2] as number;
  }

  /** Raises an exception at the record's instruction. */
  fault(vector: number, errorCode = -1): number {
    this.cpu.mmu.raise(vector, errorCode);
    return STOP.FAULT;
  }

  get privileged(): boolean {
    return this.cpu.system.cpl === 0;
  }

  gp(errorCode = 0): number {
    return this.fault(VECTOR.GP, errorCode);
  }

  /** Goes on after this instruction through a new look-up: the mode, the mapping or interrupts may have changed. */
  resyncAfter(record: number): number {
    this.cpu.setRipAfter(record);
    return STOP.RESYNC;
  }

  low(place: number): number {
    return this.cpu.words[place >> 2] as number;
  }

  highOf(place: number): number {
    return this.cpu.words[(place >> 2) + 1] as number;
  }

  set(place: number, low: number, high: number): void {
    const { words } = this.cpu;
    words[place >> 2] = low;
    words[(place >> 2) + 1] = high;
  }

  /** An operand as an unsigned BigInt: for operations too rare to do in halves. */
  get64(place: number, size: Size): bigint {
    const view = this.#view;
    if (size === 3) return view.getBigUint64(place, true);
    if (size === 2) return BigInt(view.getUint32(place, true));
    return BigInt(size === 1 ? view.getUint16(place, true) : view.getUint8(place));
  }

  /** Writes an operand of this size, cut to it; 32-bit ones clear the upper half. */
  set64(place: number, size: Size, value: bigint): void {
    const view = this.#view;
    if (size === 3) view.setBigUint64(place, value, true);
    else if (size === 2) view.setBigUint64(place, value & 0xffffffffn, true);
    else if (size === 1) view.setUint16(place, Number(value & 0xffffn), true);
    else view.setUint8(place, Number(value & 0xffn));
  }

  setGpr32(place: number, value: number): void {
    this.set(STATE.GPR + place, value, 0);
  }
}
