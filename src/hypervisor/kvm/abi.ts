/** Requests and constants of KVM's interface on x86-64: uapi/linux/kvm.h and asm/kvm.h, Documentation/virt/kvm/api.rst. */
import { type Ioctl, ioctlRequest } from '#sys/ioctl.ts';
import { u64 } from '#util/struct.ts';
import * as structs from './abi-structs.ts';

const KVMIO = 0xae;
const { io, ior, iow, iowr } = ioctlRequest;

const REQUESTS = {
  // Of /dev/kvm.
  GET_API_VERSION: io(KVMIO, 0x00),
  CREATE_VM: io(KVMIO, 0x01),
  GET_MSR_INDEX_LIST: iowr(KVMIO, 0x02, structs.MsrList),
  CHECK_EXTENSION: io(KVMIO, 0x03),
  GET_VCPU_MMAP_SIZE: io(KVMIO, 0x04),
  GET_SUPPORTED_CPUID: iowr(KVMIO, 0x05, structs.Cpuid2),
  // Of a VM.
  CREATE_VCPU: io(KVMIO, 0x41),
  GET_DIRTY_LOG: iow(KVMIO, 0x42, structs.DirtyLog),
  SET_USER_MEMORY_REGION: iow(KVMIO, 0x46, structs.UserspaceMemoryRegion),
  SET_TSS_ADDR: io(KVMIO, 0x47),
  SET_IDENTITY_MAP_ADDR: iow(KVMIO, 0x48, u64),
  CREATE_IRQCHIP: io(KVMIO, 0x60),
  IRQ_LINE: iow(KVMIO, 0x61, structs.IrqLevel),
  SET_GSI_ROUTING: iow(KVMIO, 0x6a, structs.IrqRouting),
  IRQFD: iow(KVMIO, 0x76, structs.Irqfd),
  CREATE_PIT2: iow(KVMIO, 0x77, structs.PitConfig),
  IOEVENTFD: iow(KVMIO, 0x79, structs.Ioeventfd),
  SET_CLOCK: iow(KVMIO, 0x7b, structs.ClockData),
  GET_CLOCK: ior(KVMIO, 0x7c, structs.ClockData),
  SIGNAL_MSI: iow(KVMIO, 0xa5, structs.Msi),
  ENABLE_CAP: iow(KVMIO, 0xa3, structs.EnableCap),
  // Of a vCPU.
  RUN: io(KVMIO, 0x80),
  GET_REGS: ior(KVMIO, 0x81, structs.Regs),
  SET_REGS: iow(KVMIO, 0x82, structs.Regs),
  GET_SREGS: ior(KVMIO, 0x83, structs.Sregs),
  SET_SREGS: iow(KVMIO, 0x84, structs.Sregs),
  TRANSLATE: iowr(KVMIO, 0x85, structs.Translation),
  INTERRUPT: iow(KVMIO, 0x86, structs.Interrupt),
  GET_MSRS: iowr(KVMIO, 0x88, structs.Msrs),
  SET_MSRS: iow(KVMIO, 0x89, structs.Msrs),
  SET_SIGNAL_MASK: iow(KVMIO, 0x8b, { size: 4 }),
  GET_FPU: ior(KVMIO, 0x8c, structs.Fpu),
  SET_FPU: iow(KVMIO, 0x8d, structs.Fpu),
  GET_LAPIC: ior(KVMIO, 0x8e, structs.LapicState),
  SET_LAPIC: iow(KVMIO, 0x8f, structs.LapicState),
  SET_CPUID2: iow(KVMIO, 0x90, structs.Cpuid2),
  GET_MP_STATE: ior(KVMIO, 0x98, structs.MpState),
  SET_MP_STATE: iow(KVMIO, 0x99, structs.MpState),
  NMI: io(KVMIO, 0x9a),
  SET_GUEST_DEBUG: iow(KVMIO, 0x9b, structs.GuestDebug),
  GET_DEBUGREGS: ior(KVMIO, 0xa1, structs.Debugregs),
  SET_DEBUGREGS: iow(KVMIO, 0xa2, structs.Debugregs),
  GET_XSAVE: ior(KVMIO, 0xa4, structs.Xsave),
  SET_XSAVE: iow(KVMIO, 0xa5, structs.Xsave),
  GET_XCRS: ior(KVMIO, 0xa6, structs.Xcrs),
  SET_XCRS: iow(KVMIO, 0xa7, structs.Xcrs),
  KVMCLOCK_CTRL: io(KVMIO, 0xad),
} as const;

