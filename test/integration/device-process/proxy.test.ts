/** What needs an answer from the other end of a proxy, which is another thread here. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import { ProxyDevice } from '#devices/proxy/proxy-device.ts';

test('a device in another thread answers reads of all widths, after the writes before them', {
  timeout: 20_000,
}, async () => {
  const { client: socket, server } = DeviceProxy.pair();
  const worker = new Worker(new URL('proxy-server.ts', import.meta.url), { workerData: server.release() });
  const asked = once(worker, 'message');
  const onFailure = (label: string, reason: string): void => assert.fail(`${label}: ${reason}`);
  const proxy = new ProxyDevice({ debugLabel: 'disk', socket, sequence: new Uint32Array(1), onFailure });
  const expected: string[] = [];
  assert.deepEqual([proxy.readConfigRegister(0), proxy.readConfigRegister(63)], [0xffff_ffff, 0xffff_ffc0]);
  expected.push('config 0', 'config 63');
  for (const width of [1, 2, 4, 8]) {
    proxy.writeBar(2, width, Uint8Array.of(width));
    const data = new Uint8Array(width);
    proxy.readBar(2, width, data);
    assert.deepEqual([...data], [1, 2, 3, 4, 5, 6, 7, 8].slice(0, width));
    expected.push(`bar 2+${width} = ${width}`, `bar 2+${width} ${width}`);
  }
  DeviceProxy.client({ borrowed: socket }).shutdown();
  socket.close();
  assert.deepEqual((await asked)[0], [...expected, 'shutdown']);
});
