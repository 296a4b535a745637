/**
 * Registers of the local APIC, Intel SDM vol. 3 chapter 11 (edition of 2023): offsets in the xAPIC page; bits 11..4 are the
 * MSR's distance from 0x800 in x2APIC mode.
 */
export const REGISTER = {
  ID: 0x020,
  VERSION: 0x030,
  TASK_PRIORITY: 0x080,
  ARBITRATION_PRIORITY: 0x090,
  PROCESSOR_PRIORITY: 0x0a0,
  EOI: 0x0b0,
  REMOTE_READ: 0x0c0,
  LOGICAL_DESTINATION: 0x0d0,
  DESTINATION_FORMAT: 0x0e0,
  SPURIOUS_VECTOR: 0x0f0,
  /** In service, trigger mode and request: eight registers each. */
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  VECTORS_END: 0x280,
  ERROR_STATUS: 0x280,
  ICR_LOW: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330,
  LVT_PERFORMANCE: 0x340,
  LVT_LINT0: 0x350,
  LVT_LINT1: 0x360,
  LVT_ERROR: 0x370,
  INITIAL_COUNT: 0x380,
  CURRENT_COUNT: 0x390,
  DIVIDE_CONFIGURATION: 0x3e0,
  SELF_IPI: 0x3f0,
} as const;

/** §11.4.8: integrated APIC, six LVT entries, EOI broadcasts can be suppressed. */
export const VERSION = 0x14 | (5 << 16) | (1 << 24);

/** Spurious-interrupt vector register, §11.9. */
export const SPURIOUS = { SOFTWARE_ENABLE: 1 << 8, FOCUS_DISABLED: 1 << 9, SUPPRESS_EOI_BROADCAST: 1 << 12 } as const;
export const SPURIOUS_WRITABLE =
  0xff | SPURIOUS.SOFTWARE_ENABLE | SPURIOUS.FOCUS_DISABLED | SPURIOUS.SUPPRESS_EOI_BROADCAST;

/** Local vector table, §11.5.1. */
export const LVT = {
  VECTOR: 0xff,
  DELIVERY_MODE: 7 << 8,
  /** Read only, as is REMOTE_IRR; both read as 0. */
  DELIVERY_STATUS: 1 << 12,
  POLARITY: 1 << 13,
  REMOTE_IRR: 1 << 14,
  LEVEL: 1 << 15,
  MASKED: 1 << 16,
  TIMER_MODE: 3 << 17,
} as const;
export const TIMER_MODE = { ONE_SHOT: 0 << 17, PERIODIC: 1 << 17, TSC_DEADLINE: 2 << 17 } as const;

/** Writable bits of the entries from LVT_TIMER to LVT_ERROR. */
export const LVT_WRITABLE = [
  LVT.VECTOR | LVT.MASKED | LVT.TIMER_MODE,
  LVT.VECTOR | LVT.DELIVERY_MODE | LVT.MASKED,
  LVT.VECTOR | LVT.DELIVERY_MODE | LVT.MASKED,
  LVT.VECTOR | LVT.DELIVERY_MODE | LVT.POLARITY | LVT.LEVEL | LVT.MASKED,
  LVT.VECTOR | LVT.DELIVERY_MODE | LVT.POLARITY | LVT.LEVEL | LVT.MASKED,
  LVT.VECTOR | LVT.MASKED,
] as const;

/** Error status register, §11.5.3. */
export const ERROR = { SEND_ILLEGAL_VECTOR: 1 << 5, RECEIVE_ILLEGAL_VECTOR: 1 << 6, ILLEGAL_REGISTER: 1 << 7 } as const;

/** Destination shorthand of the interrupt command register, §11.6.1; the rest is in apic-message.ts. */
export const SHORTHAND = { MASK: 3 << 18, NONE: 0 << 18, SELF: 1 << 18, ALL: 2 << 18, OTHERS: 3 << 18 } as const;
/** Delivery status reads as 0, idle: messages arrive at once. */
export const ICR_WRITABLE = 0x000c_cfff;
const ICR_DELIVERY_STATUS = 1 << 12;

/** Divide configuration register, §11.5.4, figure 11-10. */
export const DIVIDE_WRITABLE = 0xb;

/** Vectors below are reserved for exceptions. */
export const FIRST_VECTOR = 16;

/** IA32_APIC_BASE, §11.4.4 and §11.12.1. */
export const APIC_BASE = {
  BOOT_PROCESSOR: 1 << 8,
  X2APIC: 1 << 10,
  ENABLE: 1 << 11,
  RESERVED_LOW: 0x2ff & ~(1 << 8),
  ADDRESS_LOW: ~0xfff,
  /** Physical addresses have at most 52 bits. */
  RESERVED_HIGH: ~0xf_ffff,
} as const;
export const APIC_BASE_ADDRESS = 0xfee0_0000;

