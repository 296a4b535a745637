import type { BusDevice } from '../bus-device.ts';
import type { PciRoot } from './pci-root.ts';
import { EXTENDED_CONFIGURATION_BYTES, NOBODY } from './registers.ts';

/** Enhanced configuration access mechanism, PCI Express Base Specification 5.0 §7.2.2, table 7-1: 4 KiB a function. */
const FUNCTIONS_PER_BUS_BITS = 0xff;
const BUS_BYTES = 0x10_0000;
const NOBODY_BYTE = NOBODY & 0xff;

/** The address range of the MCFG table. On the bus with relative addresses. */
export class PciConfigMmio implements BusDevice {
  readonly name = 'pci-config-mmio';
  readonly #root: PciRoot;

  constructor(root: PciRoot) {
    this.#root = root;
  }

  read(offset: number, data: Uint8Array): void {
    if (offset < BUS_BYTES) this.#root.readConfig(functionAt(offset), offset % EXTENDED_CONFIGURATION_BYTES, data);
    else data.fill(NOBODY_BYTE);
  }

  write(offset: number, data: Uint8Array): void {
    if (offset < BUS_BYTES) this.#root.writeConfig(functionAt(offset), offset % EXTENDED_CONFIGURATION_BYTES, data);
  }
}

function functionAt(offset: number): number {
  return Math.floor(offset / EXTENDED_CONFIGURATION_BYTES) & FUNCTIONS_PER_BUS_BITS;
}
