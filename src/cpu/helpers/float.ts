/** x87 instructions, and the state images and control words of x87 and SSE (SDM vol. 1 chapters 8 and 10). */
import { X87, X87State } from '../float/x87.ts';
import { STATUS, WORD } from '../float/x87-state.ts';
import { GPR, STATE, STOP } from '../layout.ts';
import { CR0, CR4, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';
import { extendedControl, MXCSR_RESET, MXCSR_WRITABLE, StateImage } from './state-image.ts';

const FLOAT80_BYTES = 10;
const SIGNIFICAND_BYTES = 8;

/** Whether an unmasked exception waits for the next waiting instruction. */
function isPending({ words }: X87State): boolean {
  return ((words[WORD.STATUS] as number) & ~(words[WORD.CONTROL] as number) & STATUS.EXCEPTIONS) !== 0;
}

class FloatUnit {
  readonly #h: HelperContext;
  /** Shared with what saves and restores it. */
  readonly x87: X87;
  /** The unit's state before a store, should the memory fault. */
  readonly #saved: Int32Array;

  constructor(h: HelperContext) {
    this.#h = h;
    this.x87 = new X87(new X87State(h.cpu.bytes.buffer, STATE.X87));
    this.#saved = new Int32Array(this.x87.state.words.length);
    h.cpu.words[STATE.MXCSR >> 2] = MXCSR_RESET;
    this.x87.execute(0xdb, 0xe3); // FNINIT
  }

  /** b: opcode, c: ModRM; the address of a memory operand is in a. */
  execute(record: number): number {
    const h = this.#h;
    const { cpu } = h;
    if ((cpu.system.cr0 & (CR0.EM | CR0.TS)) !== 0) return h.fault(VECTOR.NM);
    const opcode = h.b(record);
    const modrm = h.c(record);
    const operand = X87.memoryOperand(opcode, modrm);
    const { state } = this.x87;
    const low = operand.sizeBytes === 0 ? 0 : h.low(h.a(record));
    const high = operand.sizeBytes === 0 ? 0 : h.highOf(h.a(record));
    if (operand.access === 'load') {
      // An exception that waits comes before what the memory operand may cause.
      if (isPending(state)) return h.fault(VECTOR.MF);
      if (!this.#load(low, high, operand.sizeBytes)) return STOP.FAULT;
      state.memory.set(cpu.bytes.subarray(STATE.X87_MEMORY, STATE.X87_MEMORY + operand.sizeBytes));
    } else if (operand.access === 'store') this.#saved.set(state.words);
    const readsFlags = modrm >= 0xc0 && (opcode === 0xda || opcode === 0xdb);
    if (readsFlags) state.flagsIn = cpu.flags;
    this.x87.dataPointerLow = low;
    this.x87.dataPointerHigh = high;
    const vector = this.x87.execute(opcode, modrm);
    if (vector !== 0) return h.fault(vector);
    if (operand.access === 'store' && state.storeSizeBytes > 0) {
      cpu.bytes.set(state.memory.subarray(0, state.storeSizeBytes), STATE.X87_MEMORY);
      if (!this.#store(low, high, record)) {
        // Only now is it known that there is something to store: an unmasked exception leaves memory alone.
        state.words.set(this.#saved);
        return STOP.FAULT;
      }
    }
    this.#results(opcode, modrm);
    return 0;
  }

  /** FNSTSW AX and the comparisons that set RFLAGS. */
  #results(opcode: number, modrm: number): void {
    const { cpu } = this.#h;
    const { state } = this.x87;
    if (opcode === 0xdf && modrm === 0xe0) {
      cpu.bytes[STATE.GPR + GPR.RAX] = state.ax & 0xff;
      cpu.bytes[STATE.GPR + GPR.RAX + 1] = state.ax >> 8;
    } else if ((opcode === 0xdb || opcode === 0xdf) && modrm >= 0xe8 && modrm < 0xf8)
      cpu.arithmeticFlags = state.flagsOut;
  }

  /** *Measured*: of 10 bytes the significand is read first. */
  #load(low: number, high: number, sizeBytes: number): boolean {
    const { mmu } = this.#h.cpu;
    const first = sizeBytes === FLOAT80_BYTES ? SIGNIFICAND_BYTES : sizeBytes;
    if (!mmu.readVirtual(low, high, STATE.X87_MEMORY, first, mmu.userBit)) return false;
    if (first === sizeBytes) return true;
    const nextHigh = mmu.highAfter(low, high, first);
    return mmu.readVirtual((low + first) | 0, nextHigh, STATE.X87_MEMORY + first, sizeBytes - first, mmu.userBit);
  }

  /** *Measured*: of 10 bytes the significand is stored first, also where the rest faults. */
  #store(low: number, high: number, record: number): boolean {
    const { mmu } = this.#h.cpu;
    const sizeBytes = this.x87.state.storeSizeBytes;
    const first = sizeBytes === FLOAT80_BYTES ? SIGNIFICAND_BYTES : sizeBytes;
    if (!mmu.writeVirtual(low, high, STATE.X87_MEMORY, first, record, mmu.userBit)) return false;
    if (first === sizeBytes) return true;
    return mmu.writeVirtual(
      (low + first) | 0,
      mmu.highAfter(low, high, first),
      STATE.X87_MEMORY + first,
      sizeBytes - first,
      record,
      mmu.userBit,
    );
  }

  loadMxcsr(record: number): number {
    const h = this.#h;
    if (!this.#sseEnabled()) return this.#sseFault();
    const value = h.low(h.a(record));
    if ((value & ~MXCSR_WRITABLE) !== 0) return h.gp();
    h.cpu.words[STATE.MXCSR >> 2] = value;
    return 0;
  }

  storeMxcsr(record: number): number {
    const h = this.#h;
    if (!this.#sseEnabled()) return this.#sseFault();
    h.set(h.a(record), h.cpu.words[STATE.MXCSR >> 2] as number, 0);
    return 0;
  }

  #sseEnabled(): boolean {
    const { cr0, cr4 } = this.#h.cpu.system;
    return (cr0 & (CR0.EM | CR0.TS)) === 0 && (cr4 & CR4.OSFXSR) !== 0;
  }

  #sseFault(): number {
    const { cr0, cr4 } = this.#h.cpu.system;
    return this.#h.fault((cr0 & CR0.EM) !== 0 || (cr4 & CR4.OSFXSR) === 0 ? VECTOR.UD : VECTOR.NM);
  }

  wait(): number {
    const h = this.#h;
    const both = CR0.MP | CR0.TS;
    if ((h.cpu.system.cr0 & both) === both) return h.fault(VECTOR.NM);
    // FNOP reports a pending exception and does nothing else.
    const vector = this.x87.execute(0xd9, 0xd0);
    return vector === 0 ? 0 : h.fault(vector);
  }
}

export function floatHelpers(h: HelperContext) {
  const unit = new FloatUnit(h);
  const image = new StateImage(h, unit.x87);
  return {
    x87: (record: number) => unit.execute(record),
    fxsave: (record: number) => image.fxsave(record),
    fxrstor: (record: number) => image.fxrstor(record),
    xsave: (record: number) => image.xsave(record),
    xrstor: (record: number) => image.xrstor(record),
    ...extendedControl(h),
    loadMxcsr: (record: number) => unit.loadMxcsr(record),
    storeMxcsr: (record: number) => unit.storeMxcsr(record),
    fwait: () => unit.wait(),
  } satisfies Record<string, Helper>;
}
