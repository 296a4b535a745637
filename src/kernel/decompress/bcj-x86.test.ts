import assert from 'node:assert/strict';
import { test } from 'node:test';
import { undoBcjX86 } from './bcj-x86.ts';

function undone(...bytes: number[]): number[] {
  const data = Uint8Array.from(bytes);
  undoBcjX86(data);
  return [...data];
}

test('the operand of CALL becomes relative to the next instruction', () => {
  assert.deepEqual(undone(0x90, 0xe8, 0x06, 0x01, 0x00, 0x00, 0x90), [0x90, 0xe8, 0x00, 0x01, 0x00, 0x00, 0x90]);
});

test('a negative result keeps a top byte of ff', () => {
  assert.deepEqual(undone(0xe9, 0x00, 0x00, 0x00, 0x00), [0xe9, 0xfb, 0xff, 0xff, 0xff]);
});

test('an operand with another top byte stays as it is', () => {
  assert.deepEqual(undone(0xe8, 0x01, 0x02, 0x03, 0x04, 0x05), [0xe8, 0x01, 0x02, 0x03, 0x04, 0x05]);
});

test('an opcode in the last four bytes stays as it is', () => {
  assert.deepEqual(undone(0x90, 0xe8, 0x00, 0x00, 0x00), [0x90, 0xe8, 0x00, 0x00, 0x00]);
  assert.deepEqual(undone(), []);
});

test('an operand that holds an earlier opcode is converted again until it decides the same way', () => {
  // Pairs of what xz 5.4 stores and what it was given.
  for (const [stored, original] of [
    ['ffff00ffffe800e80001ffff', 'ffff00ffffe800e8fffeffff'],
    ['e8ff00e807e8e800ffe8ff00', 'e8ff00e8f8e6e800ffe8ff00'],
    ['00e8ff00e809e8e80000e8ff', '00e8ff00e8f6e8e80000e8ff'],
  ] as const) {
    const data = Uint8Array.from(Buffer.from(stored, 'hex'));
    undoBcjX86(data);
    assert.equal(Buffer.from(data).toString('hex'), original);
  }
});
