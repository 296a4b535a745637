import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { eventBytes } from '../testing/fake-input.ts';
import { EventType, SYN_REPORT } from './constants.ts';
import { EventFrames } from './event-frames.ts';

const key = (code: number): Uint8Array => eventBytes(EventType.KEY, code, 1);
const report = eventBytes(EventType.SYN, SYN_REPORT, 0);
const join = (...parts: readonly Uint8Array[]): Uint8Array => Buffer.concat(parts);

function push(frames: EventFrames, ...parts: readonly Uint8Array[]): void {
  const all = join(...parts);
  frames.push(all, all.length);
}

/** The oldest frame, which is taken. */
function take(frames: EventFrames): Uint8Array {
  const events = Array.from({ length: frames.nextSize }, (_, index) => {
    const event = new Uint8Array(8);
    frames.copyEvent(index, event);
    return event;
  });
  frames.shift();
  return join(...events);
}

describe('frames of events', () => {
  test('end with SYN_REPORT, in pieces of whatever size they come', () => {
    for (const size of [1, 3, 8, 13, 1000]) {
      const frames = new EventFrames({ frameEventsMax: 4, waitingEventsMax: 16 });
      const bytes = join(key(1), report, report, key(2), key(3), report, key(4));
      for (let at = 0; at < bytes.length; at += size) {
        const piece = bytes.subarray(at, at + size);
        frames.push(piece, piece.length);
      }
      assert.deepEqual(take(frames), join(key(1), report));
      assert.deepEqual(take(frames), join(report));
      assert.deepEqual(take(frames), join(key(2), key(3), report));
      assert.deepEqual([frames.nextSize, frames.dropped], [0, 0], 'the last has not ended');
    }
  });

  test('that are too long are dropped whole, and the next one comes', () => {
    const frames = new EventFrames({ frameEventsMax: 3, waitingEventsMax: 16 });
    push(frames, key(1), key(2), report);
    for (let count = 3; count < 20; count++) push(frames, key(count));
    push(frames, report, key(30), report);
    assert.deepEqual(take(frames), join(key(1), key(2), report));
    assert.deepEqual(take(frames), join(key(30), report));
    assert.deepEqual([frames.nextSize, frames.dropped], [0, 1]);
  });

  test('for which there is no room are dropped whole; those that wait stay', () => {
    const frames = new EventFrames({ frameEventsMax: 4, waitingEventsMax: 5 });
    push(frames, key(1), report, key(2), report, key(3), report, report);
    assert.equal(frames.dropped, 1);
    assert.deepEqual(take(frames), join(key(1), report));
    push(frames, key(4), report);
    for (const expected of [join(key(2), report), report, join(key(4), report)]) {
      assert.deepEqual(take(frames), join(expected));
    }
    assert.equal(frames.nextSize, 0);
  });

  test('that have begun when the source ends are dropped', () => {
    const frames = new EventFrames({ frameEventsMax: 4, waitingEventsMax: 16 });
    push(frames, key(1), Uint8Array.of(1, 2));
    frames.endSource();
    frames.endSource();
    push(frames, key(2), report);
    assert.deepEqual([take(frames), frames.dropped], [join(key(2), report), 1]);
  });

  test('other events of type SYN end nothing', () => {
    const frames = new EventFrames({ frameEventsMax: 4, waitingEventsMax: 16 });
    push(frames, eventBytes(EventType.SYN, 2, 0), report);
    assert.equal(frames.nextSize, 2);
  });
});
