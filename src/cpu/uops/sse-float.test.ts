import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSseView, type SseImmediateFunction, type SseView } from '../float/sse.ts';
import { SSE_FUNCTIONS, type SseFunctionName } from '../isa/sse-function-names.ts';
import { STATE } from '../layout.ts';
import { CODE_START, createTestMachine } from '../testing.ts';

/** With operands XMM0 and XMM1, or RAX where one is general. */
const CODE: Readonly<Partial<Record<SseFunctionName, string>>> = {
  ...{ addsd: 'f20f58c1', subsd: 'f20f5cc1', mulsd: 'f20f59c1', divsd: 'f20f5ec1', sqrtsd: 'f20f51c1' },
  ...{ addss: 'f30f58c1', subss: 'f30f5cc1', mulss: 'f30f59c1', divss: 'f30f5ec1', sqrtss: 'f30f51c1' },
  ...{ addpd: '660f58c1', subpd: '660f5cc1', mulpd: '660f59c1', divpd: '660f5ec1' },
  ...{ addps: '0f58c1', subps: '0f5cc1', mulps: '0f59c1', divps: '0f5ec1' },
  ...{ minsd: 'f20f5dc1', maxsd: 'f20f5fc1', minss: 'f30f5dc1', maxss: 'f30f5fc1' },
  ...{ cvtss2sd: 'f30f5ac1', cvtsd2ss: 'f20f5ac1' },
};
const XMM_WORDS = STATE.XMM >> 2;

const EDGES = [
  ...[
    0,
    -0,
    1,
    -1,
    1.5,
    3,
    1 / 3,
    0.1,
    -0.1,
    2 ** 53,
    2 ** 53 + 2,
    1e300,
    -1e300,
    1e-300,
    Number.MAX_VALUE,
    Number.MIN_VALUE,
  ],
  // Around the least normal numbers of both formats: products of these round up to them, or end just below.
  ...[
    2 ** -1022,
    2 ** -1022 - 2 ** -1074,
    2 ** -511,
    (1 - 2 ** -53) * 2 ** -511,
    2 ** -1021,
    (1 + 2 ** -52) * 2 ** -511,
  ],
  ...[
    2 ** -126,
    2 ** -126 - 2 ** -149,
    2 ** -63,
    (1 - 2 ** -24) * 2 ** -63,
    2 ** 127,
    2 ** 128 - 2 ** 104,
    3.4028235677973366e38,
  ],
  ...[Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN],
];
/** All masked: no flag yet; inexact already; rounding down; flushing to zero; denormals as zeros. */
const MXCSRS = [0x1f80, 0x1fa0, 0x3fa0, 0x9fa0, 0x1fe0];

function setVector(
  { singles, doubles }: SseView,
  isSingle: boolean,
  at: number,
  [low, high]: readonly [number, number],
): void {
  if (isSingle) {
    for (const lane of [0, 1, 2, 3]) singles[at + lane] = lane % 2 === 0 ? low : high;
  } else {
    doubles[at / 2] = low;
    doubles[at / 2 + 1] = high;
  }
}

test('arithmetic in place gives the results and flags of the helpers, for every pair of special numbers', () => {
  for (const [name, code] of Object.entries(CODE)) {
    const m = createTestMachine(`${code} f4`);
    const { cpu } = m;
    cpu.system.cr4 |= 0x600;
    const view = createSseView(cpu.bytes.buffer, 0, 0x400);
    const expected = createSseView(new ArrayBuffer(32), 0, 32);
    const reference = SSE_FUNCTIONS[name as SseFunctionName] as SseImmediateFunction;
    const isSingle = name.endsWith('ss') && name !== 'cvtsd2ss' ? true : name.endsWith('ps') || name === 'cvtss2sd';
    for (const [index, a] of EDGES.entries()) {
      for (const [other, b] of EDGES.entries()) {
        const mxcsr = MXCSRS[(index + other) % MXCSRS.length] as number;
        for (const [at, pair] of [
          [0, [a, b]],
          [4, [b, a]],
        ] as const) {
          setVector(view, isSingle, XMM_WORDS + at, pair);
          setVector(expected, isSingle, at, pair);
        }
        cpu.words[STATE.MXCSR >> 2] = mxcsr;
        const flags = reference(expected, 0, 4, mxcsr, 0) & 0x3f;
        cpu.setRip(CODE_START, 0);
        cpu.halted = false;
        assert.equal(cpu.run(10).reason, 'halt', `${name} ${a}, ${b}`);
        const got = [...view.words.subarray(XMM_WORDS, XMM_WORDS + 4), cpu.words[STATE.MXCSR >> 2]];
        assert.deepEqual(got, [...expected.words.subarray(0, 4), mxcsr | flags], `${name} ${a}, ${b}, MXCSR ${mxcsr}`);
      }
    }
  }
});
