import type { Cpu } from './cpu.ts';
import { STATE } from './layout.ts';
import { type Watchpoint, Watchpoints } from './watchpoints.ts';

/** A virtual address as halves. */
export interface CodeAddress {
  readonly low: number;
  readonly high: number;
}

/**
 * What a debugger has the processor stop for. The guest sees nothing of it: a place of a breakpoint is decoded with a record before the
 * instruction, which looks whether to stop, and watched data is met in the MemoryUnit.
 */
export class Debugging {
  readonly #cpu: Cpu;
  #breakpoints: readonly CodeAddress[] = [];
  #watchpoints: readonly Watchpoint[] = [];

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** All there are from now on. Between runs. What is decoded is given up where they differ from those before. */
  set(breakpoints: readonly CodeAddress[], watchpoints: readonly Watchpoint[]): void {
    const { code, mmu, system } = this.#cpu;
    if (!isSame(breakpoints, this.#breakpoints)) {
      this.#breakpoints = breakpoints;
      code.breakpointOffsets = new Set(breakpoints.map(({ low }) => low & 0xfff));
      code.flush();
    }
    if (!isSame(watchpoints, this.#watchpoints)) {
      this.#watchpoints = watchpoints;
      mmu.watchpoints = watchpoints.length === 0 ? undefined : new Watchpoints(watchpoints, system);
      mmu.tlb.flush();
    }
  }

  /** Whether there is a breakpoint at RIP. */
  get isAtBreakpoint(): boolean {
    const { words } = this.#cpu;
    const low = words[STATE.RIP >> 2];
    const high = words[(STATE.RIP >> 2) + 1];
    return this.#breakpoints.some((each) => each.low === low && each.high === high);
  }
}

/** Of plain numbers. */
function isSame<Entry extends object>(one: readonly Entry[], other: readonly Entry[]): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
