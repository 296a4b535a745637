import { PciConfiguration } from './pci-configuration.ts';
import type { PciBusDevice } from './pci-device.ts';
import { NOBODY } from './registers.ts';

/** Intel 82441FX (440FX), data sheet 290549 §3.2; revision 2. Kernels know it as a plain conventional host bridge. */
const HOST_BRIDGE = {
  vendorId: 0x8086,
  deviceId: 0x1237,
  revision: 2,
  class: { base: 6, sub: 0, interface: 0 },
} as const;

/** Function 00:00.0: it stands for the bus itself and does nothing. */
export class HostBridge implements PciBusDevice {
  static readonly STATE_WORDS = PciConfiguration.WORDS;

  readonly debugLabel = 'host-bridge';
  readonly #configuration: PciConfiguration;

  constructor(words: Uint32Array) {
    this.#configuration = new PciConfiguration(words, HOST_BRIDGE);
  }

  readConfigRegister(register: number): number {
    return this.#configuration.readRegister(register);
  }

  writeConfigRegister(register: number, offset: number, data: Uint8Array): void {
    this.#configuration.writeRegister(register, offset, data);
  }

  readBar(_bar: number, _offset: number, data: Uint8Array): void {
    data.fill(NOBODY & 0xff);
  }

  writeBar(_bar: number, _offset: number, _data: Uint8Array): void {}
}
