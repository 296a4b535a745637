import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageBuffer } from '#sys/message.ts';
import { fuzz } from './engine.ts';
import { FuzzFailure } from './target.ts';
import { messageTarget, type Receive } from './targets/msg-socket.ts';

const LIMITS = { seed: 1, cases: 2000, seconds: 10 };

const failureOf = (receive: Receive): FuzzFailure => {
  const { failure } = fuzz(messageTarget('canary', receive), LIMITS);
  assert.ok(failure?.error instanceof FuzzFailure);
  return failure.error;
};

test('canary: a receiver that leaves the descriptors of refused messages open is found', () => {
  const leaks: Receive = (socket) => {
    const buffer = new MessageBuffer(2 ** 16 + 4, 8);
    const size = buffer.receive(socket, true);
    assert.ok(size >= 0);
    return {};
  };
  failureOf(leaks);
});

test('canary: a receiver that throws anything but a MsgError is found', () => {
  const failure = failureOf((socket) => {
    try {
      return socket.recv();
    } catch (cause) {
      throw new RangeError('outside of the bounds of the DataView', { cause });
    }
  });
  assert.match(String(failure.cause), /RangeError/);
});

test('canary: a receiver that takes a message for another is found', () => {
  failureOf((socket) => {
    const value = socket.recv() as Record<string, unknown>;
    for (const [name, field] of Object.entries(value)) if (typeof field === 'boolean') value[name] = !field;
    return value;
  });
});
