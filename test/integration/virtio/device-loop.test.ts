/** The loop of a device's process, with main's end of its socket in the same thread: answers come after the request has timed out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeviceProxy } from '#devices/proxy/device-protocol.ts';
import { WorkerLoop } from '#devices/virtio/worker-loop.ts';
import { EventFd } from '#poll/event-fd.ts';
import { DeviceLoop, REQUESTS_PER_TURN } from '#vmm/devices/virtio-process.ts';

test('a device that is suspended does no work but answers the bus and hears the ends of interrupts; resumed, it does what waited', () => {
  const ends = DeviceProxy.pair();
  using client = DeviceProxy.client(ends.client, { receiveMs: 1 });
  using kick = EventFd.create();
  using workers = new WorkerLoop();
  let turns = 0;
  let reads = 0;
  workers.add({
    fd: kick.fd,
    turn: () => {
      turns++;
      kick.read();
    },
    [Symbol.dispose]: () => {},
  });
  const device = {
    debugLabel: 'fake',
    readConfigRegister: () => ++reads,
    writeConfigRegister: () => {},
    readBar: () => {},
    writeBar: () => {},
    close: () => {},
  };
  using event = EventFd.create();
  let services = 0;
  const resample = { event, onEnd: () => void services++ };
  const loop = new DeviceLoop({ socket: ends.server, device, workers, resample });
  const ask = (request: () => unknown): void => {
    assert.throws(request, { code: 'TIMED_OUT' });
    loop.turn(0);
  };
  kick.write();
  // Both wait when the loop turns; whichever it takes first, nothing is done after the answer.
  ask(() => client.suspend());
  const before = turns;
  kick.write();
  loop.turn(0);
  ask(() => client.suspend());
  ask(() => client.readConfig({ register: 0 }));
  event.write();
  loop.turn(0);
  loop.turn(0);
  assert.deepEqual([turns, reads, services], [before, 1, 1]);
  ask(() => client.resume());
  loop.turn(0);
  assert.deepEqual([turns, reads], [before + 1, 1]);
});

test('posted writes of the guest do not wait for a turn of the workers each', () => {
  const ends = DeviceProxy.pair();
  using client = DeviceProxy.client(ends.client, { receiveMs: 1 });
  using kick = EventFd.create();
  using workers = new WorkerLoop();
  const done: string[] = [];
  // It always has more to do.
  workers.add({ fd: kick.fd, turn: () => void done.push('work'), [Symbol.dispose]: () => {} });
  const device = {
    debugLabel: 'fake',
    readConfigRegister: () => 0,
    writeConfigRegister: () => {},
    readBar: () => void done.push('read'),
    writeBar: () => void done.push('write'),
    close: () => {},
  };
  using event = EventFd.create();
  const loop = new DeviceLoop({ socket: ends.server, device, workers, resample: { event, onEnd: () => {} } });
  kick.write();
  for (let offset = 0; offset < REQUESTS_PER_TURN + 1; offset++)
    client.writeBar({ bar: 0, offset, sizeBytes: 1, data: new Uint8Array(8) });
  assert.throws(() => client.readBar({ bar: 0, offset: 0, sizeBytes: 1 }), { code: 'TIMED_OUT' });
  loop.turn(0);
  assert.deepEqual([done.filter((each) => each === 'write').length, done.includes('read')], [REQUESTS_PER_TURN, false]);
  loop.turn(0);
  assert.deepEqual([done.filter((each) => each === 'work').length, done.includes('read')], [2, true]);
});
