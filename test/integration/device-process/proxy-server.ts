/** A thread that is the device's side of a proxy: `workerData` is its socket. Says what it was asked when the bus has closed. */
import { parentPort, workerData } from 'node:worker_threads';
import { serveDevice } from '#devices/proxy/serve-device.ts';
import { NotingDevice } from '#devices/proxy/testing.ts';
import { Fd } from '#sys/fd.ts';

const device = new NotingDevice();
using server = serveDevice(new Fd(workerData as number), device, {
  onSuspend: () => void device.asked.push('suspend'),
  onResume: () => void device.asked.push('resume'),
  onShutdown: () => void device.asked.push('shutdown'),
});
while (server.serveOne());
parentPort?.postMessage(device.asked);
