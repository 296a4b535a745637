import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConsoleInput } from './console-input.ts';

/** A port with so much room, and a source that gives these chunks, one a read, then nothing (undefined) or its end (''). */
function setUp(options: { room: number; chunks: readonly (string | undefined)[]; isTerminal?: boolean }) {
  const chunks = [...options.chunks];
  const taken: number[] = [];
  const port = {
    room: options.room,
    isBusy: false,
    space: () => port.room,
    enqueue: (bytes: Uint8Array) => {
      if (port.isBusy) return undefined;
      const count = Math.min(port.room, bytes.length);
      for (const byte of bytes.subarray(0, count)) taken.push(byte);
      port.room -= count;
      return count;
    },
  };
  const read = (target: Uint8Array): number | undefined => {
    const chunk = chunks.shift();
    if (chunk === undefined) return undefined;
    target.set(Buffer.from(chunk, 'latin1'));
    return chunk.length;
  };
  const input = new ConsoleInput({ read, port, isTerminal: options.isTerminal ?? false });
  return { input, port, taken: () => Buffer.from(taken).toString('latin1') };
}

describe('ConsoleInput of a pipe', () => {
  test('gives the port what it has room for and the rest when there is room', () => {
    const { input, port, taken } = setUp({ room: 2, chunks: ['hello'] });
    input.read();
    assert.equal(taken(), 'he');
    port.room = 10;
    input.deliver();
    assert.equal(taken(), 'hello');
  });

  test('keeps what a busy port does not take, and says that it is held up', () => {
    const { input, port, taken } = setUp({ room: 10, chunks: ['hello'] });
    port.isBusy = true;
    input.read();
    assert.deepEqual([taken(), input.isHeldUp, input.wantsMore], ['', true, false]);
    port.isBusy = false;
    input.deliver();
    assert.deepEqual([taken(), input.isHeldUp], ['hello', false]);
  });

  test('wants no more while bytes wait', () => {
    const { input, port } = setUp({ room: 2, chunks: ['hello'] });
    assert.equal(input.wantsMore, true);
    input.read();
    assert.equal(input.wantsMore, false);
    port.room = 10;
    input.deliver();
    assert.equal(input.wantsMore, true);
  });

  test('wants no more after its end', () => {
    const { input } = setUp({ room: 2, chunks: [''] });
    input.read();
    assert.equal(input.wantsMore, false);
  });

  test('passes Ctrl-A x on: it is no terminal', () => {
    const { input, taken } = setUp({ room: 9, chunks: ['\x01x'] });
    assert.equal(input.read(), false);
    assert.equal(taken(), '\x01x');
  });

  test('a read that finds nothing changes nothing', () => {
    const { input, taken } = setUp({ room: 9, chunks: [undefined] });
    assert.equal(input.read(), false);
    assert.deepEqual([input.wantsMore, taken()], [true, '']);
  });
});

describe('ConsoleInput of a terminal', () => {
  test('Ctrl-A x leaves, and what came before it reaches the guest', () => {
    const { input, taken } = setUp({ room: 9, chunks: ['ab\x01x'], isTerminal: true });
    assert.equal(input.read(), true);
    assert.equal(taken(), 'ab');
  });

  test('is read on while the guest takes nothing, and Ctrl-A x still leaves', () => {
    const { input } = setUp({ room: 0, chunks: ['typed ahead', '\x01', 'x'], isTerminal: true });
    input.read();
    assert.equal(input.wantsMore, true);
    assert.equal(input.read(), false);
    assert.equal(input.read(), true);
  });

  test('input beyond a mebibyte that the guest does not take is dropped', () => {
    const chunks = Array.from({ length: 300 }, () => 'x'.repeat(4000));
    const { input, port, taken } = setUp({ room: 0, chunks, isTerminal: true });
    for (const _ of chunks) input.read();
    port.room = Infinity;
    input.deliver();
    assert.equal(taken().length, Math.floor(2 ** 20 / 4000) * 4000);
  });
});
