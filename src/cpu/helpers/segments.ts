/** Segment registers, descriptor tables and far transfers (SDM vol. 2). */
import { isLongMode, isProtected } from '../code-key.ts';
import { WRITE_SEGMENT } from '../isa/lower-common.ts';
import { FLAG, SEGMENT, type Size, STATE, STOP } from '../layout.ts';
import { errorOf, isNull } from '../segments.ts';
import { ATTRIBUTE, type Segment, type Table, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const SCRATCH = STATE.BOUNCE;
/** Types of system segments, SDM vol. 3 table 3-2. */
const TYPE = { TSS16: 1, LDT: 2, TSS: 9 } as const;
/** Types that LAR and LSL know in protected and in long mode, one bit each. */
const LAR_TYPES = { LEGACY: 0x1a3e, LONG: 0x1a04 } as const;
const LSL_TYPES = { LEGACY: 0x0a0e, LONG: 0x0a04 } as const;

function registers(h: HelperContext) {
  const { cpu } = h;
  return {
    /** c: whether further records of the instruction follow, and whether an interrupt may come right after it. */
    writeSegment: (record: number) => {
      const { segments, system, mmu } = cpu;
      const index = h.b(record);
      const selector = h.low(h.a(record)) & 0xffff;
      if (index === SEGMENT.CS || index > 5) return h.fault(VECTOR.UD);
      if (!isProtected(system)) segments.assignReal(index, selector);
      else if (!segments.load(index, selector)) return STOP.FAULT;
      const key = mmu.codeKey;
      if (mmu.isLegacy) mmu.selectMode();
      const c = h.c(record);
      if (index === SEGMENT.SS && (c & WRITE_SEGMENT.NO_SHADOW) === 0) cpu.shadowAfter(record);
      // Code that comes next may be decoded otherwise: bases count, or the stack has another size.
      return mmu.codeKey === key || (c & WRITE_SEGMENT.GOES_ON) !== 0 ? 0 : h.resyncAfter(record);
    },
    readSegment: (record: number) => {
      if (h.b(record) > 5) return h.fault(VECTOR.UD);
      h.set(h.a(record), (cpu.system.segments[h.b(record)] as Segment).selector, 0);
      return 0;
    },
  } satisfies Record<string, Helper>;
}

/** LGDT, LIDT, SGDT and SIDT by modrm.reg: limit in the first two bytes, base in the next eight, or four in legacy code. */
function descriptorTable(h: HelperContext): Helper {
  const { cpu } = h;
  return (record) => {
    const kind = h.b(record) & 7;
    const table = kind & 1 ? cpu.system.idt : cpu.system.gdt;
    const low = h.low(h.a(record));
    const high = h.highOf(h.a(record));
    const { mmu, words } = cpu;
    const sizeBytes = mmu.isLegacy ? 6 : 10;
    const w = SCRATCH >> 2;
    if (kind < 2) {
      words[w] = (table.limit & 0xffff) | (table.baseLow << 16);
      words[w + 1] = (table.baseLow >>> 16) | (table.baseHigh << 16);
      words[w + 2] = table.baseHigh >>> 16;
      return mmu.writeVirtual(low, high, SCRATCH, sizeBytes, record, mmu.userBit) ? 0 : STOP.FAULT;
    }
    if (!h.privileged) return h.gp();
    words[w + 1] = 0;
    words[w + 2] = 0;
    if (!mmu.readVirtual(low, high, SCRATCH, sizeBytes, 0)) return STOP.FAULT;
    const first = words[w] as number;
    const second = words[w + 1] as number;
    const base = (first >>> 16) | (second << 16);
    table.limit = first & 0xffff;
    // A 16-bit operand has 24 bits of base.
    table.baseLow = mmu.isLegacy && h.high(record) === 1 ? base & 0xffffff : base;
    table.baseHigh = mmu.isLegacy ? 0 : (second >>> 16) | ((words[w + 2] as number) << 16);
    return 0;
  };
}

/** SLDT, STR, LLDT, LTR, VERR, VERW by modrm.reg; the operand is a register's place (c = 1) or an address. */
function system0f00(h: HelperContext): Helper {
  const { cpu } = h;
  return (record) => {
    if (!isProtected(cpu.system)) return h.fault(VECTOR.UD);
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
  const { segments, system } = h.cpu;
  if (isNull(selector)) {
    if (task) return h.gp();
    Object.assign(table, { selector, baseLow: 0, baseHigh: 0, limit: 0 });
    return 0;
  }
  if ((selector & 4) !== 0) return h.gp(errorOf(selector));
  const isLong = isLongMode(system);
  if (!segments.read(selector, isLong ? 16 : 8)) return STOP.FAULT;
  const type = segments.attributes & 0x1f;
  const isWide = type === TYPE.TSS;
  const fits = task ? isWide || (type === TYPE.TSS16 && !isLong) : type === TYPE.LDT;
  if (!fits) return h.gp(errorOf(selector));
  if (!segments.isPresent) return h.fault(VECTOR.NP, errorOf(selector));
  if (task && !segments.markBusy()) return STOP.FAULT;
  table.selector = selector;
  table.baseLow = segments.base;
  table.baseHigh = isLong ? segments.baseHigh : 0;
  table.limit = segments.limit;
  table.isWide = isWide;
  return 0;
}

/** Whether the segment whose descriptor was read last is visible at this privilege level. */
function isVisible(h: HelperContext, selector: number): boolean {
  const { segments, system } = h.cpu;
  if (segments.isCode && segments.isConforming) return true;
  return segments.dpl >= system.cpl && segments.dpl >= (selector & 3);
}

function setZero(h: HelperContext, on: boolean): number {
  h.cpu.arithmeticFlags = (h.cpu.flags & ~FLAG.ZF) | (on ? FLAG.ZF : 0);
  return 0;
}

/**
 * Reads a descriptor for an instruction that reports instead of faulting: 1, or 0 where there is none. A page fault of the table
 * is still a fault: −1.
 */
function look(h: HelperContext, selector: number): -1 | 0 | 1 {
  if (isNull(selector)) return 0;
  if (h.cpu.segments.read(selector)) return 1;
  return h.cpu.system.vector === VECTOR.PF ? -1 : 0;
}

/** VERR and VERW: ZF says whether the segment could be read or written at this privilege level. */
function verify(h: HelperContext, selector: number, write: boolean): number {
  const found = look(h, selector);
  if (found < 0) return STOP.FAULT;
  const { segments } = h.cpu;
  const usable = found === 1 && segments.isPresent && (write ? segments.isWritableData : segments.isReadable);
  return setZero(h, usable && isVisible(h, selector));
}

/** LAR and LSL. */
function accessRights(h: HelperContext): Helper {
  const { segments, system } = h.cpu;
  return (record) => {
    if (!isProtected(system)) return h.fault(VECTOR.UD);
    const selector = h.low(h.b(record)) & 0xffff;
    const limit = h.c(record) === 1;
    const found = look(h, selector);
    if (found < 0) return STOP.FAULT;
    if (found === 0 || !isVisible(h, selector)) return setZero(h, false);
    const types = (limit ? LSL_TYPES : LAR_TYPES)[isLongMode(system) ? 'LONG' : 'LEGACY'];
    const { attributes } = segments;
    const known = (attributes & ATTRIBUTE.CODE_OR_DATA) !== 0 || ((types >> (attributes & 0xf)) & 1) !== 0;
    if (!known) return setZero(h, false);
    const value = limit ? segments.limit : segments.high & 0xf0ff00;
    h.set64(h.a(record), h.high(record) as Size, BigInt(value >>> 0));
    return setZero(h, true);
  };
}

function far(h: HelperContext) {
  const { cpu } = h;
  const { mmu, words } = cpu;
  const transfer = (record: number, to: { selector: number; low: number; high: number }): number => {
    cpu.setRipAfter(record);
    return cpu.farTransfer.transfer(to, h.high(record) as Size, h.b(record) === 1) ? STOP.RESYNC : STOP.FAULT;
  };
  return {
    farPointer: (record: number) => transfer(record, { selector: h.c(record), low: h.low(h.a(record)), high: 0 }),
    farMemory: (record: number) => {
      const width = 1 << h.high(record);
      const [low, high] = [h.low(h.a(record)), h.highOf(h.a(record))];
      const w = SCRATCH >> 2;
      if (!mmu.readVirtual(low, high, SCRATCH, width + 2, mmu.userBit)) return STOP.FAULT;
      const first = words[w] as number;
      const second = words[w + 1] as number;
      const third = words[w + 2] as number;
      const selector = width === 8 ? third : width === 4 ? second : first >>> 16;
      return transfer(record, { selector: selector & 0xffff, low: width === 2 ? first & 0xffff : first, high: second });
    },
    retf: (record: number) =>
      cpu.farTransfer.farReturn(h.high(record) as Size, h.a(record)) ? STOP.RESYNC : STOP.FAULT,
    iret: (record: number) => (cpu.farTransfer.iret(h.high(record) as Size) ? STOP.RESYNC : STOP.FAULT),
  } satisfies Record<string, Helper>;
}

/** ARPL: the RPL of a register (c = 1) or of what an address holds is raised to that of b. */
function arpl(h: HelperContext): Helper {
  const { system, mmu, words } = h.cpu;
  return (record) => {
    if (!isProtected(system)) return h.fault(VECTOR.UD);
    const inRegister = h.c(record) === 1;
    const a = h.a(record);
    if (inRegister) words[SCRATCH >> 2] = h.low(a);
    else if (!mmu.readVirtual(h.low(a), 0, SCRATCH, 2, mmu.userBit)) return STOP.FAULT;
    const value = h.low(SCRATCH) & 0xffff;
    const rpl = h.low(h.b(record)) & 3;
    const raises = (value & 3) < rpl;
    // *Measured*: memory is written only then.
    if (raises && inRegister) h.set64(a, 1, BigInt((value & ~3) | rpl));
    else if (raises) {
      words[SCRATCH >> 2] = (value & ~3) | rpl;
      if (!mmu.writeVirtual(h.low(a), 0, SCRATCH, 2, record, mmu.userBit)) return STOP.FAULT;
    }
    return setZero(h, raises);
  };
}

export function segmentHelpers(h: HelperContext) {
  return {
    ...registers(h),
    ...far(h),
    descriptorTable: descriptorTable(h),
    system0f00: system0f00(h),
    accessRights: accessRights(h),
    arpl: arpl(h),
  } satisfies Record<string, Helper>;
}