export const MSR = { APIC_BASE: 0x01b, TSC_DEADLINE: 0x6e0, X2APIC: 0x800, X2APIC_END: 0x900 } as const;

/** How a register may be accessed in x2APIC mode, §11.12.1.2, table 11-6. */
export const ACCESS = { READ: 1, WRITE: 2 } as const;
const READ_WRITE = ACCESS.READ | ACCESS.WRITE;

/** The access rights by bits 11..4 of the offset; 0 where there is no register. */
export const X2APIC_ACCESS: Uint8Array = accessTable();

function accessTable(): Uint8Array {
  const table = new Uint8Array(256);
  const allow = (register: number, access: number): void => {
    table[register >>> 4] = access;
  };
  for (const register of [REGISTER.ID, REGISTER.VERSION, REGISTER.PROCESSOR_PRIORITY]) allow(register, ACCESS.READ);
  for (const register of [REGISTER.LOGICAL_DESTINATION, REGISTER.CURRENT_COUNT]) allow(register, ACCESS.READ);
  for (let register: number = REGISTER.ISR; register < REGISTER.VECTORS_END; register += 0x10) {
    allow(register, ACCESS.READ);
  }
  for (const register of [REGISTER.EOI, REGISTER.SELF_IPI]) allow(register, ACCESS.WRITE);
  for (const register of [REGISTER.TASK_PRIORITY, REGISTER.SPURIOUS_VECTOR, REGISTER.ERROR_STATUS]) {
    allow(register, READ_WRITE);
  }
  for (let register: number = REGISTER.LVT_TIMER; register <= REGISTER.INITIAL_COUNT; register += 0x10) {
    allow(register, READ_WRITE);
  }
  for (const register of [REGISTER.ICR_LOW, REGISTER.DIVIDE_CONFIGURATION]) allow(register, READ_WRITE);
  return table;
}

/**
 * The bits that a write may set in x2APIC mode, by bits 11..4 of the offset; any other is #GP (§11.12.1.2, table 11-6, and
 * §11.12.1.3). A bit that is read only is not a reserved one, so that what was read may be written back; the command's delivery
 * status is ignored, as Intel's processors do.
 */
export const X2APIC_WRITABLE: Int32Array = writableTable();

function writableTable(): Int32Array {
  const table = new Int32Array(256);
  const allow = (register: number, bits: number): void => {
    table[register >>> 4] = bits;
  };
  allow(REGISTER.TASK_PRIORITY, 0xff);
  allow(REGISTER.EOI, 0);
  allow(REGISTER.SPURIOUS_VECTOR, SPURIOUS_WRITABLE);
  allow(REGISTER.ERROR_STATUS, 0);
  allow(REGISTER.ICR_LOW, ICR_WRITABLE | ICR_DELIVERY_STATUS);
  LVT_WRITABLE.forEach((bits, index) => {
    const register = REGISTER.LVT_TIMER + 0x10 * index;
    const isPin = register === REGISTER.LVT_LINT0 || register === REGISTER.LVT_LINT1;
    allow(register, bits | LVT.DELIVERY_STATUS | (isPin ? LVT.REMOTE_IRR : 0));
  });
  allow(REGISTER.INITIAL_COUNT, -1);
  allow(REGISTER.DIVIDE_CONFIGURATION, DIVIDE_WRITABLE);
  allow(REGISTER.SELF_IPI, 0xff);
  return table;
}

/**
 * Words of the state of one local APIC. The first 64 are the registers of the page, at their offset divided by 16; other
 * threads touch only IRR, TMR and what stands under "shared", and those with Atomics.
 */
export const STATE = {
  REGISTERS: 0,
  INITIALISED: 64,
  // Shared.
  PENDING: 65,
  /** Bit n: level of LINTn. */
  LINT_LEVELS: 66,
  STARTUP_VECTOR: 67,
  ERRORS: 68,
  /** ExtINT messages that arrived and are not acknowledged. */
  EXT_INT_LATCHED: 69,
  APIC_BASE_LOW: 70,
  APIC_BASE_HIGH: 71,
  // The owner's.
  WAITING_FOR_STARTUP: 72,
  TIMER_DEADLINE_NS: 73,
  TSC_DEADLINE_LOW: 75,
  TSC_DEADLINE_HIGH: 76,
  WORDS: 77,
} as const;
