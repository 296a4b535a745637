/** A device of the port or memory bus in a process of its own: the bus's side and the device's, over the protocol of PCI devices. */
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd } from '#sys/fd.ts';
import type { BusDevice } from '../bus-device.ts';
import type { PciBusDevice } from '../pci/pci-device.ts';
import { NOBODY } from '../pci/registers.ts';
import { ProxyDevice, type ProxyDeviceOptions } from './proxy-device.ts';
import { type DeviceEvents, serveDevice } from './serve-device.ts';

/** Its registers are those of this BAR; it has no others and no configuration space. */
const REGISTERS_BAR = 0;

/** The end of a device's socket, as plain data for the vCPU threads. The descriptor is the main thread's. */
export interface ProxyEnd {
  readonly debugLabel: string;
  readonly socketFd: number;
  /** One word of shared memory: see ProxyDevice. */
  readonly sequence: Uint32Array;
}

/** Of a device whose process is new: no request has been made. */
export function proxyEndOf(debugLabel: string, socketFd: number): ProxyEnd {
  const sequence = new Uint32Array(new SharedArrayBuffer(Uint32Array.BYTES_PER_ELEMENT));
  return { debugLabel, socketFd, sequence };
}

/**
 * The bus's side, an object for each thread: a read waits for the answer, a write is posted, and what the device gets is in the order
 * of the accesses. One access at a time, for which whoever puts it on a bus has a lock. What cannot be asked reads as all ones.
 */
export class ProxyBusDevice implements BusDevice {
  readonly name: string;
  readonly #proxy: ProxyDevice;

  constructor(options: ProxyDeviceOptions) {
    this.name = options.debugLabel;
    this.#proxy = new ProxyDevice(options);
  }

  read(offset: number, data: Uint8Array): void {
    this.#proxy.readBar(REGISTERS_BAR, offset, data);
  }

  write(offset: number, data: Uint8Array): void {
    this.#proxy.writeBar(REGISTERS_BAR, offset, data);
  }
}

/** This thread's object for the device. It borrows the descriptor. */
export function busDeviceOf(end: ProxyEnd, onFailure: ProxyDeviceOptions['onFailure']): ProxyBusDevice {
  const { debugLabel, socketFd, sequence } = end;
  return new ProxyBusDevice({ debugLabel, socket: { fd: socketFd }, sequence, onFailure });
}

/** The device's side: any device of a bus, at the offsets that it has there. */
export function serveBusDevice(socket: Fd, device: BusDevice, events: DeviceEvents): ProtocolServer {
  const pci: PciBusDevice = {
    debugLabel: device.name,
    readConfigRegister: () => NOBODY,
    writeConfigRegister() {},
    readBar(bar, offset, data) {
      if (bar === REGISTERS_BAR) device.read(offset, data);
      else data.fill(NOBODY & 0xff);
    },
    writeBar(bar, offset, data) {
      if (bar === REGISTERS_BAR) device.write(offset, data);
    },
  };
  return serveDevice(socket, pci, events);
}
