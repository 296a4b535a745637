/** Pushes and pops of operations that TypeScript does: the stack pointer moves when all of them have succeeded. */
import type { Cpu } from './cpu.ts';
import { GPR, SEGMENT, type Size, STATE } from './layout.ts';
import { ACCESS } from './memory-unit.ts';
import { ATTRIBUTE, type Segment } from './system-state.ts';

const RSP = (STATE.GPR + GPR.RSP) >> 2;
const SCRATCH = STATE.BOUNCE;
const TWO_32 = 0x100000000;

export class Stack {
  readonly #cpu: Cpu;
  /** The stack pointer as far as it has got. */
  low = 0;
  high = 0;
  #size: Size = 3;
  #base = 0;
  #user = 0;
  #record = 0;
  /** What was popped last. */
  valueLow = 0;
  valueHigh = 0;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Starts at the stack pointer. `record`: the running one, if it does not end its block. */
  begin(record = 0): void {
    const { words, mmu, system } = this.#cpu;
    this.low = words[RSP] as number;
    this.high = words[RSP + 1] as number;
    const big = ((system.segments[SEGMENT.SS] as Segment).attributes & ATTRIBUTE.BIG) !== 0;
    this.#size = mmu.isLegacy ? (big ? 2 : 1) : 3;
    this.#base = mmu.isLegacy ? (words[(STATE.SEGMENT_BASE + SEGMENT.SS * 8) >> 2] as number) : 0;
    this.#user = mmu.userBit;
    this.#record = record;
  }

  /** Starts on another stack, that of privilege level `cpl`; `size` is that of its stack pointer. */
  beginAt(stack: { low: number; high: number; base: number; size: Size; cpl: number }): void {
    this.low = stack.low;
    this.high = stack.high;
    this.#size = stack.size;
    this.#base = stack.base;
    this.#user = stack.cpl === 3 ? 4 : 0;
    this.#record = 0;
  }

  /** False after a fault. */
  push(size: Size, low: number, high = 0): boolean {
    const { words, mmu } = this.#cpu;
    words[SCRATCH >> 2] = low;
    words[(SCRATCH >> 2) + 1] = high;
    this.move(-(1 << size));
    return mmu.writeVirtual(this.#addressLow, this.#addressHigh, SCRATCH, 1 << size, this.#record, this.#user);
  }

  /** Pops to `valueLow` and `valueHigh`, zero extended. False after a fault. */
  pop(size: Size): boolean {
    const { words, mmu } = this.#cpu;
    words[SCRATCH >> 2] = 0;
    words[(SCRATCH >> 2) + 1] = 0;
    if (!mmu.readVirtual(this.#addressLow, this.#addressHigh, SCRATCH, 1 << size, this.#user)) return false;
    this.valueLow = words[SCRATCH >> 2] as number;
    this.valueHigh = words[(SCRATCH >> 2) + 1] as number;
    this.move(1 << size);
    return true;
  }

  /** Reads what lies `displacement` bytes from an address in the stack segment; to `valueLow` and `valueHigh`. */
  readFrom(low: number, high: number, displacement: number, size: Size): boolean {
    const [savedLow, savedHigh] = [this.low, this.high];
    this.low = low;
    this.high = high;
    this.move(displacement);
    const read = this.pop(size);
    this.low = savedLow;
    this.high = savedHigh;
    return read;
  }

  /** Whether the top of the stack may be written; raises the fault if not. */
  probe(): boolean {
    const { mmu } = this.#cpu;
    const access = this.#user | ACCESS.WRITE;
    return mmu.translate(this.#addressLow, this.#addressHigh, access) >= 0;
  }

  move(bytes: number): void {
    const sum = (this.low >>> 0) + bytes;
    this.low = sum | 0;
    if (this.#size === 3) this.high = (this.high + Math.floor(sum / TWO_32)) | 0;
  }

  get #addressLow(): number {
    if (this.#size === 3) return this.low;
    return (this.#base + (this.#size === 1 ? this.low & 0xffff : this.low)) | 0;
  }

  get #addressHigh(): number {
    return this.#size === 3 ? this.high : 0;
  }

  /** The stack pointer takes its new value. */
  commit(): void {
    const { words } = this.#cpu;
    if (this.#size === 1) words[RSP] = ((words[RSP] as number) & 0xffff0000) | (this.low & 0xffff);
    else {
      words[RSP] = this.low;
      words[RSP + 1] = this.#size === 3 ? this.high : 0;
    }
  }
}
