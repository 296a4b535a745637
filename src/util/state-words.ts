import { assert } from './assert.ts';

/**
 * Numbers wider than 32 bits inside the Int32Array that holds a device's state: two words, low then high. The words take
 * every safe integer of either sign, and Infinity, which stands for "no deadline".
 */

export const NUMBER_WORDS = 2;

/** Upper word of Infinity; a safe integer's never exceeds 2^21. */
const INFINITY_HIGH = 0x7fff_ffff;

/** Hands out consecutive parts of the state, the first one at `start`. */
export function carver(state: Int32Array, start = 0): (words: number) => Int32Array {
  let next = start;
  return (words) => {
    next += words;
    return state.subarray(next - words, next);
  };
}

/** The number stored at `index` and `index + 1`. */
export function loadNumber(state: Int32Array, index: number): number {
  const high = state[index + 1]!;
  if (high === INFINITY_HIGH) return Infinity;
  return high * 2 ** 32 + (state[index]! >>> 0);
}

/** Stores a safe integer or Infinity at `index` and `index + 1`. */
export function storeNumber(state: Int32Array, index: number, value: number): void {
  if (value === Infinity) {
    state[index] = 0;
    state[index + 1] = INFINITY_HIGH;
    return;
  }
  assert(Number.isSafeInteger(value), 'only safe integers and Infinity can be stored');
  state[index] = value % 2 ** 32;
  state[index + 1] = Math.floor(value / 2 ** 32);
}
