import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Action, returnValue } from './action.ts';
import { AARCH64, type Architecture, X86_64 } from './architecture.ts';
import { encode, type Instruction } from './bpf.ts';
import { compilePolicy } from './compile.ts';
import { disassemble } from './disassembler.ts';
import { type Atom, COMPARISONS } from './syntax.ts';
import { type CallData, checkProgram, cornerArguments, meaning, runProgram } from './testing-bpf.ts';

interface Options {
  readonly architecture?: Architecture;
  readonly defaultAction?: Action;
}

function compiled(text: string, options: Options = {}): Instruction[] {
  const { architecture = X86_64, defaultAction = 'kill-process' } = options;
  return compilePolicy({ path: '/p', architecture, defaultAction, readFile: () => text });
}

const NO_ARGUMENTS = [0n, 0n, 0n, 0n, 0n, 0n];

/** A rule as a test makes it: what it means and, apart from that, how it is written. */
interface Written {
  readonly call: number;
  readonly allowed: readonly (readonly Atom<bigint>[])[];
  readonly otherwise?: number;
  readonly text: string;
}

const word64 = fc.oneof(
  fc.bigInt(0n, 2n ** 64n - 1n),
  fc.bigInt(0n, 8n),
  fc.nat(63).map((bit) => 1n << BigInt(bit)),
);
/** Ways to write a number. */
const notation = fc.constantFrom(
  (value: bigint) => `${value}`,
  (value: bigint) => `0x${value.toString(16)}`,
  (value: bigint) => `0${value.toString(8)}`,
  (value: bigint) => `~${BigInt.asUintN(64, ~value)}`,
  (value: bigint) => `(${value & 0xffn}|${value & ~0xffn})`,
  (value: bigint) => `-${BigInt.asUintN(64, -value) > 2n ** 63n ? `0 | ${value}` : BigInt.asUintN(64, -value)}`,
);
const atom = fc.record({
  atom: fc.record({ argument: fc.nat(5), comparison: fc.constantFrom(...COMPARISONS), value: word64 }),
  write: notation,
});
const condition = fc.array(fc.array(atom, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });
const rule: fc.Arbitrary<Omit<Written, 'call'>> = fc.oneof(
  fc.constant({ allowed: [[]], text: '1' }),
  fc.nat(4095).map((errno) => ({ allowed: [], otherwise: errno, text: `return ${errno}` })),
  fc.tuple(condition, fc.option(fc.nat(4095), { nil: undefined })).map(([alternatives, errno]) => ({
    allowed: alternatives.map((atoms) =>
      atoms.map(({ atom: { argument, comparison, value } }) => ({ argument, comparison, value })),
    ),
    ...(errno === undefined ? {} : { otherwise: errno }),
    text:
      alternatives
        .map((atoms) =>
          atoms.map((a) => `arg${a.atom.argument} ${a.atom.comparison} ${a.write(a.atom.value)}`).join(' && '),
        )
        .join(' || ') + (errno === undefined ? '' : `; return ${errno}`),
  })),
);
const rules: fc.Arbitrary<Written[]> = fc
  .uniqueArray(fc.tuple(fc.oneof(fc.nat(20), fc.nat(470), fc.constant(0x3fff_ffff)), rule), {
    selector: ([call]) => call,
    maxLength: 40,
  })
  .map((pairs) => pairs.map(([call, body]) => ({ call, ...body })));
const action = fc.constantFrom<Action>('kill-process', 'kill-thread', 'trap', 'log', 'allow', { errno: 38 });
const architecture = fc.constantFrom(X86_64, AARCH64);

const CALLS = [
  ...Array(480).keys(),
  0x3fff_ffff,
  0x4000_0000,
  0x4000_0001,
  0x4000_0027,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
];

