import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { VsockConnect, VsockConnectError, vsockConnectHandlers } from './vsock-connect.ts';

test('the device gets the socket of the port that it asks for, or a refusal', () => {
  const asked: number[] = [];
  const handlers = vsockConnectHandlers((port) => {
    asked.push(port);
    if (port !== 7) throw new VsockConnectError('REFUSED', 'nobody takes the connection');
    return new Fd(EventFd.create(5).release());
  });
  assert.throws(() => handlers.connect({ port: 8 }), { code: 'REFUSED' });
  using got = EventFd.fromFd(handlers.connect({ port: 7 }).socket);
  assert.deepEqual([got.read(), asked, Object.keys(VsockConnect.requests)], [5n, [8, 7], ['connect']]);
});