export type KvmRequest = keyof typeof REQUESTS;

/** Each request with its name. */
export const KvmIoctl = Object.fromEntries(
  Object.entries(REQUESTS).map(([name, request]) => [name, { name: `KVM_${name}`, request }]),
) as Readonly<Record<KvmRequest, Ioctl>>;

/** The only version of the interface that programs are to run with. */
export const KVM_API_VERSION = 12;

/** What KVM_CHECK_EXTENSION is asked for. */
export const KvmCap = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  COALESCED_MMIO: 15,
  DESTROY_MEMORY_REGION_WORKS: 21,
  SET_GUEST_DEBUG: 23,
  IRQ_ROUTING: 25,
  JOIN_MEMORY_REGIONS_WORKS: 30,
  IRQFD: 32,
  PIT2: 33,
  IOEVENTFD: 36,
  SET_IDENTITY_MAP_ADDR: 37,
  ADJUST_CLOCK: 39,
  INTERNAL_ERROR_DATA: 40,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  MAX_VCPUS: 66,
  TSC_DEADLINE_TIMER: 72,
  KVMCLOCK_CTRL: 76,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  IRQFD_RESAMPLE: 82,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  MAX_VCPU_ID: 128,
  IMMEDIATE_EXIT: 136,
  SET_GUEST_DEBUG2: 195,
} as const;
export type KvmCapName = keyof typeof KvmCap;

export const KvmMem = { LOG_DIRTY_PAGES: 1, READONLY: 2 } as const;
export const KvmIrqfdFlag = { DEASSIGN: 1, RESAMPLE: 2 } as const;
export const KvmIoeventfdFlag = { DATAMATCH: 1, PIO: 2, DEASSIGN: 4 } as const;
export const KvmIrqRouting = { IRQCHIP: 1, MSI: 2 } as const;
export const KvmIrqchip = { PIC_MASTER: 0, PIC_SLAVE: 1, IOAPIC: 2 } as const;
export const KvmPit = { SPEAKER_DUMMY: 1 } as const;
export const KvmCpuidFlag = { SIGNIFCANT_INDEX: 1 } as const;
export const KvmMpState = { RUNNABLE: 0, UNINITIALIZED: 1, INIT_RECEIVED: 2, HALTED: 3, SIPI_RECEIVED: 4 } as const;
export const KvmGuestDbg = {
  ENABLE: 1,
  SINGLESTEP: 2,
  USE_SW_BP: 0x1_0000,
  USE_HW_BP: 0x2_0000,
  INJECT_DB: 0x4_0000,
  INJECT_BP: 0x8_0000,
  BLOCKIRQ: 0x10_0000,
} as const;

/** `exit_reason`. */
export const KvmExit = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  TPR_ACCESS: 12,
  NMI: 16,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
} as const;
export const KvmExitIo = { IN: 0, OUT: 1 } as const;
export const KvmInternalError = {
  EMULATION: 1,
  SIMUL_EX: 2,
  DELIVERY_EV: 3,
  UNEXPECTED_EXIT_REASON: 4,
} as const;
export const KvmEmulationFlag = { INSTRUCTION_BYTES: 1 } as const;
export const KvmSystemEvent = { SHUTDOWN: 1, RESET: 2, CRASH: 3 } as const;
