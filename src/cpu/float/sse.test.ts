import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  comparisonEflags,
  createSseView,
  isUnmasked,
  type SseFunction,
  type SseImmediateFunction,
  sseApproximate,
  sseArithmetic,
  sseCompare,
  sseComparison,
  sseConvert,
  sseDotProduct,
  sseRound,
} from './sse.ts';
import { LANE, lane32, lane64, softLane32, softLane64 } from './sse-lane.ts';
import { lanes, MXCSR } from './sse-view.ts';
import { SSE_VECTORS } from './vectors/sse-vectors.ts';

const OPERATIONS: Readonly<Record<string, SseFunction | SseImmediateFunction>> = {
  ...sseArithmetic,
  ...sseDotProduct,
  ...sseCompare,
  ...sseComparison,
  ...sseConvert,
  ...sseRound,
  ...sseApproximate,
};

const DST = 0;
const SRC = 4;

/** Writes hexadecimal digits, most significant first, as words from `index`. */
function putHex(words: Int32Array, index: number, hex: string): void {
  for (let i = 0; i * 8 < hex.length; i++) {
    words[index + i] = Number.parseInt(hex.slice(hex.length - 8 * i - 8, hex.length - 8 * i), 16) | 0;
  }
}

function takeHex(words: Int32Array, index: number, count: number): string {
  let hex = '';
  for (let i = count - 1; i >= 0; i--) hex += (words[index + i]! >>> 0).toString(16).padStart(8, '0');
  return hex;
}

function run(name: string, view: ReturnType<typeof createSseView>, mxcsr: number, immediate: string): number {
  const operation = OPERATIONS[name];
  assert.ok(operation, `no operation ${name}`);
  return operation(view, DST, SRC, mxcsr, immediate === '-' ? 0 : Number.parseInt(immediate, 16));
}

/** Conversions to a general or MMX register write two words over a register that was 0 when the vector was made. */
function startsFromZero(name: string): boolean {
  return /2si|2pi/.test(name);
}

test('every SSE operation gives the result, the flags and the exception of a processor', () => {
  const view = createSseView(new ArrayBuffer(64), 0, 64);
  for (const line of SSE_VECTORS) {
    const [name, control, immediate, dst, src, expected, flagsAfter] = line.split(' ') as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const mxcsr = Number.parseInt(control, 16);
    putHex(view.words, DST, startsFromZero(name) ? '0'.repeat(32) : dst);
    putHex(view.words, SRC, src);
    const result = run(name, view, mxcsr, immediate);
    const flags = ((mxcsr | result) & MXCSR.FLAGS).toString(16).padStart(2, '0');
    const actual = name.includes('comis')
      ? comparisonEflags(result).toString(16)
      : takeHex(view.words, DST, expected.length / 8);
    assert.equal(`${actual} ${flags}${isUnmasked(result, mxcsr) ? '!' : ''}`, `${expected} ${flagsAfter}`, line);
  }
});

test('the vectors cover every operation', () => {
  const covered = new Set(SSE_VECTORS.map((line) => line.split(' ')[0]));
  assert.deepEqual(
    [...Object.keys(OPERATIONS)].filter((name) => !covered.has(name)),
    [],
  );
});

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

const SPECIAL_64 = [
  0, 0x00080000, 0x00100000, 0x3ff00000, 0x3ff80000, 0x40080000, 0x43300000, 0x7fe00000, 0x7ff00000, 0x7ff80000,
];

function randomHigh64(random: () => number): number {
  const choice = random() % 4;
  if (choice === 0) return SPECIAL_64[random() % SPECIAL_64.length]! | (random() & 0x80000000);
  if (choice === 1) return random();
  return (random() & 0x800fffff) | ((1023 - 30 + (random() % 60)) << 20);
}

function randomLow64(random: () => number): number {
  return random() % 3 === 0 ? 0 : random() << (random() % 32);
}

test('the host arithmetic and the unpacked arithmetic agree on binary64', () => {
  const random = generator(1);
  const view = createSseView(new ArrayBuffer(64), 0, 64);
  for (let i = 0; i < 60000; i++) {
    const op = random() % (LANE.SQUARE_ROOT + 1);
    const mxcsr = MXCSR.RESET | (random() & (MXCSR.PRECISION_FLAG | MXCSR.DENORMALS_ARE_ZERO | MXCSR.FLUSH_TO_ZERO));
    for (const at of [0, 4]) {
      view.words[at] = randomLow64(random);
      view.words[at + 1] = randomHigh64(random);
    }
    const fastFlags = lane64(op, view, 0, 4, mxcsr, 0) | (mxcsr & MXCSR.FLAGS);
    const fast = takeHex(lanes.words, 0, 2);
    const softFlags = softLane64(op, view, 0, 4, mxcsr, 0) | (mxcsr & MXCSR.FLAGS);
    const soft = takeHex(lanes.words, 0, 2);
    const operands = `${op} ${takeHex(view.words, 0, 2)} ${takeHex(view.words, 4, 2)} ${mxcsr.toString(16)}`;
    assert.equal(`${fast} ${fastFlags}`, `${soft} ${softFlags}`, operands);
  }
});

test('the host arithmetic and the unpacked arithmetic agree on binary32', () => {
  const random = generator(2);
  const view = createSseView(new ArrayBuffer(64), 0, 64);
  for (let i = 0; i < 60000; i++) {
    const op = random() % (LANE.SQUARE_ROOT + 1);
    const mxcsr = MXCSR.RESET | (random() & (MXCSR.PRECISION_FLAG | MXCSR.DENORMALS_ARE_ZERO | MXCSR.FLUSH_TO_ZERO));
    for (const at of [0, 4]) {
      const bits = random();
      view.words[at] =
        random() % 3 === 0
          ? bits
          : (bits & 0x80000000) | ((100 + (bits % 50)) << 23) | ((bits << (bits % 23)) & 0x7fffff);
    }
    const fastFlags = lane32(op, view, 0, 4, mxcsr, 0) | (mxcsr & MXCSR.FLAGS);
    const fast = takeHex(lanes.words, 0, 1);
    const softFlags = softLane32(op, view, 0, 4, mxcsr, 0) | (mxcsr & MXCSR.FLAGS);
    const soft = takeHex(lanes.words, 0, 1);
    const operands = `${op} ${takeHex(view.words, 0, 1)} ${takeHex(view.words, 4, 1)} ${mxcsr.toString(16)}`;
    assert.equal(`${fast} ${fastFlags}`, `${soft} ${softFlags}`, operands);
  }
});

test('a packed operation with an unmasked exception in one lane writes no lane', () => {
  const view = createSseView(new ArrayBuffer(64), 0, 64);
  putHex(view.words, DST, '3f8000003f8000003f8000003f800000');
  putHex(view.words, SRC, '40000000000000004000000040000000');
  const mxcsr = MXCSR.RESET & ~0x200;
  const flags = sseArithmetic.divps(view, DST, SRC, mxcsr);
  assert.equal(flags, 4);
  assert.ok(isUnmasked(flags, mxcsr));
  assert.equal(takeHex(view.words, DST, 4), '3f8000003f8000003f8000003f800000');
});
