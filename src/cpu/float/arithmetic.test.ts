import assert from 'node:assert/strict';
import { test } from 'node:test';
import { add, divide, multiply, squareRoot } from './arithmetic.ts';
import { EXTENDED80, roundResult } from './round.ts';
import { KIND, packSignExponent, Unpacked, unpackFloat80 } from './unpacked.ts';

/** A small generator (mulberry32): the same sequence in every run. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}

function significand(value: Unpacked): bigint {
  return (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
}

/** |numerator / denominator| · 2^scale rounded to nearest even at 64 bits, as significand and exponent: exact integers. */
function roundRational(numerator: bigint, denominator: bigint, scale: number): string {
  let exponent = scale;
  const shift = 66n + BigInt(denominator.toString(2).length) - BigInt(numerator.toString(2).length);
  const scaled = shift > 0n ? numerator << shift : numerator;
  const divisor = shift > 0n ? denominator : denominator << -shift;
  let quotient = (scaled / divisor) * 2n + (scaled % divisor === 0n ? 0n : 1n);
  exponent -= Number(shift) + 1;
  const drop = BigInt(quotient.toString(2).length - 64);
  const tail = quotient & ((1n << drop) - 1n);
  const half = 1n << (drop - 1n);
  quotient >>= drop;
  if (tail > half || (tail === half && (quotient & 1n) !== 0n)) quotient++;
  exponent += Number(drop) + 63;
  if (quotient === 1n << 64n) {
    quotient >>= 1n;
    exponent++;
  }
  return `${quotient.toString(16)} ${exponent}`;
}

function randomOperand(random: () => number, value: Unpacked): void {
  const low = random() % 3 === 0 ? 0 : random() << (random() % 32);
  unpackFloat80(low | 0, random() | 0x80000000 | 0, 16383 - 40 + (random() % 80), value);
}

const a = new Unpacked();
const b = new Unpacked();
const result = new Unpacked();

function rounded(): string {
  roundResult(result, EXTENDED80, 0, 0);
  return `${significand(result).toString(16)} ${result.exponent}`;
}

test('product, quotient and sum equal exact rational arithmetic, rounded once', () => {
  const random = generator(11);
  for (let i = 0; i < 4000; i++) {
    randomOperand(random, a);
    randomOperand(random, b);
    const x = significand(a);
    const y = significand(b);
    multiply(a, b, result);
    assert.equal(rounded(), roundRational(x * y, 1n, a.exponent + b.exponent - 126));
    divide(a, b, result);
    assert.equal(rounded(), roundRational(x, y, a.exponent - b.exponent));
    add(a, b, 0, 0, result);
    const base = Math.min(a.exponent, b.exponent);
    const sum = (x << BigInt(a.exponent - base)) + (y << BigInt(b.exponent - base));
    assert.equal(rounded(), roundRational(sum, 1n, base - 63));
  }
});

test('a difference equals exact arithmetic, also under cancellation', () => {
  const random = generator(12);
  for (let i = 0; i < 4000; i++) {
    randomOperand(random, a);
    randomOperand(random, b);
    b.exponent = a.exponent - (random() % 70);
    add(a, b, 1, 0, result);
    const difference = (significand(a) << BigInt(a.exponent - b.exponent)) - significand(b);
    const size = difference < 0n ? -difference : difference;
    const expected = size === 0n ? '0 0' : roundRational(size, 1n, b.exponent - 63);
    assert.equal(rounded(), expected);
    assert.equal(result.sign, difference < 0n ? 1 : 0);
  }
});

test('a square root is the nearest value: its neighbours at half a unit lie on both sides', () => {
  const random = generator(13);
  for (let i = 0; i < 4000; i++) {
    randomOperand(random, a);
    squareRoot(a, result);
    roundResult(result, EXTENDED80, 0, 0);
    const root = significand(result) * 2n;
    // Compare (root ± 1/2)² with the radicand, both in units of 2^(2·exponent − 128).
    const radicand = significand(a) << BigInt(a.exponent - 2 * result.exponent + 65);
    assert.ok((root - 1n) * (root - 1n) <= radicand && radicand <= (root + 1n) * (root + 1n));
  }
});

test('a result below the smallest denormal rounds to zero or to the smallest denormal by the mode', () => {
  for (const [rounding, low, flags] of [
    [0, 0, 48],
    [1, 0, 48],
    [2, 1, 48],
    [3, 0, 48],
  ] as const) {
    unpackFloat80(1, 0, 0, a);
    unpackFloat80(0, 0x80000000 | 0, 16383 - 2, b);
    multiply(a, b, result);
    assert.equal(roundResult(result, EXTENDED80, rounding, 0), flags);
    assert.equal(result.kind, low === 0 ? KIND.ZERO : KIND.FINITE);
    assert.equal(result.low, low);
    assert.equal(packSignExponent(result), 0);
  }
});
