/** A thread that is the device's side of a device on the port bus. Says, when the bus has closed, what the device did to the machine. */
import { parentPort, workerData } from 'node:worker_threads';
import type { BusDevice } from '#devices/bus-device.ts';
import { Cmos } from '#devices/legacy/cmos.ts';
import { I8042 } from '#devices/legacy/i8042.ts';
import { serveBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import { Fd } from '#sys/fd.ts';

export interface BusDeviceServerData {
  readonly kind: 'cmos' | 'i8042';
  readonly socketFd: number;
}

/** Tuesday. */
const TIME_MS = Date.UTC(2030, 0, 1, 12, 34, 56);
const { kind, socketFd } = workerData as BusDeviceServerData;
const done: string[] = [];

function create(): BusDevice {
  if (kind === 'i8042') return new I8042(() => void done.push('reset'));
  return new Cmos(new Int32Array(Cmos.STATE_WORDS), {
    clock: { nowNs: () => 0, wallMs: () => TIME_MS },
    interrupt: { set: (asserted) => void done.push(`interrupt ${asserted}`) },
    lowMemoryBytes: 256 << 20,
    highMemoryBytes: 0,
  });
}

using server = serveBusDevice(new Fd(socketFd), create(), {
  onSuspend: () => void done.push('suspend'),
  onResume: () => void done.push('resume'),
  onShutdown: () => void done.push('shutdown'),
});
while (server.serveOne());
parentPort?.postMessage(done);