test('a compiled policy does for every call and at corner arguments what its rules say', () => {
  const choices = fc.array(fc.array(fc.nat(), { minLength: 6, maxLength: 6 }), { minLength: 4, maxLength: 8 });
  fc.assert(
    fc.property(rules, action, architecture, choices, (written, defaultAction, arch, picks) => {
      const program = compiled(written.map(({ call, text }) => `${call}: ${text}\n`).join(''), {
        defaultAction,
        architecture: arch,
      });
      checkProgram(program);
      const check = (data: CallData) =>
        assert.equal(runProgram(program, data), meaning(written, data, { architecture: arch, defaultAction }));
      for (const call of CALLS) check({ call, arch: arch.auditArch, args: NO_ARGUMENTS });
      for (const { call, allowed } of written) {
        const pool = cornerArguments(allowed.flat().map(({ value }) => value));
        for (const corner of pool) check({ call, arch: arch.auditArch, args: Array(6).fill(corner) });
        for (const pick of picks) {
          check({ call, arch: arch.auditArch, args: pick.map((at) => pool[at % pool.length] as bigint) });
        }
      }
      for (const other of [0x4000_0003, 0xc000_003e ^ 0xc000_00b7 ^ arch.auditArch, 0]) {
        check({ call: written[0]?.call ?? 0, arch: other, args: NO_ARGUMENTS });
      }
    }),
    { numRuns: 60 },
  );
});

test('golden: a search, a shared end, halves of a 64-bit comparison', () => {
  const text =
    'read: 1\nwrite: 1\nopenat: return ENOENT\nlseek: arg1 > 0x100000002; return EPERM\nmmap: arg2 in ~PROT_EXEC';
  assert.equal(
    disassemble(compiled(text, { defaultAction: 'trap' })),
    ` 0: load arch
 1: if == 0xc000003e goto 2 else 19
 2: load call
 3: if >= 0xa goto 7 else 4
 4: if >= 0x8 goto 6 else 5
 5: if >= 0x2 goto 20 else 21
 6: if >= 0x9 goto 11 else 13
 7: if >= 0x102 goto 9 else 8
 8: if >= 0x101 goto 10 else 20
 9: if >= 0x40000000 goto 19 else 20
10: return errno 2
11: load arg2.low
12: if & 0x4 goto 20 else 21
13: load arg1.high
14: if > 0x1 goto 21 else 15
15: if == 0x1 goto 16 else 18
16: load arg1.low
17: if > 0x2 goto 21 else 18
18: return errno 1
19: return kill-process
20: return trap
21: return allow
`,
  );
});

test('a condition of hundreds of alternatives jumps further than eight bits reach', () => {
  const atoms = Array.from({ length: 300 }, (_, i) => `arg0 == ${i * 3} && arg1 != ${i}`);
  const program = compiled(`read: ${atoms.join(' || \\\n')}; return EPERM\nwrite: 1\n500: 1`);
  checkProgram(program);
  const run = (call: number, ...args: bigint[]) =>
    runProgram(program, { call, arch: X86_64.auditArch, args: [...args, ...NO_ARGUMENTS].slice(0, 6) });
  for (let i = 0; i < 900; i++) {
    assert.equal(run(0, BigInt(i), 1000n), returnValue(i % 3 ? { errno: 1 } : 'allow'));
    assert.equal(run(0, BigInt(i), BigInt(Math.trunc(i / 3))), returnValue({ errno: 1 }));
  }
  assert.equal(run(500), returnValue('allow'));
  assert.equal(run(499), returnValue('kill-process'));
});

test('a filter that is longer than the kernel takes is refused', () => {
  const text = `read: ${Array.from({ length: 2000 }, (_, i) => `arg0 == ${i}`).join(' || ')}`;
  assert.throws(() => compiled(text), {
    name: 'PolicyError',
    message: /^\/p: the filter has \d+ instructions, the kernel takes 4096$/,
  });
});

test('bytes are those of struct sock_filter', () => {
  assert.deepEqual(
    Buffer.from(
      encode([
        { code: 0x15, jt: 1, jf: 2, k: 0xc000_003e },
        { code: 6, jt: 0, jf: 0, k: 1 },
      ]),
    ).toString('hex'),
    '150001023e0000c00600000001000000',
  );
});

test('a policy of the longest text is compiled or refused, not crashed upon', () => {
  const alternatives = Array.from({ length: 18_000 }, (_, i) => `arg0 == ${i}`).join('||');
  assert.throws(() => compiled(`read: ${alternatives}`), { name: 'PolicyError' });
  assert.throws(() => compiled('x\n'.repeat(130_000)), { name: 'PolicyError' });
  checkProgram(compiled(`read: arg0 == ${'1|'.repeat(130_000)}1`));
});
