import type { BusDevice } from '../bus-device.ts';
import type { PciRoot } from './pci-root.ts';
import { NOBODY } from './registers.ts';

/** Configuration mechanism #1: PCI Local Bus Specification 3.0 §3.2.2.3.2. */
const PORT = { ADDRESS: 0xcf8, DATA: 0xcfc, END: 0xd00 } as const;

/** CONFIG_ADDRESS. Bits 30 to 24, 1 and 0 are read-only and 0. */
const ADDRESS = {
  ENABLE: 0x8000_0000,
  BUS: 0x00ff_0000,
  FUNCTION_SHIFT: 8,
  FUNCTION: 0xff,
  REGISTER: 0xfc,
  WRITABLE: 0x80ff_fffc,
} as const;
const ADDRESS_BYTES = 4;
const NOBODY_BYTE = NOBODY & 0xff;

/**
 * The ports 0xcf8 to 0xcff: an address register that exists for accesses of 4 bytes only, and the window of 4 bytes to the
 * register it names, at any width. Narrower accesses below 0xcfc are to other devices at those ports, as the reset control is at
 * 0xcf9. On the bus with absolute addresses.
 */
export class PciConfigIo implements BusDevice {
  static readonly STATE_WORDS = 1;

  readonly name = 'pci-config-io';
  readonly #state: Int32Array;
  readonly #root: PciRoot;

  constructor(state: Int32Array, root: PciRoot) {
    this.#state = state;
    this.#root = root;
  }

  read(port: number, data: Uint8Array): void {
    data.fill(NOBODY_BYTE);
    if (port === PORT.ADDRESS && data.length === ADDRESS_BYTES) {
      for (let i = 0; i < ADDRESS_BYTES; i++) data[i] = this.#state[0]! >>> (8 * i);
    } else if (port >= PORT.DATA && this.#namesBus0()) {
      this.#root.readConfig(this.#functionNumber(), this.#offset(port), window(port, data));
    }
  }

  write(port: number, data: Uint8Array): void {
    if (port === PORT.ADDRESS && data.length === ADDRESS_BYTES) {
      const value = data[0]! | (data[1]! << 8) | (data[2]! << 16) | (data[3]! << 24);
      this.#state[0] = value & ADDRESS.WRITABLE;
    } else if (port >= PORT.DATA && this.#namesBus0()) {
      this.#root.writeConfig(this.#functionNumber(), this.#offset(port), window(port, data));
    }
  }

  #namesBus0(): boolean {
    const address = this.#state[0]!;
    return (address & ADDRESS.ENABLE) !== 0 && (address & ADDRESS.BUS) === 0;
  }

  #functionNumber(): number {
    return (this.#state[0]! >>> ADDRESS.FUNCTION_SHIFT) & ADDRESS.FUNCTION;
  }

  #offset(port: number): number {
    return (this.#state[0]! & ADDRESS.REGISTER) + (port - PORT.DATA);
  }
}

/** The bytes of an access that lie in the data window. */
function window(port: number, data: Uint8Array): Uint8Array {
  return port + data.length <= PORT.END ? data : data.subarray(0, Math.max(0, PORT.END - port));
}
