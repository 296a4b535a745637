/** Both ends in one thread, so reads have no answer here: test/integration/device-process/bus-devices.test.ts has those. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BusDevice } from '../bus-device.ts';
import { IrqfdLine } from '../irqfd-line.ts';
import { DeviceProxy } from './device-protocol.ts';
import { ProxyBusDevice, serveBusDevice } from './proxied-bus-device.ts';

function connect() {
  const { client, server: socket } = DeviceProxy.pair();
  const [asked, failures]: [string[], string[]] = [[], []];
  const device: BusDevice = {
    name: 'serial0',
    read: (offset, data) => void asked.push(`read ${offset} ${data.length}`),
    write: (offset, data) => void asked.push(`${offset} = ${[...data]}`),
  };
  const server = serveBusDevice(socket, device, { onSuspend() {}, onResume() {}, onShutdown() {} });
  const sequence = new Uint32Array(1);
  const onFailure = (label: string, reason: string): void => void failures.push(`${label}: ${reason}`);
  const proxy = (): ProxyBusDevice =>
    new ProxyBusDevice({ debugLabel: 'serial0', socket: client, sequence, onFailure, answerTimeoutMs: 10 });
  const serveAll = (): void => {
    while (server.tryServeOne() === true);
  };
  const ends = {
    client,
    server,
    asked,
    failures,
    proxy,
    serveAll,
    [Symbol.dispose]: () => {
      client[Symbol.dispose]();
      server[Symbol.dispose]();
    },
  };
  return ends;
}

describe('a device of the port bus in another process', () => {
  test('has the name of the device, and gets the posted writes of several threads in their order', () => {
    using ends = connect();
    const proxies = [ends.proxy(), ends.proxy()];
    assert.equal(proxies[0]?.name, 'serial0');
    for (let value = 0; value < 4; value++) proxies[value % 2]?.write(value, Uint8Array.of(value, 9));
    assert.deepEqual(ends.asked, []);
    ends.serveAll();
    assert.deepEqual(ends.asked, ['0 = 0,9', '1 = 1,9', '2 = 2,9', '3 = 3,9']);
    assert.deepEqual(ends.failures, []);
  });

  test('that does not answer, or is gone, reads as all ones and is reported with its name', () => {
    using ends = connect();
    const data = new Uint8Array(2);
    const proxy = ends.proxy();
    proxy.read(5, data);
    assert.deepEqual([...data], [0xff, 0xff]);
    ends.server.close();
    data.fill(0);
    proxy.read(5, data);
    proxy.write(0, data);
    assert.deepEqual([...data], [0xff, 0xff]);
    assert.deepEqual(ends.failures, [
      'serial0: its process has not answered for 0.01 s',
      'serial0: its process is gone',
      'serial0: its process is gone',
    ]);
  });

  test('has no other BARs and no configuration space', () => {
    using ends = connect();
    using client = DeviceProxy.client({ borrowed: ends.client }, { receiveMs: 10 });
    const data = new Uint8Array(8);
    client.writeBar({ bar: 1, offset: 0, sizeBytes: 1, data });
    client.writeConfig({ register: 0, offset: 0, sizeBytes: 1, data });
    assert.throws(() => client.readBar({ bar: 1, offset: 0, sizeBytes: 1 }), { code: 'TIMED_OUT' });
    assert.throws(() => client.readConfig({ register: 0 }), { code: 'TIMED_OUT' });
    ends.serveAll();
    assert.deepEqual(ends.asked, []);
  });
});

test('an edge-triggered line signals its rises, and nothing else', () => {
  let signals = 0;
  const line = new IrqfdLine({ write: () => void signals++ });
  for (const level of [false, true, true, false, false, true]) line.set(level);
  assert.equal(signals, 2);
});
