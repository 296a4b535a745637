/**
 * What travels between the interrupt controllers: a destination and a command. The command's layout is that of the low half
 * of the local APIC's interrupt command register (Intel SDM vol. 3 §11.6.1, figure 11-12), with which the I/O APIC's
 * redirection entry and the MSI data agree in the bits used here.
 */
export const COMMAND = {
  VECTOR: 0xff,
  DELIVERY_MODE: 7 << 8,
  LOGICAL: 1 << 11,
  ASSERT: 1 << 14,
  LEVEL: 1 << 15,
} as const;

/** Delivery modes in bits 10..8. */
export const DELIVERY = {
  FIXED: 0 << 8,
  LOWEST_PRIORITY: 1 << 8,
  SMI: 2 << 8,
  NMI: 4 << 8,
  INIT: 5 << 8,
  STARTUP: 6 << 8,
  EXT_INT: 7 << 8,
} as const;

/** Destination that addresses every local APIC, in a message whose destination has 8 bits, and in one of 32 bits. */
export const BROADCAST = { XAPIC: 0xff, X2APIC: 0xffff_ffff } as const;

/** MSI address and data, SDM vol. 3 §11.11. */
export const MSI_ADDRESS = {
  PREFIX_MASK: 0xfff0_0000,
  PREFIX: 0xfee0_0000,
  DESTINATION_SHIFT: 12,
  DESTINATION: 0xff,
  LOGICAL: 1 << 2,
} as const;
/** Vector, delivery mode, level and trigger mode of the data have the places of the command. */
export const MSI_DATA_COMMAND = COMMAND.VECTOR | COMMAND.DELIVERY_MODE | COMMAND.ASSERT | COMMAND.LEVEL;

/** Takes messages from I/O APICs and MSIs: the destination is an 8-bit one. */
export interface ApicMessageSink {
  /** True when a local APIC has accepted the message. */
  deliver(destination: number, command: number): boolean;
}
