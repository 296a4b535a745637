/** Model-specific registers of the core; all others are asked of what stands beside it (SDM vol. 4). */
import { GPR, SEGMENT, STATE } from '../layout.ts';
import { EFER } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const RAX = STATE.GPR + GPR.RAX;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;

export function msrHelpers(h: HelperContext) {
  const { cpu } = h;
  const s = cpu.system;
  const base = (index: number): number => STATE.SEGMENT_BASE + index * 8;
  const canonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;
  const rdmsr: Helper = () => {
    if (!h.privileged) return h.gp();
    const index = h.low(RCX) >>> 0;
    const known: Readonly<Record<number, readonly [number, number]>> = {
      3221225600: [s.efer, 0],
      3221225601: [s.starLow, s.starHigh],
      3221225602: [s.lstarLow, s.lstarHigh],
      3221225604: [s.syscallMask, 0],
      3221225728: [h.low(base(SEGMENT.FS)), h.highOf(base(SEGMENT.FS))],
      3221225729: [h.low(base(SEGMENT.GS)), h.highOf(base(SEGMENT.GS))],
      3221225730: [s.kernelGsLow, s.kernelGsHigh],
    };
    const value = known[index] ?? s.msrs.get(index) ?? cpu.options.msrs.read(index);
    if (!value) return h.gp();
    h.set(RAX, value[0], 0);
    h.set(RDX, value[1], 0);
    return 0;
  };
  const store = (index: number, low: number, high: number): boolean => {
    switch (index) {
      case 0xc0000080:
        if ((low & ~(EFER.SCE | EFER.LME | EFER.LMA | EFER.NXE)) !== 0 || high !== 0) return false;
        s.efer = (low & ~EFER.LMA) | (s.efer & EFER.LMA);
        return true;
      case 0xc0000081:
        s.starLow = low;
        s.starHigh = high;
        return true;
      case 0xc0000082:
        if (!canonical(high)) return false;
        s.lstarLow = low;
        s.lstarHigh = high;
        return true;
      case 0xc0000084:
        s.syscallMask = low;
        return true;
      case 0xc0000100:
      case 0xc0000101:
        if (!canonical(high)) return false;
        h.set(base(index === 0xc0000100 ? SEGMENT.FS : SEGMENT.GS), low, high);
        return true;
      case 0xc0000102:
        if (!canonical(high)) return false;
        s.kernelGsLow = low;
        s.kernelGsHigh = high;
        return true;
      default:
        if (!s.msrs.has(index)) return cpu.options.msrs.write(index, low, high);
        s.msrs.set(index, [low, high]);
        return true;
    }
  };
  const wrmsr: Helper = (record) => {
    if (!h.privileged) return h.gp();
    const index = h.low(RCX) >>> 0;
    if (!store(index, h.low(RAX), h.low(RDX))) return h.gp();
    if (index === 0xc0000080) cpu.mmu.flush();
    return h.resyncAfter(record);
  };
  const swapgs: Helper = () => {
    if (!h.privileged) return h.gp();
    const gs = base(SEGMENT.GS);
    const [low, high] = [h.low(gs), h.highOf(gs)];
    h.set(gs, s.kernelGsLow, s.kernelGsHigh);
    s.kernelGsLow = low;
    s.kernelGsHigh = high;
    return 0;
  };
  return { rdmsr, wrmsr, swapgs };
}
