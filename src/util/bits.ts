import { assert } from './assert.ts';

export const KiB = 2 ** 10;
export const MiB = 2 ** 20;
export const GiB = 2 ** 30;

/** True for 1, 2, 4 … 2^52. */
export function isPowerOfTwo(value: number): boolean {
  if (!Number.isSafeInteger(value) || value <= 0) return false;
  return 2 ** Math.round(Math.log2(value)) === value;
}

/** True when `value` is a non-negative integer that a double holds exactly: the only form of offset, address and size. */
export function isSize(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** The greatest multiple of `alignment` (a power of two) that is not above `value`. Exact up to 2^53. */
export function alignDown(value: number, alignment: number): number {
  assert(isPowerOfTwo(alignment), 'alignment is not a power of two');
  return value - (value % alignment);
}

/** The least multiple of `alignment` (a power of two) that is not below `value`. */
export function alignUp(value: number, alignment: number): number {
  return alignDown(value + alignment - 1, alignment);
}

/** True when `value` is a multiple of `alignment`, a power of two. */
export function isAligned(value: number, alignment: number): boolean {
  assert(isPowerOfTwo(alignment), 'alignment is not a power of two');
  return value % alignment === 0;
}

/** Bits 31..0 of a non-negative safe integer, as an unsigned number. */
export function low32(value: number): number {
  return value % 2 ** 32;
}

/** Bits 52..32 of a non-negative safe integer. */
export function high32(value: number): number {
  return Math.floor(value / 2 ** 32);
}
