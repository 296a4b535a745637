/** Privileged and control-transfer operations (SDM vol. 2 and 3). */
import { FLAG, GPR, SEGMENT, type Size, STATE, STOP } from '../layout.ts';
import { ACCESS } from '../memory-unit.ts';
import { CR0, CR4, EFER, IA32_TSC_AUX, type Segment, type Table, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';
import { controlRegisters, debugRegisters } from './control.ts';
import { msrHelpers } from './msr.ts';

const RAX = STATE.GPR + GPR.RAX;
const RSP = STATE.GPR + GPR.RSP;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;
const RBX = STATE.GPR + GPR.RBX;
const R11 = STATE.GPR + GPR.R11;
const SCRATCH = STATE.BOUNCE;
/** Attributes of the flat segments that SYSCALL and SYSRET load, as bits 8 to 23 of a descriptor's upper half. */
const FLAT = { KERNEL_CODE: 0xa09b, KERNEL_DATA: 0xc093, USER_CODE: 0xa0fb, USER_DATA: 0xc0f3 } as const;
const ENDS = STOP.RESYNC;

function segment(h: HelperContext, index: number): Segment {
  return h.cpu.system.segments[index] as Segment;
}

function setCodeAndStack(h: HelperContext, selectors: { cs: number; ss: number }, cpl: number): void {
  Object.assign(segment(h, SEGMENT.CS), {
    selector: selectors.cs,
    attributes: cpl === 3 ? FLAT.USER_CODE : FLAT.KERNEL_CODE,
  });
  Object.assign(segment(h, SEGMENT.SS), {
    selector: selectors.ss,
    attributes: cpl === 3 ? FLAT.USER_DATA : FLAT.KERNEL_DATA,
  });
  h.cpu.system.cpl = cpl;
  h.cpu.mmu.selectMode();
}

function syscall(h: HelperContext): Helper {
  const { cpu } = h;
  const s = cpu.system;
  return (record) => {
    if ((s.efer & EFER.SCE) === 0) return h.fault(VECTOR.UD);
    cpu.setRipAfter(record);
    h.set(RCX, h.low(STATE.RIP), h.highOf(STATE.RIP));
    h.set(R11, cpu.flags, 0);
    cpu.flags = cpu.flags & ~s.syscallMask & ~FLAG.RF;
    const cs = s.starHigh & 0xfffc;
    setCodeAndStack(h, { cs, ss: cs + 8 }, 0);
    cpu.setRip(s.lstarLow, s.lstarHigh);
    return ENDS;
  };
}

function sysret(h: HelperContext): Helper {
  const { cpu } = h;
  const s = cpu.system;
  return (record) => {
    if ((s.efer & EFER.SCE) === 0) return h.fault(VECTOR.UD);
    const high = h.highOf(RCX);
    // Only the 64-bit form; the return to compatibility mode waits for that mode.
    if (!h.privileged || h.high(record) !== 3 || (high >> 15 !== 0 && high >> 15 !== -1)) return h.gp();
    const base = (s.starHigh >>> 16) & 0xffff;
    cpu.flags = h.low(R11) & 0x3c7fd7;
    setCodeAndStack(h, { cs: (base + 16) | 3, ss: (base + 8) | 3 }, 3);
    cpu.setRip(h.low(RCX), high);
    return ENDS;
  };
}

/** LGDT, LIDT, SGDT and SIDT by modrm.reg: limit in the first two bytes, base in the next eight. */
function descriptorTable(h: HelperContext): Helper {
  const { cpu } = h;
  return (record) => {
    const kind = h.b(record) & 7;
    const table = kind & 1 ? cpu.system.idt : cpu.system.gdt;
    const low = h.low(h.a(record));
    const high = h.highOf(h.a(record));
    const { mmu, words } = cpu;
    const w = SCRATCH >> 2;
    if (kind < 2) {
      const user = mmu.userBit;
      words[w] = (table.limit & 0xffff) | (table.baseLow << 16);
      words[w + 1] = (table.baseLow >>> 16) | (table.baseHigh << 16);
      words[w + 2] = table.baseHigh >>> 16;
      if (!mmu.writeVirtual(low, high, SCRATCH, 10, record, user)) return STOP.FAULT;
      return 0;
    }
    if (!h.privileged) return h.gp();
    if (!mmu.readVirtual(low, high, SCRATCH, 10, 0)) return STOP.FAULT;
    const first = words[w] as number;
    const second = words[w + 1] as number;
    const third = words[w + 2] as number;
    table.limit = first & 0xffff;
    table.baseLow = (first >>> 16) | (second << 16);
    table.baseHigh = (second >>> 16) | (third << 16);
    return 0;
  };
}

function segments(h: HelperContext) {
  const { cpu } = h;
  const write: Helper = (record) => {
    const index = h.b(record);
    const selector = h.low(h.a(record)) & 0xffff;
    if (index === SEGMENT.CS || index > 5) return h.fault(VECTOR.UD);
    const target = segment(h, index);
    const baseAt = STATE.SEGMENT_BASE + index * 8;
    if ((selector & 0xfffc) === 0) {
      if (index === SEGMENT.SS && (cpu.system.cpl === 3 || (selector & 3) !== cpu.system.cpl)) return h.gp();
      Object.assign(target, { selector, attributes: 0 });
      h.set(baseAt, 0, 0);
      return 0;
    }
    if (!cpu.exceptions.readDescriptor(selector, 8)) return STOP.FAULT;
    const low = cpu.exceptions.descriptorLow;
    const high = cpu.exceptions.descriptorHigh;
    const isData = (high & 0x1000) !== 0 && ((high & 0x800) === 0 || (high & 0x200) !== 0);
    if (!isData || (index === SEGMENT.SS && ((high >> 13) & 3) !== cpu.system.cpl)) return h.gp(selector & 0xfffc);
    if ((high & 0x8000) === 0) return h.fault(index === SEGMENT.SS ? VECTOR.SS : VECTOR.NP, selector & 0xfffc);
    Object.assign(target, { selector, attributes: (high >> 8) & 0xf0ff });
    const flat = index !== SEGMENT.FS && index !== SEGMENT.GS;
    h.set(baseAt, flat ? 0 : (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000), 0);
    if (index !== SEGMENT.SS) return 0;
    // Only where an interrupt waits does it matter that the next instruction comes first.
    cpu.system.shadow = cpu.interruptible;
    return cpu.system.shadow ? h.resyncAfter(record) : 0;
  };
  const read: Helper = (record) => {
    if (h.b(record) > 5) return h.fault(VECTOR.UD);
    h.set(h.a(record), segment(h, h.b(record)).selector, 0);
    return 0;
  };
  return { readSegment: read, writeSegment: write };
}

/** SLDT, STR, LLDT, LTR, VERR, VERW by modrm.reg; the operand is a register's place (c = 1) or an address. */
function system0f00(h: HelperContext): Helper {
  const { cpu } = h;
  return (record) => {
    const kind = h.b(record) & 7;
    const inRegister = h.c(record) === 1;
    const table: Table = kind & 1 ? cpu.system.tr : cpu.system.ldt;
    if (kind < 2) {
      if (inRegister) h.set64(h.a(record), h.high(record) as Size, BigInt(table.selector));
      else {
        cpu.words[SCRATCH >> 2] = table.selector;
        if (!cpu.mmu.writeVirtual(h.low(h.a(record)), h.highOf(h.a(record)), SCRATCH, 2, record, cpu.mmu.userBit))
          return STOP.FAULT;
      }
      return 0;
    }
    if (kind < 4 && !h.privileged) return h.gp();
    if (inRegister) cpu.words[SCRATCH >> 2] = h.low(h.a(record));
    else if (!cpu.mmu.readVirtual(h.low(h.a(record)), h.highOf(h.a(record)), SCRATCH, 2, cpu.mmu.userBit))
      return STOP.FAULT;
    const selector = (cpu.words[SCRATCH >> 2] as number) & 0xffff;
    if (kind >= 4) return verify(h, selector, kind === 5);
    return loadSystemSegment(h, table, selector, kind === 3);
  };
}

function loadSystemSegment(h: HelperContext, table: Table, selector: number, task: boolean): number {
  const { exceptions } = h.cpu;
  if ((selector & 0xfffc) === 0) {
    if (task) return h.gp();
    Object.assign(table, { selector, baseLow: 0, baseHigh: 0, limit: 0 });
    return 0;
  }
  if ((selector & 4) !== 0) return h.gp(selector & 0xfffc);
  if (!exceptions.readDescriptor(selector, 16)) return STOP.FAULT;
  const low = exceptions.descriptorLow;
  const high = exceptions.descriptorHigh;
  if (((high >> 8) & 0x1f) !== (task ? 9 : 2)) return h.gp(selector & 0xfffc);
  if ((high & 0x8000) === 0) return h.fault(VECTOR.NP, selector & 0xfffc);
  const limit = (low & 0xffff) | (high & 0xf0000);
  table.selector = selector;
  table.baseLow = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff000000);
  table.baseHigh = exceptions.descriptorBaseHigh;
  table.limit = high & 0x800000 ? (limit << 12) | 0xfff : limit;
  return 0;
}

