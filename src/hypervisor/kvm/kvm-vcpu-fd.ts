import type { HasFd } from '#sys/fd.ts';
import { errno } from '#sys/ffi.ts';
import { type Ioctl, ioctl, ioctlValue, tryIoctlValue } from '#sys/ioctl.ts';
import { kernelSigset } from '#sys/signal.ts';
import { Errno } from '#sys/syscall-error.ts';
import { viewOf } from '#util/struct.ts';
import type { MsrEntry } from '../registers.ts';
import { KvmIoctl } from './abi.ts';
import {
  Cpuid2,
  CpuidEntry2,
  Debugregs,
  Fpu,
  GuestDebug,
  Interrupt,
  LapicState,
  MpState,
  MsrEntry as MsrStruct,
  Msrs,
  Regs,
  SignalMask,
  Sregs,
  Translation,
  Xcrs,
  Xsave,
} from './abi-structs.ts';
import type { CpuidEntry } from './cpuid.ts';

const RUN = KvmIoctl.RUN.request;

/** A part of a vCPU's state that is read and set as a whole. */
interface StatePart<Values> {
  readonly layout: {
    readonly size: number;
    decode(view: DataView): Values;
    encode(values: Partial<Values>): Uint8Array;
  };
  readonly get: Ioctl;
  readonly set: Ioctl;
}

/** The parts of a vCPU's state. XSAVE and XCRS need capabilities of these names, DEBUGREGS too. */
export const VcpuPart = {
  REGS: { layout: Regs, get: KvmIoctl.GET_REGS, set: KvmIoctl.SET_REGS },
  SREGS: { layout: Sregs, get: KvmIoctl.GET_SREGS, set: KvmIoctl.SET_SREGS },
  FPU: { layout: Fpu, get: KvmIoctl.GET_FPU, set: KvmIoctl.SET_FPU },
  LAPIC: { layout: LapicState, get: KvmIoctl.GET_LAPIC, set: KvmIoctl.SET_LAPIC },
  MP_STATE: { layout: MpState, get: KvmIoctl.GET_MP_STATE, set: KvmIoctl.SET_MP_STATE },
  XSAVE: { layout: Xsave, get: KvmIoctl.GET_XSAVE, set: KvmIoctl.SET_XSAVE },
  XCRS: { layout: Xcrs, get: KvmIoctl.GET_XCRS, set: KvmIoctl.SET_XCRS },
  DEBUGREGS: { layout: Debugregs, get: KvmIoctl.GET_DEBUGREGS, set: KvmIoctl.SET_DEBUGREGS },
} as const;

/** A vCPU of KVM, by its descriptor, which stays another's. Its calls throw SyscallError unless they say otherwise. */
export class KvmVcpuFd {
  readonly fd: number;

  constructor({ fd }: HasFd) {
    this.fd = fd;
  }

  /** Runs the guest until there is an exit: 0, or the errno of what kept it from that. Throws nothing. */
  run(): number {
    return tryIoctlValue(this.fd, RUN) < 0 ? errno() : 0;
  }

  get<Values>({ layout, get }: StatePart<Values>): Values {
    const buffer = new Uint8Array(layout.size);
    ioctl(this.fd, get, buffer);
    return layout.decode(viewOf(buffer));
  }

  /** What is absent of a part's fields is zero. */
  set<Values>({ layout, set }: StatePart<Values>, values: Partial<Values>): void {
    ioctl(this.fd, set, layout.encode(values));
  }

  /** What CPUID tells the guest. Before the first `run`. */
  setCpuid(entries: readonly CpuidEntry[]): void {
    const buffer = new Uint8Array(Cpuid2.size + entries.length * CpuidEntry2.size);
    Cpuid2.fields.nent.set(viewOf(buffer), 0, entries.length);
    for (const [index, entry] of entries.entries()) {
      buffer.set(CpuidEntry2.encode(entry), Cpuid2.size + index * CpuidEntry2.size);
    }
    ioctl(this.fd, KvmIoctl.SET_CPUID2, buffer);
  }

  /** Sets model-specific registers, one after the other. Returns how many: the one after them was refused. */
  setMsrs(entries: readonly MsrEntry[]): number {
    return ioctl(this.fd, KvmIoctl.SET_MSRS, encodeMsrs(entries));
  }

  /** The values of model-specific registers, up to the first that KVM does not have. */
  msrs(indices: readonly number[]): bigint[] {
    const buffer = encodeMsrs(indices.map((index) => ({ index, value: 0n })));
    const count = ioctl(this.fd, KvmIoctl.GET_MSRS, buffer);
    const view = viewOf(buffer);
    return Array.from({ length: count }, (_, index) =>
      MsrStruct.fields.data.get(view, Msrs.size + index * MsrStruct.size),
    );
  }

  /** Where a linear address is among the guest-physical ones; undefined when the guest's tables map it nowhere. */
  translate(linearAddress: bigint): number | undefined {
    const buffer = Translation.encode({ linearAddress });
    ioctl(this.fd, KvmIoctl.TRANSLATE, buffer);
    const { valid, physicalAddress } = Translation.decode(viewOf(buffer));
    return valid === 0 ? undefined : physicalAddress;
  }

  /** The signals that are blocked while the guest runs, instead of the thread's own. */
  setSignalMask(signals: readonly number[]): void {
    const sigset = kernelSigset(signals);
    const { sigset: set } = SignalMask.fields;
    const mask = SignalMask.encode({ len: sigset.length, sigset });
    ioctl(this.fd, KvmIoctl.SET_SIGNAL_MASK, mask.subarray(0, set.offset + set.size));
  }

  /** An external interrupt, on a vCPU that has no local APIC in the kernel, or none that has the PICs. */
  interrupt(vector: number): void {
    ioctl(this.fd, KvmIoctl.INTERRUPT, Interrupt.encode({ irq: vector }));
  }

  /** A non-maskable interrupt. */
  nmi(): void {
    ioctlValue(this.fd, KvmIoctl.NMI);
  }

  /** Bits of KvmGuestDbg, and DR0 to DR7 for hardware breakpoints. */
  setGuestDebug(control: number, debugreg: readonly bigint[] = Array.from({ length: 8 }, () => 0n)): void {
    ioctl(this.fd, KvmIoctl.SET_GUEST_DEBUG, GuestDebug.encode({ control, debugreg }));
  }

  /** Tells the guest's paravirtual clock that it was stopped, so that no watchdog bites. False when the guest has none. */
  noteStopped(): boolean {
    if (tryIoctlValue(this.fd, KvmIoctl.KVMCLOCK_CTRL.request) >= 0) return true;
    if (errno() === Errno.EINVAL) return false;
    ioctlValue(this.fd, KvmIoctl.KVMCLOCK_CTRL);
    return true;
  }
}

function encodeMsrs(entries: readonly MsrEntry[]): Uint8Array {
  const buffer = new Uint8Array(Msrs.size + entries.length * MsrStruct.size);
  Msrs.fields.nmsrs.set(viewOf(buffer), 0, entries.length);
  for (const [at, { index, value }] of entries.entries()) {
    buffer.set(MsrStruct.encode({ index, data: value }), Msrs.size + at * MsrStruct.size);
  }
  return buffer;
}
