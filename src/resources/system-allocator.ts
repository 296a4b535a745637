import { AddressAllocator, type Range } from './address-allocator.ts';
import { NumberAllocator } from './number-allocator.ts';

export interface SystemResources {
  /** Below 4 GiB, for devices with 32-bit addresses. */
  readonly lowMmio: Range;
  readonly highMmio: Range;
  readonly ioPorts: Range;
  /** Global system interrupts that devices may be given. */
  readonly gsis: { readonly first: number; readonly count: number };
}

/** What a machine has to give to its devices: addresses, I/O ports and interrupts. One for each machine, in the main process. */
export class SystemAllocator {
  readonly lowMmio: AddressAllocator;
  readonly highMmio: AddressAllocator;
  readonly ioPorts: AddressAllocator;
  readonly gsis: NumberAllocator;

  constructor(resources: SystemResources) {
    this.lowMmio = new AddressAllocator('low MMIO', resources.lowMmio);
    this.highMmio = new AddressAllocator('high MMIO', resources.highMmio);
    this.ioPorts = new AddressAllocator('I/O ports', resources.ioPorts);
    this.gsis = new NumberAllocator('GSIs', resources.gsis);
  }
}