/** VERR and VERW: ZF says whether the segment could be read or written at this privilege level. */
function verify(h: HelperContext, selector: number, write: boolean): number {
  const { exceptions, system } = h.cpu;
  let ok = (selector & 0xfffc) !== 0 && exceptions.readDescriptor(selector, 8);
  if (ok) {
    const high = exceptions.descriptorHigh;
    const code = (high & 0x800) !== 0;
    const conforming = code && (high & 0x400) !== 0;
    const dpl = (high >> 13) & 3;
    ok = (high & 0x9000) === 0x9000 && (write ? !code && (high & 0x200) !== 0 : !code || (high & 0x200) !== 0);
    ok &&= conforming || (dpl >= system.cpl && dpl >= (selector & 3));
  }
  h.cpu.arithmeticFlags = (h.cpu.flags & ~FLAG.ZF) | (ok ? FLAG.ZF : 0);
  return 0;
}

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
      if (was !== 0 || !cpu.options.interrupts.pending()) return 0;
      cpu.system.shadow = true;
      return h.resyncAfter(record);
    },
    hlt: (record: number) => {
      if (!h.privileged) return h.gp();
      cpu.halted = true;
      cpu.system.shadow = false;
      return h.resyncAfter(record);
    },
    /** The upper immediate is the operand size: 1 or 3. */
    pushf: (record: number) => {
      h.set(SCRATCH, cpu.flags & ~(FLAG.RF | FLAG.VM), 0);
      const sizeBytes = 1 << h.high(record);
      const { mmu } = cpu;
      const low = h.low(RSP);
      const newLow = (low - sizeBytes) | 0;
      const newHigh = (h.highOf(RSP) - (low >>> 0 < sizeBytes ? 1 : 0)) | 0;
      if (!mmu.writeVirtual(newLow, newHigh, SCRATCH, sizeBytes, record, mmu.userBit)) return STOP.FAULT;
      h.set(RSP, newLow, newHigh);
      return 0;
    },
    popf: (record: number) => {
      const { mmu } = cpu;
      const sizeBytes = 1 << h.high(record);
      const low = h.low(RSP);
      if (!mmu.readVirtual(low, h.highOf(RSP), SCRATCH, sizeBytes, mmu.userBit)) return STOP.FAULT;
      const old = words[f] as number;
      // A 16-bit operand leaves the upper half alone.
      const value = sizeBytes === 2 ? (h.low(SCRATCH) & 0xffff) | (cpu.flags & ~0xffff) : h.low(SCRATCH);
      let mask: number = FLAG.TF | FLAG.DF | FLAG.NT | FLAG.AC | FLAG.ID;
      if (cpu.system.cpl === 0) mask |= FLAG.IOPL;
      if (ioAllowed()) mask |= FLAG.IF;
      cpu.flags = (old & ~mask & ~0x8d5 & ~FLAG.RF) | (value & (mask | 0x8d5));
      const newLow = (low + sizeBytes) | 0;
      h.set(RSP, newLow, (h.highOf(RSP) + (newLow >>> 0 < sizeBytes ? 1 : 0)) | 0);
      mmu.selectMode();
      return cpu.interruptible || (value & FLAG.TF) !== 0 ? h.resyncAfter(record) : 0;
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
      tsc();
      return 0;
    },
    rdtscp: () => {
      tsc();
      h.set(RCX, cpu.system.msrs.get(IA32_TSC_AUX)?.[0] ?? 0, 0);
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

function ports(h: HelperContext) {
  const { cpu } = h;
  const io = cpu.options.ports;
  const port = (record: number): number => (h.b(record) === 1 ? h.low(RDX) & 0xffff : h.c(record));
  const allowed = (): boolean => cpu.system.cpl <= (((cpu.words[STATE.FLAGS >> 2] as number) >> 12) & 3);
  return {
    in: (record: number) => {
      if (!allowed()) return h.gp();
      const size = h.a(record) as Size;
      h.set64(RAX, size, BigInt(io.read(port(record), 1 << size)));
      return 0;
    },
    out: (record: number) => {
      if (!allowed()) return h.gp();
      const size = h.a(record) as Size;
      io.write(port(record), 1 << size, Number(h.get64(RAX, size)));
      return cpu.interruptible ? h.resyncAfter(record) : 0;
    },
  } satisfies Record<string, Helper>;
}

/** CMPXCHG8B and CMPXCHG16B: the old value goes back when it differs, so that the page must be writable. */
function compareExchangeWide(h: HelperContext): Helper {
  const { mmu } = h.cpu;
  return (record) => {
    const wide = h.high(record) === 3;
    const size: Size = wide ? 3 : 2;
    const [low, high] = [h.low(h.a(record)), h.highOf(h.a(record))];
    if (wide && (low & 15) !== 0) return h.gp();
    const width = wide ? 16 : 8;
    if (mmu.translate(low, high, mmu.userBit | ACCESS.WRITE) < 0) return STOP.FAULT;
    if (!mmu.readVirtual(low, high, SCRATCH, width, mmu.userBit)) return STOP.FAULT;
    const memory = [h.get64(SCRATCH, size), h.get64(SCRATCH + width / 2, size)] as const;
    const equal = memory[0] === h.get64(RAX, size) && memory[1] === h.get64(RDX, size);
    if (equal) {
      h.cpu.bytes.copyWithin(SCRATCH, RBX, RBX + width / 2);
      h.cpu.bytes.copyWithin(SCRATCH + width / 2, RCX, RCX + width / 2);
      if (!mmu.writeVirtual(low, high, SCRATCH, width, record, mmu.userBit)) return STOP.FAULT;
    } else {
      // The old value goes back, so that a page that may not be written faults.
      if (!mmu.writeVirtual(low, high, SCRATCH, width, record, mmu.userBit)) return STOP.FAULT;
      h.set64(RAX, size, memory[0]);
      h.set64(RDX, size, memory[1]);
    }
    h.cpu.arithmeticFlags = (h.cpu.flags & ~FLAG.ZF) | (equal ? FLAG.ZF : 0);
    return 0;
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
    ...segments(h),
    ...flagsAndHalt(h),
    ...msrHelpers(h),
    ...identification(h),
    ...ports(h),
    syscall: syscall(h),
    sysret: sysret(h),
    descriptorTable: descriptorTable(h),
    system0f00: system0f00(h),
    compareExchangeWide: compareExchangeWide(h),
    undefined: () => h.fault(VECTOR.UD),
    generalProtection: () => h.gp(),
    resync: (record: number) => {
      cpu.setRipOf(record, 0);
      return STOP.LOOKUP;
    },
    crossPage: (record: number) => {
      const holds = cpu.code.crossingHolds(record);
      if (holds === true) return 0;
      if (holds === null) return STOP.FAULT;
      cpu.setRipOf(record, 0);
      return STOP.LOOKUP;
    },
    interrupt: (record: number) => {
      cpu.setRipAfter(record);
      const vector = h.a(record) & 0xff;
      return cpu.exceptions.deliverSoftware(vector) ? ENDS : STOP.FAULT;
    },
    iret: (record: number) => {
      if (h.high(record) !== 3) return h.fault(VECTOR.UD);
      return cpu.exceptions.iret() ? ENDS : STOP.FAULT;
    },
    retf: (record: number) => {
      const size = h.high(record);
      if (size < 2) return h.fault(VECTOR.UD);
      return cpu.exceptions.farReturn(size as 2 | 3, h.a(record)) ? ENDS : STOP.FAULT;
    },
    clts: privileged(() => {
      cpu.system.cr0 &= ~CR0.TS;
      return 0;
    }),
    invlpg: privileged((record) => {
      cpu.mmu.flushPage(h.low(h.a(record)), h.highOf(h.a(record)));
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
      cpu.words[STATE.SSE_UNCHECKED >> 2] = 1;
      return h.resyncAfter(record);
    }),
    ...debugRegisters(h),
  } satisfies Record<string, Helper>;
}
