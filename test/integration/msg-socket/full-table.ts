/** A process whose table of descriptors is full but for one receives a message with three. Exits with 0 when all went well. */
import assert from 'node:assert/strict';
import { fixedArray, struct } from '#msg-socket/composites.ts';
import { MsgSocket } from '#msg-socket/msg-socket.ts';
import { descriptor, nothing } from '#msg-socket/scalars.ts';
import { Fd } from '#sys/fd.ts';

const Three = struct({ fds: fixedArray(descriptor, 3) });
const openNull = (): Fd => Fd.open('/dev/null');

const [sender, receiver] = MsgSocket.pair({ send: Three, recv: nothing });
for (let i = 0; i < 2; i++) sender.send({ fds: [openNull(), openNull(), openNull()] });

const opened: Fd[] = [];
const fill = (): void => {
  for (;;) opened.push(openNull());
};
assert.throws(fill, { code: 'EMFILE' });
opened.pop()?.close();
assert.throws(() => receiver.recv(), { name: 'MsgError', code: 'WRONG_DESCRIPTORS' });
// The one is free again, and with room for all three the next message passes.
opened.push(openNull());
for (let i = 0; i < 3; i++) opened.pop()?.close();
assert.equal(receiver.recv()?.fds.length, 3);
