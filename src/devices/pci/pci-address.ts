import { assert } from '#util/assert.ts';

export const DEVICES_PER_BUS = 32;
export const FUNCTIONS_PER_DEVICE = 8;
export const FUNCTIONS_PER_BUS = DEVICES_PER_BUS * FUNCTIONS_PER_DEVICE;

/** A function's place on bus 0, the only one. */
export interface PciAddress {
  /** 0 to 31. */
  readonly device: number;
  /** 0 to 7. */
  readonly function: number;
}

/** The place as 8 bits, device above function: the form of requester ids and of both configuration mechanisms. */
export function functionNumber({ device, function: index }: PciAddress): number {
  assert(Number.isInteger(device) && device >= 0 && device < DEVICES_PER_BUS, 'a PCI device number');
  assert(Number.isInteger(index) && index >= 0 && index < FUNCTIONS_PER_DEVICE, 'a PCI function number');
  return device * FUNCTIONS_PER_DEVICE + index;
}

/** For example `00:1f.7`. */
export function pciAddressText({ device, function: index }: PciAddress): string {
  return `00:${device.toString(16).padStart(2, '0')}.${index}`;
}
