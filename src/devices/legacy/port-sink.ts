import type { BusDevice } from '../bus-device.ts';

/**
 * Ports that are there only to be written: the POST code port 0x80 and port 0xed, to which kernels write to pass the time of
 * one bus cycle. Reads give all ones, as an address where nobody answers does.
 */
export class PortSink implements BusDevice {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  read(_offset: number, data: Uint8Array): void {
    data.fill(0xff);
  }

  write(_offset: number, _data: Uint8Array): void {}
}
