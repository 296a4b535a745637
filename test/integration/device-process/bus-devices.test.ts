/** Devices of the port bus behind a socket: any of them, with what they do themselves as the measure. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Bus } from '#devices/bus.ts';
import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import { ProxyBusDevice } from '#devices/proxy/proxied-bus-device.ts';
import type { BusDeviceServerData } from './bus-device-server.ts';

const limit = { timeout: 20_000 };

/** A bus with the device at these ports, and `end`, which ends the machine and tells what the device did. */
function start(kind: BusDeviceServerData['kind'], ports: { start: number; sizeBytes: number }, isRelative: boolean) {
  const { client: socket, server } = DeviceProxy.pair();
  const workerData: BusDeviceServerData = { kind, socketFd: server.release() };
  const worker = new Worker(new URL('bus-device-server.ts', import.meta.url), { workerData });
  const said = once(worker, 'message');
  const onFailure = (label: string, reason: string): void => assert.fail(`${label}: ${reason}`);
  const sequence = new Uint32Array(1);
  const bus = new Bus();
  const device = new ProxyBusDevice({ debugLabel: kind, socket, sequence, onFailure });
  bus.insert(device, ports, isRelative ? 'relative' : 'absolute');
  const end = async (): Promise<string[]> => {
    DeviceProxy.client({ borrowed: socket }, { sequence }).shutdown();
    socket.close();
    return (await said)[0] as string[];
  };
  return { bus, end };
}

test('the CMOS in another process tells the time and keeps what is written', limit, async () => {
  const { bus, end } = start('cmos', { start: 0x70, sizeBytes: 2 }, true);
  const get = (index: number): number => {
    bus.write(0x70, Uint8Array.of(index));
    const data = new Uint8Array(1);
    bus.read(0x71, data);
    return data[0] ?? -1;
  };
  // BCD: century, year, month, day, hours, minutes, seconds.
  assert.deepEqual([0x32, 9, 8, 7, 4, 2, 0].map(get), [0x20, 0x30, 0x01, 0x01, 0x12, 0x34, 0x56]);
  bus.write(0x70, Uint8Array.of(0x40));
  bus.write(0x71, Uint8Array.of(0xa5));
  assert.equal(get(0x40), 0xa5);
  assert.deepEqual(
    (await end()).filter((each) => each !== 'interrupt false'),
    ['shutdown'],
  );
});

test('the i8042 in another process is nobody to read, and resets the machine', limit, async () => {
  const { bus, end } = start('i8042', { start: 0x62, sizeBytes: 3 }, false);
  const data = Uint8Array.of(0, 0);
  assert.equal(bus.read(0x64, data), true);
  assert.deepEqual([...data], [0xff, 0xff]);
  bus.write(0x63, Uint8Array.of(0xfe));
  bus.write(0x64, Uint8Array.of(0xfe));
  assert.deepEqual(await end(), ['reset', 'shutdown']);
});
