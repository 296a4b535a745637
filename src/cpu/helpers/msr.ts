/** Model-specific registers of the core; all others are asked of what stands beside it (SDM vol. 4). */
import { GPR, SEGMENT, STATE } from '../layout.ts';
import { CR0, EFER, MSR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const RAX = STATE.GPR + GPR.RAX;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;
const FS_BASE = STATE.SEGMENT_BASE + SEGMENT.FS * 8;
const GS_BASE = STATE.SEGMENT_BASE + SEGMENT.GS * 8;
const EFER_WRITABLE = EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE;

const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;

/** Reads a register into EDX:EAX; false when there is none. */
function read(h: HelperContext, index: number): boolean {
  const s = h.cpu.system;
  const give = (low: number, high: number): true => {
    h.set(RAX, low, 0);
    h.set(RDX, high, 0);
    return true;
  };
  switch (index) {
    case MSR.SYSENTER_CS:
      return give(s.sysenterSelector, 0);
    case MSR.SYSENTER_ESP:
      return give(s.sysenterSpLow, s.sysenterSpHigh);
    case MSR.SYSENTER_EIP:
      return give(s.sysenterIpLow, s.sysenterIpHigh);
    case MSR.EFER:
      return give(s.efer, 0);
    case MSR.STAR:
      return give(s.starLow, s.starHigh);
    case MSR.LSTAR:
      return give(s.lstarLow, s.lstarHigh);
    case MSR.CSTAR:
      return give(s.cstarLow, s.cstarHigh);
    case MSR.FMASK:
      return give(s.syscallMask, 0);
    case MSR.FS_BASE:
      return give(h.low(FS_BASE), h.highOf(FS_BASE));
    case MSR.GS_BASE:
      return give(h.low(GS_BASE), h.highOf(GS_BASE));
    case MSR.KERNEL_GS_BASE:
      return give(s.kernelGsLow, s.kernelGsHigh);
    case MSR.TSC_AUX:
      return give(s.tscAux, 0);
    default: {
      const value = h.cpu.options.msrs.read(index);
      return value !== null && give(value[0], value[1]);
    }
  }
}

/** Bases and entry points must be canonical. */
const HOLDS_ADDRESS: ReadonlySet<number> = new Set([
  ...[MSR.SYSENTER_ESP, MSR.SYSENTER_EIP, MSR.LSTAR, MSR.CSTAR, MSR.FS_BASE, MSR.GS_BASE, MSR.KERNEL_GS_BASE],
]);

function writeEfer(h: HelperContext, low: number, high: number): boolean {
  const s = h.cpu.system;
  if ((low & ~EFER_WRITABLE) !== 0 || high !== 0) return false;
  // Long mode is chosen while paging is off.
  if ((s.cr0 & CR0.PG) !== 0 && ((low ^ s.efer) & EFER.LME) !== 0) return false;
  s.efer = (low & ~EFER.LMA) | (s.efer & EFER.LMA);
  h.cpu.mmu.tlb.flush();
  return true;
}

/** False for #GP. */
function write(h: HelperContext, index: number, low: number, high: number): boolean {
  const s = h.cpu.system;
  if (HOLDS_ADDRESS.has(index) && !isCanonical(high)) return false;
  switch (index) {
    case MSR.SYSENTER_CS:
      s.sysenterSelector = low & 0xffff;
      return true;
    case MSR.SYSENTER_ESP:
      s.sysenterSpLow = low;
      s.sysenterSpHigh = high;
      return true;
    case MSR.SYSENTER_EIP:
      s.sysenterIpLow = low;
      s.sysenterIpHigh = high;
      return true;
    case MSR.EFER:
      return writeEfer(h, low, high);
    case MSR.STAR:
      s.starLow = low;
      s.starHigh = high;
      return true;
    case MSR.LSTAR:
      s.lstarLow = low;
      s.lstarHigh = high;
      return true;
    case MSR.CSTAR:
      s.cstarLow = low;
      s.cstarHigh = high;
      return true;
    case MSR.FMASK:
      s.syscallMask = low;
      return true;
    case MSR.FS_BASE:
      h.set(FS_BASE, low, high);
      return true;
    case MSR.GS_BASE:
      h.set(GS_BASE, low, high);
      return true;
    case MSR.KERNEL_GS_BASE:
      s.kernelGsLow = low;
      s.kernelGsHigh = high;
      return true;
    case MSR.TSC_AUX:
      if (high !== 0) return false;
      s.tscAux = low;
      return true;
    default:
      return h.cpu.options.msrs.write(index, low, high);
  }
}

export function msrHelpers(h: HelperContext) {
  const s = h.cpu.system;
  return {
    rdmsr: () => {
      if (!h.privileged || !read(h, h.low(RCX) >>> 0)) return h.gp();
      return 0;
    },
    wrmsr: (record: number) => {
      if (!h.privileged || !write(h, h.low(RCX) >>> 0, h.low(RAX), h.low(RDX))) return h.gp();
      return h.resyncAfter(record);
    },
    swapgs: () => {
      if (!h.privileged) return h.gp();
      const [low, high] = [h.low(GS_BASE), h.highOf(GS_BASE)];
      h.set(GS_BASE, s.kernelGsLow, s.kernelGsHigh);
      s.kernelGsLow = low;
      s.kernelGsHigh = high;
      return 0;
    },
  } satisfies Record<string, Helper>;
}
