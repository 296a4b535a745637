import type { Cpu, CpuStop } from '#cpu/cpu.ts';
import { readFxsave, writeFxsave, X87State } from '#cpu/float/x87.ts';
import { GPR_NAMES, SEGMENT, STATE } from '#cpu/layout.ts';
import { WATCH, type Watchpoint } from '#cpu/watchpoints.ts';
import { viewOf } from '#util/struct.ts';
import {
  type Breakpoint,
  type BreakpointKind,
  type DebugSettings,
  type DebugState,
  type DebugStop,
  FXSAVE,
  isOfCode,
  type VcpuDebug,
  type WritableDebugState,
} from '../debug.ts';
import type { VcpuRegisters } from '../registers.ts';
import { loadGeneralRegisters } from './cpu-state.ts';

const XMM_BYTES = 256;
const MXCSR_MASK = 0xffff;
const ACCESSES: Readonly<Partial<Record<BreakpointKind, number>>> = {
  write: WATCH.WRITE,
  read: WATCH.READ,
  access: WATCH.READ | WATCH.WRITE,
};

const low = (value: bigint): number => Number(BigInt.asIntN(32, value));
const high = (value: bigint): number => Number(BigInt.asIntN(32, value >> 32n));
const whole = (lowHalf: number, highHalf: number): bigint => (BigInt(highHalf >>> 0) << 32n) | BigInt(lowHalf >>> 0);

interface WatchedData extends Watchpoint {
  readonly kind: BreakpointKind;
}

/** Debugging of the software CPU: breakpoints and watched data are the CPU's own, of which the guest sees nothing. */
export class SoftwareDebug implements VcpuDebug {
  /** Whether `run` ends after one instruction. */
  steps = false;
  readonly #cpu: Cpu;
  readonly #x87: X87State;
  readonly #alone: (action: () => void) => void;
  #breakpoints: readonly Breakpoint[] = [];

  /** `alone` does something that changes decoded code, as guest code may. */
  constructor(cpu: Cpu, alone: (action: () => void) => void) {
    this.#cpu = cpu;
    this.#x87 = new X87State(cpu.bytes.buffer, STATE.X87);
    this.#alone = alone;
  }

  read(): DebugState {
    const { system, quads, words, options } = this.#cpu;
    const base = (segment: number): bigint => BigInt.asUintN(64, quads[STATE.SEGMENT_BASE / 8 + segment] as bigint);
    const selector = (segment: number): number => system.segments[segment]?.selector ?? 0;
    return {
      ...this.#general(),
      fsBase: base(SEGMENT.FS),
      gsBase: base(SEGMENT.GS),
      kernelGsBase: whole(system.kernelGsLow, system.kernelGsHigh),
      cr0: whole(system.cr0, 0),
      cr2: whole(system.cr2Low, system.cr2High),
      cr3: BigInt(system.cr3),
      cr4: whole(system.cr4, 0),
      cr8: BigInt(options.interrupts.readTaskPriority()),
      efer: whole(system.efer, 0),
      isHalted: this.#cpu.halted ? 1 : 0,
      cs: selector(SEGMENT.CS),
      ss: selector(SEGMENT.SS),
      ds: selector(SEGMENT.DS),
      es: selector(SEGMENT.ES),
      fs: selector(SEGMENT.FS),
      gs: selector(SEGMENT.GS),
      fxsave: this.#fxsave(words),
    };
  }

  write(state: WritableDebugState): void {
    const cpu = this.#cpu;
    const { system, quads, bytes, words } = cpu;
    const before = this.#general();
    loadGeneralRegisters(cpu, state);
    cpu.setInstructionPointer(low(state.rip), high(state.rip));
    // What the debugger does not change stays as it is, such as a halt.
    if (state.rip !== before.rip) cpu.halted = false;
    quads[STATE.SEGMENT_BASE / 8 + SEGMENT.FS] = BigInt.asIntN(64, state.fsBase);
    quads[STATE.SEGMENT_BASE / 8 + SEGMENT.GS] = BigInt.asIntN(64, state.gsBase);
    system.kernelGsLow = low(state.kernelGsBase);
    system.kernelGsHigh = high(state.kernelGsBase);
    readFxsave(this.#x87, state.fxsave, true);
    bytes.set(state.fxsave.subarray(FXSAVE.XMM, FXSAVE.XMM + XMM_BYTES), STATE.XMM);
    words[STATE.MXCSR >> 2] = viewOf(state.fxsave).getUint32(FXSAVE.MXCSR, true) & MXCSR_MASK;
    // RFLAGS.AC may be another.
    cpu.mmu.selectMode();
  }

  /** While it only steps, what is decoded with other breakpoints is kept: a debugger takes them away for that. */
  prepare({ steps, breakpoints }: DebugSettings): void {
    this.steps = steps;
    // The debugger writes memory unseen.
    this.#alone(() => this.#cpu.code.recheck());
    const watched = breakpoints.filter((breakpoint) => !isOfCode(breakpoint));
    const places = (steps ? this.#breakpoints : breakpoints).filter(isOfCode);
    this.#breakpoints = steps ? this.#breakpoints : breakpoints;
    this.#alone(() => this.#cpu.debugging.set(places.map(addressOf), watched.map(watchedData)));
  }

  /** What the CPU stopped for, where that is a debugger's. */
  stopOf(stop: CpuStop): DebugStop | undefined {
    if (stop.reason === 'stepped') return { cause: 'step' };
    if (stop.reason === 'watchpoint') {
      const { kind, low, high } = stop.watchpoint as WatchedData;
      return { cause: kind, address: whole(low, high) };
    }
    if (stop.reason !== 'breakpoint') return undefined;
    const { words } = this.#cpu;
    const rip = whole(words[STATE.RIP >> 2] as number, words[(STATE.RIP >> 2) + 1] as number);
    const found = this.#breakpoints.find((each) => isOfCode(each) && each.address === rip);
    return { cause: found?.kind ?? 'software', address: rip };
  }

  #general(): VcpuRegisters {
    const cpu = this.#cpu;
    const general = Object.fromEntries(
      GPR_NAMES.map((name, number) => [name, BigInt.asUintN(64, cpu.quads[STATE.GPR / 8 + number] as bigint)]),
    );
    const rip = whole(cpu.instructionPointerLow, cpu.instructionPointerHigh);
    return { ...general, rip, rflags: whole(cpu.flags, 0) } as VcpuRegisters;
  }

  #fxsave(words: Int32Array): Uint8Array {
    const image = new Uint8Array(FXSAVE.SIZE_BYTES);
    writeFxsave(this.#x87, image, true);
    image.set(this.#cpu.bytes.subarray(STATE.XMM, STATE.XMM + XMM_BYTES), FXSAVE.XMM);
    const view = viewOf(image);
    view.setUint32(FXSAVE.MXCSR, words[STATE.MXCSR >> 2] as number, true);
    view.setUint32(FXSAVE.MXCSR_MASK, MXCSR_MASK, true);
    return image;
  }
}

const addressOf = ({ address }: Breakpoint) => ({ low: low(address), high: high(address) });

const watchedData = ({ kind, address, sizeBytes }: Breakpoint): WatchedData => ({
  ...addressOf({ kind, address, sizeBytes }),
  sizeBytes,
  kind,
  accesses: ACCESSES[kind] ?? 0,
});
