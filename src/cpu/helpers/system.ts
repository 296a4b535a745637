/** Privileged and control-transfer operations (SDM vol. 2 and 3). */
import { FLAG, GPR, LOCKED_OPERANDS, type Size, STATE, STOP } from '../layout.ts';
import { EXCHANGE_BLOCK } from '../locked-access.ts';
import { CR0, CR4, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';
import { controlRegisters, debugRegisters } from './control.ts';
import { legacyHelpers } from './legacy.ts';
import { msrHelpers } from './msr.ts';
import { ports } from './ports.ts';
import { segmentHelpers } from './segments.ts';
import { stackHelpers } from './stack.ts';
import { systemCalls } from './system-calls.ts';

const RAX = STATE.GPR + GPR.RAX;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;
const RBX = STATE.GPR + GPR.RBX;
const SCRATCH = STATE.BOUNCE;
const ENDS = STOP.RESYNC;

function flagsAndHalt(h: HelperContext) {
  const { cpu } = h;
  const { words } = cpu;
  const f = STATE.FLAGS >> 2;
  const ioAllowed = (): boolean => cpu.system.cpl <= (((words[f] as number) >> 12) & 3);
  const setAc = (on: boolean): number => {
    if (!h.privileged || (cpu.system.cr4 & CR4.SMAP) === 0) return h.fault(VECTOR.UD);
    words[f] = on ? (words[f] as number) | FLAG.AC : (words[f] as number) & ~FLAG.AC;
    cpu.mmu.selectMode();
    return 0;
  };
  return {
    cli: () => {
      if (!ioAllowed()) return h.gp();
      words[f] = (words[f] as number) & ~FLAG.IF;
      return 0;
    },
    sti: (record: number) => {
      if (!ioAllowed()) return h.gp();
      const was = (words[f] as number) & FLAG.IF;
      words[f] = (words[f] as number) | FLAG.IF;
      if (was !== 0) return 0;
      cpu.shadowAfter(record);
      return cpu.options.interrupts.pending() ? STOP.RESYNC : 0;
    },
    hlt: (record: number) => {
      if (!h.privileged) return h.gp();
      cpu.halted = true;
      return h.resyncAfter(record);
    },
    stac: () => setAc(true),
    clac: () => setAc(false),
  } satisfies Record<string, Helper>;
}

/** CPUID.1:ECX. */
const OSXSAVE = 1 << 27;

function identification(h: HelperContext) {
  const { cpu } = h;
  const { clock, random } = cpu.options;
  const isForbidden = (): boolean => !h.privileged && (cpu.system.cr4 & CR4.TSD) !== 0;
  const tsc = (): void => {
    // The TSC counts nanoseconds.
    const now = clock.nowNs();
    h.set(RAX, now | 0, 0);
    h.set(RDX, Math.floor(now / 0x100000000), 0);
  };
  return {
    cpuid: () => {
      const leaf = h.low(RAX);
      const [eax, ebx, ecx, edx] = cpu.options.cpuid(leaf >>> 0, h.low(RCX) >>> 0);
      h.set(RAX, eax, 0);
      h.set(RBX, ebx, 0);
      // CPUID.1:ECX.OSXSAVE shows CR4's bit.
      const osxsave = leaf === 1 && (cpu.system.cr4 & CR4.OSXSAVE) !== 0 ? OSXSAVE : 0;
      h.set(RCX, ecx | osxsave, 0);
      h.set(RDX, edx, 0);
      return 0;
    },
    rdtsc: () => {
      if (isForbidden()) return h.gp();
      tsc();
      return 0;
    },
    rdtscp: () => {
      if (isForbidden()) return h.gp();
      tsc();
      h.set(RCX, cpu.system.tscAux, 0);
      return 0;
    },
    random: (record: number) => {
      const { bytes } = cpu;
      random(bytes.subarray(SCRATCH, SCRATCH + 8));
      const size = h.high(record) as Size;
      h.set64(h.a(record), size, h.get64(SCRATCH, size));
      cpu.arithmeticFlags = FLAG.CF;
      return 0;
    },
  } satisfies Record<string, Helper>;
}

/** CMPXCHG8B and CMPXCHG16B, always locked: the prefix makes no difference to one processor alone. */
function compareExchangeWide(h: HelperContext): Helper {
  const { locked, words } = h.cpu;
  const setAddress = (record: number): void => {
    words[STATE.ADDRESS >> 2] = h.low(h.a(record));
    words[(STATE.ADDRESS >> 2) + 1] = h.highOf(h.a(record));
  };
  const finish = (isEqual: boolean): number => {
    h.cpu.arithmeticFlags = (h.cpu.flags & ~FLAG.ZF) | (isEqual ? FLAG.ZF : 0);
    return 0;
  };
  const exchange8 = (record: number): number => {
    h.set(LOCKED_OPERANDS, h.low(RBX), h.low(RCX));
    h.set(LOCKED_OPERANDS + 8, h.low(RAX), h.low(RDX));
    const [expectedLow, expectedHigh] = [h.low(RAX), h.low(RDX)];
    const old = locked.exchange8(record);
    if (old === null) return STOP.FAULT;
    const low = Number(BigInt.asIntN(32, old));
    const high = Number(BigInt.asIntN(32, old >> 32n));
    const isEqual = low === expectedLow && high === expectedHigh;
    if (!isEqual) {
      h.set(RAX, low, 0);
      h.set(RDX, high, 0);
    }
    return finish(isEqual);
  };
  const exchange16 = (record: number): number => {
    const registers = [RAX, RDX, RBX, RCX];
    registers.forEach((place, index) => {
      h.set(EXCHANGE_BLOCK + 8 * index, h.low(place), h.highOf(place));
    });
    if (!locked.exchange16(record)) return STOP.FAULT;
    const isOld = (place: number, index: number): boolean =>
      h.low(place) === h.low(EXCHANGE_BLOCK + 8 * index) && h.highOf(place) === h.highOf(EXCHANGE_BLOCK + 8 * index);
    const isEqual = isOld(RAX, 0) && isOld(RDX, 1);
    h.set(RAX, h.low(EXCHANGE_BLOCK), h.highOf(EXCHANGE_BLOCK));
    h.set(RDX, h.low(EXCHANGE_BLOCK + 8), h.highOf(EXCHANGE_BLOCK + 8));
    return finish(isEqual);
  };
  return (record) => {
    const isWide = h.high(record) === 3;
    if (isWide && (h.low(h.a(record)) & 15) !== 0) return h.gp();
    setAddress(record);
    return isWide ? exchange16(record) : exchange8(record);
  };
}

export function systemHelpers(h: HelperContext) {
  const { cpu } = h;
  const privileged =
    (action: (record: number) => number): Helper =>
    (record) =>
      h.privileged ? action(record) : h.gp();
  return {
    ...controlRegisters(h),
    ...segmentHelpers(h),
    ...stackHelpers(h),
    ...systemCalls(h),
    ...legacyHelpers(h),
    ...flagsAndHalt(h),
    ...msrHelpers(h),
    ...identification(h),
    ...ports(h),
    compareExchangeWide: compareExchangeWide(h),
    undefined: () => h.fault(VECTOR.UD),
    generalProtection: () => h.gp(),
    resyncAfter: (record: number) => h.resyncAfter(record),
    /** A debugger's breakpoint may be at this place. */
    breakpoint: (record: number) => {
      cpu.setRipOf(record, 0);
      return cpu.debugging.isAtBreakpoint ? STOP.DEBUGGER : 0;
    },
    /** A block has run often. */
    hot: (record: number) => {
      cpu.code.hot(record);
      return 0;
    },
    /** Looks up the code at the page offset in the upper immediate. */
    resync: (record: number) => {
      cpu.setRipOf(record, h.high(record) - cpu.code.place(record));
      return STOP.LOOKUP;
    },
    crossPage: (record: number) => {
      const holds = cpu.code.crossingHolds(record);
      if (holds === true) return 0;
      if (holds === null) return STOP.FAULT;
      cpu.setRipOf(record, 0);
      return STOP.LOOKUP;
    },
    /** b: INT1, which goes through its gate as an event of the processor does. */
    interrupt: (record: number) => {
      cpu.setRipAfter(record);
      const { exceptions } = cpu;
      const delivered = h.b(record) === 1 ? exceptions.deliverInt1() : exceptions.deliverSoftware(h.a(record));
      return delivered ? ENDS : STOP.FAULT;
    },
    clts: privileged(() => {
      cpu.system.cr0 &= ~CR0.TS;
      return 0;
    }),
    invlpg: privileged((record) => {
      cpu.mmu.tlb.flushPage(h.low(h.a(record)), h.highOf(h.a(record)));
      return h.resyncAfter(record);
    }),
    wbinvd: privileged(() => 0),
    /** SMSW: CR0 to a register of the operand's size, or its low 16 bits to memory (c = 0). */
    smsw: (record: number) => {
      if (h.c(record) === 1) h.set64(h.a(record), h.high(record) as Size, BigInt(cpu.system.cr0 >>> 0));
      else {
        h.set(SCRATCH, cpu.system.cr0, 0);
        const { mmu } = cpu;
        const [low, high] = [h.low(h.a(record)), h.highOf(h.a(record))];
        if (!mmu.writeVirtual(low, high, SCRATCH, 2, record, mmu.userBit)) return STOP.FAULT;
      }
      return 0;
    },
    /** LMSW: the low four bits of CR0; PE can be set, not cleared. */
    lmsw: privileged((record) => {
      const { mmu, system } = cpu;
      if (h.c(record) === 1) h.set(SCRATCH, h.low(h.a(record)), 0);
      else if (!mmu.readVirtual(h.low(h.a(record)), h.highOf(h.a(record)), SCRATCH, 2, 0)) return STOP.FAULT;
      const bits = CR0.MP | CR0.EM | CR0.TS;
      system.cr0 = (system.cr0 & ~bits) | (h.low(SCRATCH) & (bits | CR0.PE));
      mmu.selectMode();
      cpu.words[STATE.SSE_UNCHECKED >> 2] = 1;
      return h.resyncAfter(record);
    }),
    ...debugRegisters(h),
  } satisfies Record<string, Helper>;
}
