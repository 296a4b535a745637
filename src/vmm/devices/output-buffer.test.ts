import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ConsoleOutput } from '#devices/virtio/console/console-port.ts';
import { OutputBuffer } from './output-buffer.ts';

const FULL_BYTES = 64 * 1024;

/** Takes `room` bytes. */
class Reader implements ConsoleOutput {
  readonly isClosed = false;
  readonly taken: number[] = [];
  room = 0;

  write(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.room);
    this.taken.push(...bytes.subarray(0, count));
    this.room -= count;
    return count;
  }

  checkPeer(): void {}
}

function create() {
  const reader = new Reader();
  const buffer = new OutputBuffer(reader);
  const expected: number[] = [];
  const write = (count: number): void => {
    for (let i = 0; i < count; i++) {
      expected.push(expected.length % 251);
      buffer.write(expected.at(-1) ?? 0);
    }
  };
  return { reader, buffer, expected, write };
}

describe('the buffer of a serial port that has a process', () => {
  test('keeps the bytes in order for a reader that takes them piece by piece', () => {
    const { reader, buffer, expected, write } = create();
    for (let round = 0; round < 400; round++) {
      write(1000);
      reader.room = round % 3 === 0 ? 2999 : 1;
      buffer.writeOut();
    }
    reader.room = Infinity;
    buffer.writeOut();
    assert.equal(buffer.isWaiting, false);
    assert.deepEqual(reader.taken, expected);
  });

  test('is full when as much waits as it may, and room again when some is taken', () => {
    const { reader, buffer, write } = create();
    write(FULL_BYTES - 1);
    assert.equal(buffer.isFull, false);
    write(1);
    assert.equal(buffer.isFull, true);
    reader.room = 1;
    buffer.writeOut();
    assert.equal(buffer.isFull, false);
  });

  test('loses what is written long after it was full, and nothing before', () => {
    const { reader, buffer, expected, write } = create();
    write(2 * FULL_BYTES + 100);
    reader.room = Infinity;
    buffer.writeOut();
    assert.deepEqual(reader.taken, expected.slice(0, 2 * FULL_BYTES));
  });
});
