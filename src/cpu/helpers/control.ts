/** Moves to and from control and debug registers (SDM vol. 3 §2.5 and §17.2). */
import { PHYSICAL_BITS } from '../cpuid.ts';
import { SEGMENT, STATE } from '../layout.ts';
import { ATTRIBUTE, CR0, CR4, DR6, DR6_FIXED, DR7, DR7_FIXED, EFER, type Segment, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

/** DR7 bits 12, 14 and 15 are 0. */
const DR7_RESERVED = 0xd000;

/** Bits above the physical address are reserved (SDM vol. 3 §4.5). */
const CR3_ADDRESS_HIGH = 2 ** (PHYSICAL_BITS - 32) - 1;

/** What belongs to features that CPUID shows, and PCE, which has none: all other bits are reserved. */
const CR4_KNOWN =
  CR4.TSD | CR4.PSE | CR4.PAE | CR4.PGE | CR4.PCE | CR4.OSFXSR | CR4.OSXMMEXCPT | CR4.OSXSAVE | CR4.SMEP | CR4.SMAP;

export function controlRegisters(h: HelperContext) {
  const { cpu } = h;
  const s = cpu.system;
  /** A register that does not exist is undefined at every privilege level. */
  const exists = (number: number): boolean => number === 0 || (number >= 2 && number <= 4) || number === 8;
  const read: Helper = (record) => {
    if (!exists(h.b(record))) return h.fault(VECTOR.UD);
    if (!h.privileged) return h.gp();
    const values: Readonly<Record<number, () => readonly [number, number]>> = {
      0: () => [s.cr0, 0],
      2: () => [s.cr2Low, s.cr2High],
      3: () => [s.cr3 | 0, Math.floor(s.cr3 / 0x100000000)],
      4: () => [s.cr4, 0],
      8: () => [cpu.options.interrupts.readTaskPriority(), 0],
    };
    const value = values[h.b(record)]?.();
    if (!value) return h.fault(VECTOR.UD);
    h.set(h.a(record), value[0], cpu.mmu.isLegacy ? 0 : value[1]);
    return 0;
  };
  /** Turning paging on with EFER.LME activates long mode, turning it off leaves it (SDM vol. 3 §10.8.5). */
  const switchPaging = (cr0: number): boolean => {
    const on = (cr0 & CR0.PG) !== 0;
    if (on === ((s.cr0 & CR0.PG) !== 0)) return true;
    const isLongCode = ((s.segments[SEGMENT.CS] as Segment).attributes & ATTRIBUTE.LONG) !== 0;
    if (!on) {
      // 64-bit code cannot do without paging.
      if ((s.efer & EFER.LMA) !== 0 && isLongCode) return false;
      s.efer &= ~EFER.LMA;
    } else if ((s.efer & EFER.LME) !== 0) {
      if ((s.cr4 & CR4.PAE) === 0 || isLongCode) return false;
      s.efer |= EFER.LMA;
    }
    return true;
  };
  const write: Helper = (record) => {
    if (!exists(h.b(record))) return h.fault(VECTOR.UD);
    if (!h.privileged) return h.gp();
    const low = h.low(h.a(record));
    const high = h.highOf(h.a(record));
    const number = h.b(record);
    if (number === 0) {
      if (high !== 0 || ((low & CR0.PG) !== 0 && (low & CR0.PE) === 0)) return h.gp();
      if (!switchPaging(low)) return h.gp();
      s.cr0 = low | CR0.ET;
    } else if (number === 2) {
      s.cr2Low = low;
      s.cr2High = high;
    } else if (number === 3) {
      if ((high & ~CR3_ADDRESS_HIGH) !== 0) return h.gp();
      s.cr3 = (low >>> 0) + high * 0x100000000;
      cpu.mmu.flushNonGlobal();
      return h.resyncAfter(record);
    } else if (number === 4) {
      if (high !== 0 || (low & ~CR4_KNOWN) !== 0 || ((low & CR4.PAE) === 0 && (s.efer & EFER.LMA) !== 0)) return h.gp();
      s.cr4 = low;
    } else if (number === 8) {
      if (high !== 0 || (low & ~15) !== 0) return h.gp();
      cpu.options.interrupts.writeTaskPriority(low);
    } else return h.fault(VECTOR.UD);
    cpu.words[STATE.SSE_UNCHECKED >> 2] = 1;
    if (number === 0 || number === 4) cpu.mmu.tlb.flush();
    if (number === 0) cpu.mmu.selectMode();
    return h.resyncAfter(record);
  };
  return { readControl: read, writeControl: write };
}

/** DR0 to DR3, DR6 and DR7; 4 and 5 are other names of 6 and 7 unless CR4.DE is set (SDM vol. 3 §17.2.2). */
export function debugRegisters(h: HelperContext) {
  const { system } = h.cpu;
  const number = (record: number): number => {
    const named = h.b(record);
    return named === 4 || named === 5 ? ((system.cr4 & CR4.DE) !== 0 ? -1 : named + 2) : named;
  };
  /** With general detect, each access is a fault; its handler finds general detect off, so that it may use the registers. */
  const isMet = (): boolean => {
    if ((system.dr7 & DR7.GD) === 0) return false;
    system.dr7 &= ~DR7.GD;
    system.dr6 |= DR6.BD;
    return true;
  };
  const read: Helper = (record) => {
    const n = number(record);
    if (n < 0 || n > 7) return h.fault(VECTOR.UD);
    if (!h.privileged) return h.gp();
    if (isMet()) return h.fault(VECTOR.DB);
    if (n >= 6) h.set(h.a(record), n === 6 ? system.dr6 : system.dr7, 0);
    else h.set(h.a(record), system.breakpoints[2 * n] as number, system.breakpoints[2 * n + 1] as number);
    return 0;
  };
  const write: Helper = (record) => {
    const n = number(record);
    if (n < 0 || n > 7) return h.fault(VECTOR.UD);
    if (!h.privileged) return h.gp();
    if (isMet()) return h.fault(VECTOR.DB);
    const low = h.low(h.a(record));
    const high = h.highOf(h.a(record));
    if (n >= 6 && high !== 0) return h.gp();
    if (n === 6) system.dr6 = low | DR6_FIXED;
    else if (n === 7) system.dr7 = (low & ~DR7_RESERVED) | DR7_FIXED;
    else {
      system.breakpoints[2 * n] = low;
      system.breakpoints[2 * n + 1] = high;
    }
    return 0;
  };
  return { readDebug: read, writeDebug: write };
}
