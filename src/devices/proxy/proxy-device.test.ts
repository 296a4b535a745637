/** Both ends in one thread, so reads have no answer here: test/integration/device-process/proxy.test.ts has those. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProtocolServer } from '#msg-socket/protocol.ts';
import type { Fd } from '#sys/fd.ts';
import { AssertionError } from '#util/assert.ts';
import { DeviceProxy } from './device-protocol.ts';
import { ProxyDevice } from './proxy-device.ts';
import { serveDevice } from './serve-device.ts';
import { NotingDevice } from './testing.ts';

const ONES = 0xffff_ffff;
const WIDTHS = [1, 2, 4, 8];
const NO_ANSWER = 'disk: its process has not answered for 0.01 s';

class Ends implements Disposable {
  readonly failures: string[] = [];
  readonly device = new NotingDevice();
  readonly server: ProtocolServer;
  readonly client: Fd;
  readonly sequence = new Uint32Array(1);
  shutdowns = 0;

  constructor() {
    const { client, server } = DeviceProxy.pair();
    this.client = client;
    this.server = serveDevice(server, this.device, {
      onSuspend: () => {},
      onResume: () => {},
      onShutdown: () => void this.shutdowns++,
    });
  }

  proxy(): ProxyDevice {
    const onFailure = (label: string, reason: string): void => void this.failures.push(`${label}: ${reason}`);
    const { client: socket, sequence } = this;
    return new ProxyDevice({ debugLabel: 'disk', socket, sequence, onFailure, answerTimeoutMs: 10 });
  }

  serveAll(): void {
    while (this.server.tryServeOne() === true);
  }

  [Symbol.dispose](): void {
    this.client[Symbol.dispose]();
    this.server[Symbol.dispose]();
  }
}

describe('a device in another process', () => {
  test('gets posted writes of all widths in their order, and the proxy does not wait', () => {
    using ends = new Ends();
    const proxy = ends.proxy();
    const expected: string[] = [];
    for (const width of WIDTHS) {
      const data = Uint8Array.from({ length: width }, (_, index) => width * 16 + index);
      proxy.writeBar(width % 6, 0x1000 * width, data);
      expected.push(`bar ${width % 6}+${0x1000 * width} = ${[...data]}`);
      if (width === 8) continue;
      proxy.writeConfigRegister(63, 4 - width, data);
      expected.push(`config 63+${4 - width} = ${[...data]}`);
    }
    assert.deepEqual(ends.device.asked, []);
    ends.serveAll();
    assert.deepEqual(ends.device.asked, expected);
    assert.deepEqual(ends.failures, []);
  });

  test('gets the writes of several proxies in the order of their making', () => {
    using ends = new Ends();
    const proxies = [ends.proxy(), ends.proxy()];
    for (let value = 0; value < 6; value++) proxies[value % 2]?.writeBar(0, 0, Uint8Array.of(value));
    ends.serveAll();
    assert.deepEqual(
      ends.device.asked,
      [0, 1, 2, 3, 4, 5].map((value) => `bar 0+0 = ${value}`),
    );
    assert.equal(ends.sequence[0], 6);
  });

  test('is told of the end of the machine', () => {
    using ends = new Ends();
    using client = DeviceProxy.client({ borrowed: ends.client }, { receiveMs: 10 });
    assert.throws(() => client.shutdown(), { code: 'TIMED_OUT' });
    ends.serveAll();
    assert.equal(ends.shutdowns, 1);
  });

  test('that does not answer reads as all ones and is reported with its name, each time', () => {
    using ends = new Ends();
    const proxy = ends.proxy();
    assert.equal(proxy.readConfigRegister(3), ONES);
    for (const width of WIDTHS) {
      const data = new Uint8Array(width);
      proxy.readBar(0, 8, data);
      assert.deepEqual([...data], Array(width).fill(0xff));
    }
    assert.deepEqual(ends.failures, Array(5).fill(NO_ANSWER));
  });

  test('whose answers come late has none of them taken for another', () => {
    using ends = new Ends();
    const proxy = ends.proxy();
    assert.deepEqual([proxy.readConfigRegister(1), proxy.readConfigRegister(2)], [ONES, ONES]);
    ends.serveAll();
    assert.equal(proxy.readConfigRegister(3), ONES);
    assert.deepEqual(ends.failures, Array(3).fill(NO_ANSWER));
  });

  test('that reads nothing is reported when there is no more room for writes', () => {
    using ends = new Ends();
    const proxy = ends.proxy();
    while (ends.failures.length === 0) proxy.writeBar(0, 0, Uint8Array.of(1));
    assert.deepEqual(ends.failures, [NO_ANSWER]);
  });

  test('that is gone reads as all ones, and takes writes, with a report each', () => {
    using ends = new Ends();
    const proxy = ends.proxy();
    ends.server.close();
    const data = Uint8Array.of(1, 2, 3, 4);
    assert.equal(proxy.readConfigRegister(0), ONES);
    proxy.readBar(0, 0, data);
    proxy.writeBar(0, 0, data);
    proxy.writeConfigRegister(1, 0, data);
    assert.deepEqual([...data], [0xff, 0xff, 0xff, 0xff]);
    assert.deepEqual(ends.failures, Array(4).fill('disk: its process is gone'));
  });

  test('that answers what nobody asked is reported', () => {
    const { client, server } = DeviceProxy.pair();
    using ends = new Ends();
    // A client's request is no response.
    using wrong = DeviceProxy.client(server);
    wrong.writeConfig({ register: 0, offset: 0, sizeBytes: 1, data: new Uint8Array(8) });
    const onFailure = (label: string, reason: string): void => void ends.failures.push(`${label}: ${reason}`);
    const proxy = new ProxyDevice({ debugLabel: 'disk', socket: client, sequence: new Uint32Array(1), onFailure });
    assert.equal(proxy.readConfigRegister(0), ONES);
    assert.match(ends.failures[0] ?? '', /^disk: its process answered wrongly: /);
    client.close();
  });

  test('is asked for at most eight bytes: more is a mistake of the bus', () => {
    using ends = new Ends();
    assert.throws(() => ends.proxy().writeBar(0, 0, new Uint8Array(9)), AssertionError);
    assert.deepEqual(ends.failures, []);
  });

  test('takes no more than eight bytes of a request that says more', () => {
    using ends = new Ends();
    using client = DeviceProxy.client({ borrowed: ends.client }, { receiveMs: 10 });
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    client.writeBar({ bar: 0, offset: 0, sizeBytes: 255, data });
    assert.throws(() => client.readBar({ bar: 0, offset: 0, sizeBytes: 255 }), { code: 'TIMED_OUT' });
    ends.serveAll();
    assert.deepEqual(ends.device.asked, [`bar 0+0 = ${[...data]}`, 'bar 0+0 8']);
  });
});
