import assert from 'node:assert/strict';
import { test } from 'node:test';
import { alignDown, alignUp, GiB, high32, isAligned, isPowerOfTwo, isSize, low32 } from './bits.ts';

test('powers of two are told apart from their neighbours up to 2^52', () => {
  for (let exponent = 0; exponent <= 52; exponent++) {
    const power = 2 ** exponent;
    assert.equal(isPowerOfTwo(power), true);
    assert.equal(isPowerOfTwo(power + 1), exponent === 0);
  }
  for (const value of [0, -1, -2, 0.5, 3, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(isPowerOfTwo(value), false);
});

test('alignment is exact above 32 bits', () => {
  const address = 2 ** 51 + 5;
  assert.equal(alignDown(address, 4096), 2 ** 51);
  assert.equal(alignUp(address, 4096), 2 ** 51 + 4096);
  assert.equal(alignUp(2 ** 51, 4096), 2 ** 51);
  assert.equal(isAligned(4 * GiB, GiB), true);
  assert.equal(isAligned(4 * GiB + 1, 2), false);
});

test('an alignment that is no power of two is a programmer error', () => {
  for (const alignment of [0, 3, -8, 1.5]) assert.throws(() => alignUp(8, alignment), { name: 'AssertionError' });
});

test('sizes are the non-negative safe integers', () => {
  for (const value of [0, 1, 2 ** 53 - 1]) assert.equal(isSize(value), true);
  for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) assert.equal(isSize(value), false);
});

test('the halves of a 53-bit integer join to itself', () => {
  for (const value of [0, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER]) {
    assert.equal(high32(value) * 2 ** 32 + low32(value), value);
  }
});
