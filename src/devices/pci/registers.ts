/**
 * The type 0 configuration header, PCI Local Bus Specification 3.0 §6.1. A register is 4 bytes, numbered as mechanism #1 does
 * (§3.2.2.3.2); fields narrower than a register are given by the register and their place in it.
 */
export const REGISTER = {
  /** Vendor in the lower half, device in the upper. */
  ID: 0,
  /** Command (§6.2.2) in the lower half, status (§6.2.3) in the upper. */
  COMMAND_STATUS: 1,
  /** Revision, then interface, sub-class and base class (§6.2.1, appendix D). */
  REVISION_CLASS: 2,
  /** Cache line size, latency timer, header type, built-in self test. */
  CACHE_HEADER: 3,
  /** The first of six base addresses, §6.2.5. */
  BAR0: 4,
  SUBSYSTEM: 11,
  EXPANSION_ROM: 12,
  CAPABILITIES_POINTER: 13,
  /** Interrupt line, interrupt pin, MIN_GNT, MAX_LAT. */
  INTERRUPT: 15,
} as const;

/** §6.2.2. */
export const COMMAND = { IO_SPACE: 1 << 0, MEMORY_SPACE: 1 << 1, BUS_MASTER: 1 << 2, INTX_DISABLE: 1 << 10 } as const;

/** §6.2.3, as bits of the register. The errors are cleared by writing 1. */
export const STATUS = {
  INTERRUPT: 1 << 19,
  CAPABILITIES_LIST: 1 << 20,
  ERRORS: 0xf900_0000,
} as const;

/** Bits of the register CACHE_HEADER: what software may write, and the header type's §6.2.1 multi-function bit. */
export const CACHE_HEADER = { CACHE_LINE: 0xff, LATENCY_TIMER: 0xff00, MULTI_FUNCTION: 1 << 23 } as const;

/** Bits of the register INTERRUPT, §6.2.4. */
export const INTERRUPT = { LINE: 0xff, PIN_SHIFT: 8 } as const;

/** The low bits of a base address register, §6.2.5.1; all of them are read-only. */
export const BAR_FLAG = { IO: 0x1, MEMORY_64: 0x4, PREFETCHABLE: 0x8 } as const;
export const BAR_COUNT = 6;

/** Bytes from which the capabilities may lie, and the end of what a conventional function has. */
export const CAPABILITIES_START = 0x40;
export const CONFIGURATION_BYTES = 0x100;
/** With the extended space of PCI Express: PCI Express Base Specification 5.0 §7.2.2. */
export const EXTENDED_CONFIGURATION_BYTES = 0x1000;

/** PCI Code and ID Assignment Specification 1.11 §2. */
export const CAPABILITY = { VENDOR: 0x09, MSIX: 0x11 } as const;

/** Interrupt pins as the header encodes them, §6.2.4; 0 is none. */
export const INTERRUPT_PIN = { NONE: 0, INTA: 1, INTB: 2, INTC: 3, INTD: 4 } as const;
export type InterruptPin = (typeof INTERRUPT_PIN)[keyof typeof INTERRUPT_PIN];

/** What nobody answers reads as: the end of a master abort, §3.2.2.3.4. */
export const NOBODY = 0xffff_ffff;
