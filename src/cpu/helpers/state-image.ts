/** FXSAVE, FXRSTOR, XSAVE and XRSTOR: the x87 and SSE state as an image in memory (SDM vol. 1 §10.5 and §13). */
import { readFxsave, writeFxsave, type X87 } from '../float/x87.ts';
import { GPR, STATE, STOP } from '../layout.ts';
import { ACCESS } from '../memory-unit.ts';
import { CR0, CR4, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

/** Places in the image, SDM vol. 1 table 10-2 and §13.4. */
const IMAGE = {
  MXCSR: 24,
  MXCSR_MASK: 28,
  REGISTERS: 32,
  XMM: 160,
  LEGACY_END: 416,
  XSTATE_BV: 512,
  XCOMP_BV: 520,
  END: 576,
} as const;
/** State components, and bits of XCR0. */
const COMPONENT = { X87: 1, SSE: 2 } as const;
const XMM_BYTES = 256;
export const MXCSR_WRITABLE = 0xffff;
export const MXCSR_RESET = 0x1f80;
const FXSAVE_ALIGNMENT = 16;
const XSAVE_ALIGNMENT = 64;
/** Memory is reached through the scratch of x87 operands. */
const CHUNK_BYTES = 128;

export class StateImage {
  readonly #h: HelperContext;
  readonly #x87: X87;
  readonly #image = new Uint8Array(IMAGE.END);
  readonly #view = new DataView(this.#image.buffer);

  constructor(h: HelperContext, x87: X87) {
    this.#h = h;
    this.#x87 = x87;
  }

  fxsave(record: number): number {
    const fault = this.#begin(record, FXSAVE_ALIGNMENT);
    if (fault !== 0) return fault;
    this.#takeX87(record);
    this.#takeSse();
    this.#takeMxcsr();
    // What follows the XMM registers is the program's own.
    return this.#write(record, IMAGE.XSTATE_BV, [[0, IMAGE.XMM + this.#xmmBytes]]);
  }

  fxrstor(record: number): number {
    const fault = this.#begin(record, FXSAVE_ALIGNMENT);
    if (fault !== 0) return fault;
    if (!this.#read(record, IMAGE.XSTATE_BV)) return STOP.FAULT;
    if (!this.#mxcsrIsValid()) return this.#h.gp();
    this.#putX87(record);
    this.#putSse();
    this.#putMxcsr();
    return 0;
  }

  /** Only what EDX:EAX and XCR0 both name is written, and its bits of the header. */
  xsave(record: number): number {
    const fault = this.#beginExtended(record);
    if (fault !== 0) return fault;
    const components = this.#requested();
    // The old header is read, but what faults is the write.
    if (!this.#mayWrite(record, IMAGE.END) || !this.#read(record, IMAGE.END)) return STOP.FAULT;
    const ranges: [number, number][] = [];
    if ((components & COMPONENT.X87) !== 0) {
      this.#takeX87(record);
      ranges.push([0, IMAGE.MXCSR], [IMAGE.REGISTERS, IMAGE.XMM]);
    }
    if ((components & COMPONENT.SSE) !== 0) {
      this.#takeSse();
      this.#takeMxcsr();
      ranges.push([IMAGE.MXCSR, IMAGE.REGISTERS], [IMAGE.XMM, IMAGE.XMM + this.#xmmBytes]);
    }
    // Every component counts as in use.
    this.#view.setUint32(IMAGE.XSTATE_BV, this.#view.getUint32(IMAGE.XSTATE_BV, true) | components, true);
    ranges.push([IMAGE.XSTATE_BV, IMAGE.XCOMP_BV]);
    return this.#write(record, IMAGE.END, ranges);
  }

  /** A component that the header does not have gets its initial state. */
  xrstor(record: number): number {
    const fault = this.#beginExtended(record);
    if (fault !== 0) return fault;
    const components = this.#requested();
    if (!this.#read(record, IMAGE.END)) return STOP.FAULT;
    const present = this.#view.getUint32(IMAGE.XSTATE_BV, true);
    if (!this.#headerIsValid(present)) return this.#h.gp();
    if ((components & COMPONENT.SSE) !== 0 && !this.#mxcsrIsValid()) return this.#h.gp();
    if ((components & COMPONENT.X87) !== 0) {
      if ((present & COMPONENT.X87) !== 0) this.#putX87(record);
      else this.#resetX87();
    }
    if ((components & COMPONENT.SSE) !== 0) {
      if ((present & COMPONENT.SSE) === 0) this.#image.fill(0, IMAGE.XMM, IMAGE.LEGACY_END);
      this.#putSse();
      this.#putMxcsr();
    }
    return 0;
  }

  /** The gates that all four share; 0 or a stop code. */
  #begin(record: number, alignment: number): number {
    const h = this.#h;
    if ((h.cpu.system.cr0 & (CR0.EM | CR0.TS)) !== 0) return h.fault(VECTOR.NM);
    return (h.low(h.a(record)) & (alignment - 1)) !== 0 ? h.gp() : 0;
  }

  #beginExtended(record: number): number {
    const h = this.#h;
    if ((h.cpu.system.cr4 & CR4.OSXSAVE) === 0) return h.fault(VECTOR.UD);
    if ((h.cpu.system.cr0 & CR0.TS) !== 0) return h.fault(VECTOR.NM);
    return (h.low(h.a(record)) & (XSAVE_ALIGNMENT - 1)) !== 0 ? h.gp() : 0;
  }

  #requested(): number {
    return this.#h.low(STATE.GPR + GPR.RAX) & this.#h.cpu.system.xcr0;
  }

  /** SDM vol. 1 §13.8: the standard form, no bit that XCR0 lacks, the reserved parts that are looked at zero. */
  #headerIsValid(present: number): boolean {
    if ((present & ~this.#h.cpu.system.xcr0) !== 0) return false;
    for (let at = IMAGE.XSTATE_BV + 4; at < IMAGE.XSTATE_BV + 24; at += 4) {
      if (this.#view.getUint32(at, true) !== 0) return false;
    }
    return true;
  }

  #mxcsrIsValid(): boolean {
    return (this.#view.getUint32(IMAGE.MXCSR, true) & ~MXCSR_WRITABLE) === 0;
  }

  #takeX87(record: number): void {
    writeFxsave(this.#x87.state, this.#image, this.#h.high(record) === 3);
  }

  #takeSse(): void {
    this.#image.set(this.#h.cpu.bytes.subarray(STATE.XMM, STATE.XMM + XMM_BYTES), IMAGE.XMM);
  }

  #takeMxcsr(): void {
    this.#view.setUint32(IMAGE.MXCSR, this.#h.cpu.words[STATE.MXCSR >> 2] as number, true);
    this.#view.setUint32(IMAGE.MXCSR_MASK, MXCSR_WRITABLE, true);
  }

  #putX87(record: number): void {
    readFxsave(this.#x87.state, this.#image, this.#h.high(record) === 3);
  }

  #resetX87(): void {
    this.#x87.state.words.fill(0);
    this.#x87.execute(0xdb, 0xe3); // FNINIT
  }

  #putSse(): void {
    this.#h.cpu.bytes.set(this.#image.subarray(IMAGE.XMM, IMAGE.XMM + this.#xmmBytes), STATE.XMM);
  }

  /** Legacy code sees half of the XMM registers. */
  get #xmmBytes(): number {
    return this.#h.cpu.mmu.isLegacy ? XMM_BYTES / 2 : XMM_BYTES;
  }

  #putMxcsr(): void {
    this.#h.cpu.words[STATE.MXCSR >> 2] = this.#view.getUint32(IMAGE.MXCSR, true);
  }

  #read(record: number, sizeBytes: number): boolean {
    const { mmu, bytes } = this.#h.cpu;
    for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
      const count = Math.min(CHUNK_BYTES, sizeBytes - at);
      const [low, high] = this.#address(record, at);
      if (!mmu.readVirtual(low, high, STATE.X87_MEMORY, count, mmu.userBit)) return false;
      this.#image.set(bytes.subarray(STATE.X87_MEMORY, STATE.X87_MEMORY + count), at);
    }
    return true;
  }

  /** Writes ranges of the image; nothing is written when any byte of its `sizeBytes` faults. */
  #write(record: number, sizeBytes: number, ranges: readonly (readonly [from: number, to: number])[]): number {
    const { mmu, bytes } = this.#h.cpu;
    if (!this.#mayWrite(record, sizeBytes)) return STOP.FAULT;
    for (const [from, to] of ranges) {
      for (let at = from; at < to; at += CHUNK_BYTES) {
        const count = Math.min(CHUNK_BYTES, to - at);
        bytes.set(this.#image.subarray(at, at + count), STATE.X87_MEMORY);
        const [low, high] = this.#address(record, at);
        if (!mmu.writeVirtual(low, high, STATE.X87_MEMORY, count, record, mmu.userBit)) return STOP.FAULT;
      }
    }
    return 0;
  }

  #mayWrite(record: number, sizeBytes: number): boolean {
    const { mmu } = this.#h.cpu;
    const writable = (at: number): boolean =>
      mmu.translate(...this.#address(record, at), mmu.userBit | ACCESS.WRITE) >= 0;
    return writable(0) && writable(sizeBytes - 1);
  }

  #address(record: number, offset: number): [low: number, high: number] {
    const h = this.#h;
    const low = h.low(h.a(record));
    return [(low + offset) | 0, h.cpu.mmu.highAfter(low, h.highOf(h.a(record)), offset)];
  }
}

/** XGETBV and XSETBV of XCR0, the only such register: x87 always, SSE if wanted. */
export function extendedControl(h: HelperContext) {
  const { system } = h.cpu;
  const RAX = STATE.GPR + GPR.RAX;
  const RCX = STATE.GPR + GPR.RCX;
  const RDX = STATE.GPR + GPR.RDX;
  return {
    xgetbv: () => {
      if ((system.cr4 & CR4.OSXSAVE) === 0) return h.fault(VECTOR.UD);
      if (h.low(RCX) !== 0) return h.gp();
      h.set(RAX, system.xcr0, 0);
      h.set(RDX, 0, 0);
      return 0;
    },
    xsetbv: () => {
      if ((system.cr4 & CR4.OSXSAVE) === 0) return h.fault(VECTOR.UD);
      const value = h.low(RAX);
      const known = COMPONENT.X87 | COMPONENT.SSE;
      const valid = (value & ~known) === 0 && (value & COMPONENT.X87) !== 0 && h.low(RDX) === 0;
      if (!h.privileged || h.low(RCX) !== 0 || !valid) return h.gp();
      system.xcr0 = value;
      return 0;
    },
  } satisfies Record<string, Helper>;
}
