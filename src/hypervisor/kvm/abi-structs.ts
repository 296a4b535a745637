/**
 * Structures of KVM's interface on x86-64: uapi/linux/kvm.h and asm/kvm.h, Documentation/virt/kvm/api.rst. Fields have the names
 * that they have there, in our spelling; a test compares all of them with what a C compiler says.
 */
import { array, bytes, i32, struct, u8, u16, u32, u64, u64AsNumber } from '#util/struct.ts';

export const UserspaceMemoryRegion = struct({
  slot: u32,
  flags: u32,
  guestPhysAddr: u64AsNumber,
  memorySize: u64AsNumber,
  userspaceAddr: u64AsNumber,
});

export const DirtyLog = struct({ slot: u32, padding1: u32, dirtyBitmap: u64AsNumber });

export const EnableCap = struct({ cap: u32, flags: u32, args: array(u64AsNumber, 4), pad: bytes(64) });

export const PitConfig = struct({ flags: u32, pad: array(u32, 15) });

export const IrqLevel = struct({ irq: u32, level: u32 });

export const Irqfd = struct({ fd: u32, gsi: u32, flags: u32, resamplefd: u32, pad: bytes(16) });

export const Ioeventfd = struct({
  datamatch: u64,
  addr: u64AsNumber,
  len: u32,
  fd: i32,
  flags: u32,
  pad: bytes(36),
});

/** `struct kvm_irq_routing` without its entries, which follow. */
export const IrqRouting = struct({ nr: u32, flags: u32 });

/** An entry whose `type` is IRQCHIP. */
export const IrqRoutingIrqchip = struct({
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  irqchip: u32,
  pin: u32,
  rest: bytes(24),
});

/** An entry whose `type` is MSI. */
export const IrqRoutingMsi = struct({
  gsi: u32,
  type: u32,
  flags: u32,
  pad: u32,
  addressLo: u32,
  addressHi: u32,
  data: u32,
  rest: bytes(20),
});

export const Msi = struct({ addressLo: u32, addressHi: u32, data: u32, flags: u32, devid: u32, pad: bytes(12) });

export const ClockData = struct({
  clock: u64,
  flags: u32,
  pad0: u32,
  realtime: u64,
  hostTsc: u64,
  pad: array(u32, 4),
});

/** `struct kvm_cpuid2` without its entries, which follow. */
export const Cpuid2 = struct({ nent: u32, padding: u32 });

export const CpuidEntry2 = struct({
  function: u32,
  index: u32,
  flags: u32,
  eax: u32,
  ebx: u32,
  ecx: u32,
  edx: u32,
  padding: array(u32, 3),
});

/** `struct kvm_msrs` without its entries, which follow. */
export const Msrs = struct({ nmsrs: u32, pad: u32 });

export const MsrEntry = struct({ index: u32, reserved: u32, data: u64 });

/** `struct kvm_msr_list` without its numbers, which follow. */
export const MsrList = struct({ nmsrs: u32 });

export const Regs = struct({
  rax: u64,
  rbx: u64,
  rcx: u64,
  rdx: u64,
  rsi: u64,
  rdi: u64,
  rsp: u64,
  rbp: u64,
  r8: u64,
  r9: u64,
  r10: u64,
  r11: u64,
  r12: u64,
  r13: u64,
  r14: u64,
  r15: u64,
  rip: u64,
  rflags: u64,
});

export const Segment = struct({
  baseAddress: u64,
  limit: u32,
  selector: u16,
  type: u8,
  present: u8,
  dpl: u8,
  db: u8,
  s: u8,
  l: u8,
  g: u8,
  avl: u8,
  unusable: u8,
  padding: u8,
});

export const Dtable = struct({ baseAddress: u64, limit: u16, padding: array(u16, 3) });

export const Sregs = struct({
  cs: Segment,
  ds: Segment,
  es: Segment,
  fs: Segment,
  gs: Segment,
  ss: Segment,
  tr: Segment,
  ldt: Segment,
  gdt: Dtable,
  idt: Dtable,
  cr0: u64,
  cr2: u64,
  cr3: u64,
  cr4: u64,
  cr8: u64,
  efer: u64,
  apicBase: u64,
  interruptBitmap: array(u64, 4),
});

export const Fpu = struct({
  fpr: bytes(128),
  fcw: u16,
  fsw: u16,
  ftwx: u8,
  pad1: u8,
  lastOpcode: u16,
  lastIp: u64,
  lastDp: u64,
  xmm: bytes(256),
  mxcsr: u32,
  pad2: u32,
});

export const LapicState = struct({ regs: bytes(1024) });

export const Xsave = struct({ region: bytes(4096) });

export const Xcr = struct({ xcr: u32, reserved: u32, value: u64 });

export const Xcrs = struct({ nrXcrs: u32, flags: u32, xcrs: array(Xcr, 16), padding: array(u64, 16) });

export const Debugregs = struct({ db: array(u64, 4), dr6: u64, dr7: u64, flags: u64, reserved: array(u64, 9) });

export const GuestDebug = struct({ control: u32, pad: u32, debugreg: array(u64, 8) });

export const MpState = struct({ mpState: u32 });

export const Interrupt = struct({ irq: u32 });

export const Translation = struct({
  linearAddress: u64,
  physicalAddress: u64AsNumber,
  valid: u8,
  writeable: u8,
  usermode: u8,
  pad: bytes(5),
});

/** `struct kvm_signal_mask` with the kernel's set of 64 signals. */
export const SignalMask = struct({ len: u32, sigset: bytes(8) });

/** The beginning of `struct kvm_run`, which is the same for all exits; then the exit's own. */
export const Run = struct({
  requestInterruptWindow: u8,
  immediateExit: u8,
  padding1: bytes(6),
  exitReason: u32,
  readyForInterruptInjection: u8,
  ifFlag: u8,
  flags: u16,
  cr8: u64,
  apicBase: u64,
});

/** The exits' own parts of `struct kvm_run`; each begins where `Run` ends. */
export const RunIo = struct({ direction: u8, size: u8, port: u16, count: u32, dataOffset: u64AsNumber });
export const RunMmio = struct({ physAddr: u64AsNumber, data: bytes(8), len: u32, isWrite: u8 });
export const RunFailEntry = struct({ hardwareEntryFailureReason: u64, cpu: u32 });
export const RunInternal = struct({ suberror: u32, ndata: u32, data: array(u64, 16) });
export const RunEmulationFailure = struct({
  suberror: u32,
  ndata: u32,
  flags: u64,
  insnSize: u8,
  insnBytes: bytes(15),
});
export const RunSystemEvent = struct({ type: u32, ndata: u32, flags: u64 });
export const RunEoi = struct({ vector: u8 });
export const RunDebug = struct({ exception: u32, pad: u32, pc: u64, dr6: u64, dr7: u64 });
