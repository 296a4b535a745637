import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd } from '#sys/fd.ts';
import type { PciBusDevice } from '../pci/pci-device.ts';
import { ACCESS_BYTES_MAX, DeviceProxy } from './device-protocol.ts';

/** What the machine tells the device's process; called before the answer goes out. */
export interface DeviceEvents {
  onSuspend(): void;
  onResume(): void;
  onShutdown(): void;
}

/** The device's side: answers the bus. */
export function serveDevice(socket: Fd, device: PciBusDevice, events: DeviceEvents): ProtocolServer {
  const answer = new Uint8Array(ACCESS_BYTES_MAX);
  const part = (sizeBytes: number): number => Math.min(sizeBytes, ACCESS_BYTES_MAX);
  return DeviceProxy.server(socket, {
    readConfig: ({ register }) => ({ value: device.readConfigRegister(register) >>> 0 }),
    writeConfig: ({ register, offset, sizeBytes, data }) =>
      device.writeConfigRegister(register, offset, data.subarray(0, part(sizeBytes))),
    readBar: ({ bar, offset, sizeBytes }) => {
      device.readBar(bar, offset, answer.subarray(0, part(sizeBytes)));
      return { data: answer };
    },
    writeBar: ({ bar, offset, sizeBytes, data }) => device.writeBar(bar, offset, data.subarray(0, part(sizeBytes))),
    suspend: () => events.onSuspend(),
    resume: () => events.onResume(),
    shutdown: () => events.onShutdown(),
  });
}
