import { assert } from '#util/assert.ts';
import { viewOf } from '#util/struct.ts';
import {
  type Breakpoint,
  type DebugSettings,
  type DebugState,
  type DebugStop,
  FXSAVE,
  type VcpuDebug,
  type WritableDebugState,
} from '../debug.ts';
import { KvmGuestDbg, KvmMpState } from './abi.ts';
import { type Fpu, Run, RunDebug } from './abi-structs.ts';
import { DEBUG_REGISTERS, debugRegisters, hitOf } from './debug-registers.ts';
import { type KvmVcpuFd, VcpuPart } from './kvm-vcpu-fd.ts';

/** SDM vol. 3 table 6-1; the other that comes is #DB. */
const BP_VECTOR = 3;
/** SDM vol. 4 table 2-2. */
const MSR = { FS_BASE: 0xc000_0100, GS_BASE: 0xc000_0101, KERNEL_GS_BASE: 0xc000_0102 } as const;
const MXCSR_MASK = 0xffff;
const XMM_BYTES = 256;
const ST_BYTES = 128;

/** Debugging by KVM_SET_GUEST_DEBUG, Documentation/virt/kvm/api.rst §4.87. */
export class KvmDebug implements VcpuDebug {
  readonly #vcpu: KvmVcpuFd;
  readonly #maskFlags: number;
  #settings: DebugSettings = { steps: false, breakpoints: [] };

  /** `maskFlags`: of KvmGuestDbg, those that KVM says it has; 0 where it does not say. */
  constructor(vcpu: KvmVcpuFd, maskFlags: number) {
    this.#vcpu = vcpu;
    this.#maskFlags = maskFlags;
  }

  read(): DebugState {
    const vcpu = this.#vcpu;
    const { cs, ss, ds, es, fs, gs, cr0, cr2, cr3, cr4, cr8, efer } = vcpu.get(VcpuPart.SREGS);
    return {
      ...vcpu.get(VcpuPart.REGS),
      fsBase: fs.baseAddress,
      gsBase: gs.baseAddress,
      kernelGsBase: vcpu.msrs([MSR.KERNEL_GS_BASE])[0] ?? 0n,
      ...{ cr0, cr2, cr3, cr4, cr8, efer },
      isHalted: vcpu.get(VcpuPart.MP_STATE).mpState === KvmMpState.RUNNABLE ? 0 : 1,
      cs: cs.selector,
      ss: ss.selector,
      ds: ds.selector,
      es: es.selector,
      fs: fs.selector,
      gs: gs.selector,
      fxsave: fxsaveOf(vcpu.get(VcpuPart.FPU)),
    };
  }

  write(state: WritableDebugState): void {
    const vcpu = this.#vcpu;
    vcpu.set(VcpuPart.REGS, state);
    vcpu.set(VcpuPart.FPU, fpuOf(state.fxsave));
    vcpu.setMsrs([
      { index: MSR.FS_BASE, value: state.fsBase },
      { index: MSR.GS_BASE, value: state.gsBase },
      { index: MSR.KERNEL_GS_BASE, value: state.kernelGsBase },
    ]);
  }

  prepare(settings: DebugSettings): void {
    this.#settings = settings;
    this.#apply(0);
  }

  /** What an exit DEBUG stopped for. Undefined: it was the guest's own, which it gets, and it goes on. */
  stopOf(view: DataView): DebugStop | undefined {
    const { exception, pc, dr6 } = RunDebug.decode(view, Run.size);
    const { steps, breakpoints } = this.#settings;
    if (exception === BP_VECTOR) {
      const address = BigInt.asUintN(64, pc);
      if (breakpoints.some((each) => each.kind === 'software' && each.address === address)) {
        return { cause: 'software', address };
      }
      this.#apply(KvmGuestDbg.INJECT_BP);
      return undefined;
    }
    const hit = hitOf(dr6, this.#hardware());
    if (hit !== undefined) return { cause: hit.kind, address: hit.address };
    if (steps) return { cause: 'step' };
    this.#apply(KvmGuestDbg.INJECT_DB);
    return undefined;
  }

  #hardware(): readonly Breakpoint[] {
    return this.#settings.breakpoints.filter(({ kind }) => kind !== 'software');
  }

  #apply(further: number): void {
    const { steps, breakpoints } = this.#settings;
    const hardware = this.#hardware();
    assert(hardware.length <= DEBUG_REGISTERS, 'as many breakpoints as there are registers');
    let control = further;
    if (steps) control |= KvmGuestDbg.SINGLESTEP | (this.#maskFlags & KvmGuestDbg.BLOCKIRQ);
    if (hardware.length > 0) control |= KvmGuestDbg.USE_HW_BP;
    if (breakpoints.length > hardware.length) control |= KvmGuestDbg.USE_SW_BP;
    this.#vcpu.setGuestDebug(control === 0 ? 0 : control | KvmGuestDbg.ENABLE, debugRegisters(hardware));
  }
}

type FpuValues = ReturnType<typeof Fpu.decode>;

function fxsaveOf(fpu: FpuValues): Uint8Array {
  const image = new Uint8Array(FXSAVE.SIZE_BYTES);
  const view = viewOf(image);
  view.setUint16(FXSAVE.CONTROL, fpu.fcw, true);
  view.setUint16(FXSAVE.STATUS, fpu.fsw, true);
  view.setUint8(FXSAVE.TAGS, fpu.ftwx);
  view.setUint16(FXSAVE.OPCODE, fpu.lastOpcode, true);
  view.setBigUint64(FXSAVE.INSTRUCTION_POINTER, fpu.lastIp, true);
  view.setBigUint64(FXSAVE.DATA_POINTER, fpu.lastDp, true);
  view.setUint32(FXSAVE.MXCSR, fpu.mxcsr, true);
  view.setUint32(FXSAVE.MXCSR_MASK, MXCSR_MASK, true);
  image.set(fpu.fpr, FXSAVE.ST);
  image.set(fpu.xmm, FXSAVE.XMM);
  return image;
}

function fpuOf(image: Uint8Array): Partial<FpuValues> {
  const view = viewOf(image);
  return {
    fpr: image.subarray(FXSAVE.ST, FXSAVE.ST + ST_BYTES),
    fcw: view.getUint16(FXSAVE.CONTROL, true),
    fsw: view.getUint16(FXSAVE.STATUS, true),
    ftwx: view.getUint8(FXSAVE.TAGS),
    lastOpcode: view.getUint16(FXSAVE.OPCODE, true),
    lastIp: view.getBigUint64(FXSAVE.INSTRUCTION_POINTER, true),
    lastDp: view.getBigUint64(FXSAVE.DATA_POINTER, true),
    xmm: image.subarray(FXSAVE.XMM, FXSAVE.XMM + XMM_BYTES),
    // A bit that the processor does not have is an error of the set.
    mxcsr: view.getUint32(FXSAVE.MXCSR, true) & MXCSR_MASK,
  };
}
