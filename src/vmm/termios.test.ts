import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { rawSettings } from './termios.ts';

const SIZE_BYTES = 36;

/** A struct termios of the kernel from its four flag words. */
function settings(words: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(SIZE_BYTES).fill(0xaa, 17);
  bytes.set(new Uint8Array(Uint32Array.from(words).buffer));
  return bytes;
}

const words = (bytes: Uint8Array) => [...new Uint32Array(bytes.slice(0, 16).buffer)];

describe('rawSettings', () => {
  // What `stty -g` shows of a Linux terminal before and after `stty raw -echo`, apart from what stty leaves set.
  const ordinary = settings([0x4500, 0x5, 0xbf, 0x8a3b]);

  test('switches off line editing, echo, signals, flow control and output processing', () => {
    assert.deepEqual(words(rawSettings(ordinary)), [0x4000, 0x4, 0xbf, 0x0a30]);
  });

  test('asks for eight bits without parity', () => {
    assert.deepEqual(words(rawSettings(settings([0, 0, 0x120, 0])))[2], 0x30);
  });

  test('a read returns as soon as there is one byte', () => {
    const raw = rawSettings(ordinary);
    assert.deepEqual([raw[17 + 6], raw[17 + 5]], [1, 0]);
  });

  test('leaves its argument and everything else alone', () => {
    const before = Uint8Array.from(ordinary);
    const raw = rawSettings(ordinary);
    assert.deepEqual(ordinary, before);
    const changed = [...raw.keys()].filter((at) => at >= 16 && raw[at] !== ordinary[at]);
    assert.deepEqual(changed, [17 + 5, 17 + 6]);
  });

  test('refuses what is too short to be a termios', () => {
    assert.throws(() => rawSettings(new Uint8Array(23)), RangeError);
  });
});
