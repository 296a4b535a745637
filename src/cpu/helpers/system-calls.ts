/** SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM vol. 2 and vol. 3 §5.8.7, §5.8.8). */
import { isProtected } from '../code-key.ts';
import { FLAG, GPR, SEGMENT, STATE, STOP } from '../layout.ts';
import { EFER, VECTOR } from '../system-state.ts';
import type { Helper, HelperContext } from './context.ts';

const RSP = STATE.GPR + GPR.RSP;
const RCX = STATE.GPR + GPR.RCX;
const RDX = STATE.GPR + GPR.RDX;
const R11 = STATE.GPR + GPR.R11;
/** Attributes of the flat segments that these load, as bits 8 to 23 of a descriptor's upper half. */
const FLAT = {
  KERNEL_CODE: 0xa09b,
  KERNEL_CODE32: 0xc09b,
  KERNEL_DATA: 0xc093,
  USER_CODE: 0xa0fb,
  USER_CODE32: 0xc0fb,
  USER_DATA: 0xc0f3,
} as const;
/** Flags that SYSRET takes from R11: all that are defined but RF and VM. */
const SYSRET_FLAGS = 0x3c7fd7;

interface Target {
  readonly cs: number;
  readonly ss: number;
  readonly cpl: 0 | 3;
  /** Whether the code is 64-bit code. */
  readonly long: boolean;
}

function enter(h: HelperContext, { cs, ss, cpl, long }: Target): void {
  const { segments, system, mmu } = h.cpu;
  const user = cpl === 3;
  const code = user ? (long ? FLAT.USER_CODE : FLAT.USER_CODE32) : long ? FLAT.KERNEL_CODE : FLAT.KERNEL_CODE32;
  segments.assignFlat(SEGMENT.CS, cs, code);
  segments.assignFlat(SEGMENT.SS, ss, user ? FLAT.USER_DATA : FLAT.KERNEL_DATA);
  system.cpl = cpl;
  mmu.selectMode();
}

const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1;

export function systemCalls(h: HelperContext) {
  const { cpu } = h;
  const s = cpu.system;
  const isStepped = (): boolean => ((cpu.words[STATE.FLAGS >> 2] as number) & FLAG.TF) !== 0;
  /** Whether 64-bit code goes on at RIP at once: no single step, and no interrupt that can be taken now. */
  const goOn = (): number => (isStepped() || cpu.interruptible ? STOP.RESYNC : 0);
  return {
    syscall: (record: number) => {
      if ((s.efer & EFER.SCE) === 0) return h.fault(VECTOR.UD);
      cpu.setRipAfter(record);
      h.set(RCX, h.low(STATE.RIP), h.highOf(STATE.RIP));
      h.set(R11, cpu.flags, 0);
      cpu.flags = cpu.flags & ~s.syscallMask & ~FLAG.RF;
      const cs = s.starHigh & 0xfffc;
      enter(h, { cs, ss: cs + 8, cpl: 0, long: true });
      cpu.setRip(s.lstarLow, s.lstarHigh);
      return goOn();
    },
    /** To 64-bit code with REX.W, else to compatibility mode. */
    sysret: (record: number) => {
      if ((s.efer & EFER.SCE) === 0) return h.fault(VECTOR.UD);
      const long = h.high(record) === 3;
      const low = h.low(RCX);
      const high = long ? h.highOf(RCX) : 0;
      if (!h.privileged || !isCanonical(high)) return h.gp();
      const base = (s.starHigh >>> 16) & 0xffff;
      cpu.flags = h.low(R11) & SYSRET_FLAGS;
      enter(h, { cs: (base + (long ? 16 : 0)) | 3, ss: (base + 8) | 3, cpl: 3, long });
      cpu.setRip(low, high);
      return long ? goOn() : STOP.RESYNC;
    },
    sysenter: () => {
      if (!isProtected(s) || (s.sysenterSelector & 0xfffc) === 0) return h.gp();
      const long = (s.efer & EFER.LMA) !== 0;
      cpu.flags &= ~(FLAG.VM | FLAG.IF);
      const cs = s.sysenterSelector & 0xfffc;
      enter(h, { cs, ss: cs + 8, cpl: 0, long });
      h.set(RSP, s.sysenterSpLow, long ? s.sysenterSpHigh : 0);
      cpu.setRip(s.sysenterIpLow, long ? s.sysenterIpHigh : 0);
      return STOP.RESYNC;
    },
    /** To 64-bit code with REX.W; RIP comes from RDX, RSP from RCX. */
    sysexit: (record: number) => {
      const long = h.high(record) === 3;
      const high = long ? h.highOf(RDX) : 0;
      if (!isProtected(s) || !h.privileged || (s.sysenterSelector & 0xfffc) === 0) return h.gp();
      if (!isCanonical(high) || (long && !isCanonical(h.highOf(RCX)))) return h.gp();
      const base = s.sysenterSelector & 0xfffc;
      const rip = h.low(RDX);
      const [spLow, spHigh] = [h.low(RCX), long ? h.highOf(RCX) : 0];
      enter(h, { cs: (base + (long ? 32 : 16)) | 3, ss: (base + (long ? 40 : 24)) | 3, cpl: 3, long });
      h.set(RSP, spLow, spHigh);
      cpu.setRip(rip, high);
      return STOP.RESYNC;
    },
  } satisfies Record<string, Helper>;
}
