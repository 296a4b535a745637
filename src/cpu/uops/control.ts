/** Branches, calls, returns and what depends on a condition. `c` of a branch counts the instructions since the last one. */
import { CC, GPR, RECORD, SIZES, type Size, STATE } from '../layout.ts';
import { emitPush } from './data.ts';
import { defineUop } from './registry.ts';

type BySize = readonly [number, number, number, number];
const CONDITIONS = Array.from({ length: 16 }, (_, n) => n);

/** Unconditional direct branch. */
export const JMP = defineUop('jmp', 'loop', (e) => {
  e.countDown();
  e.takeDirect();
});

export const JCC: readonly number[] = CONDITIONS.map((n) =>
  defineUop(`jcc.${n}`, 'loop', (e) => {
    e.countDown();
    e.condition(n);
    e.f.if();
    e.takeDirect();
    e.f.end();
  }),
);

export const SETCC: readonly number[] = CONDITIONS.map((n) =>
  defineUop(`setcc.${n}`, 'function', (e) => {
    e.write('a', 0, () => {
      e.condition(n);
      e.f.op('i64.extend_i32_u');
    });
  }),
);

/** a = b when the condition holds; the 32-bit form clears the upper half either way. */
export const CMOV: readonly BySize[] = CONDITIONS.map(
  (n) =>
    SIZES.map((size) =>
      defineUop(`cmov${8 << size}.${n}`, 'function', (e) => {
        e.write('a', size, () => {
          e.read('b', size);
          e.read('a', size);
          e.condition(n);
          e.f.op('select');
        });
      }),
    ) as unknown as BySize,
);

/** Comparisons that most branches follow, in terms of the sign-extended operands x0 and x1 or the result x2. */
const FUSED_CMP = {
  2: 'i64.lt_u',
  3: 'i64.ge_u',
  4: 'i64.eq',
  5: 'i64.ne',
  6: 'i64.le_u',
  7: 'i64.gt_u',
  12: 'i64.lt_s',
  13: 'i64.ge_s',
  14: 'i64.le_s',
  15: 'i64.gt_s',
} as const;
const FUSED_TEST = {
  4: 'i64.eq',
  5: 'i64.ne',
  8: 'i64.lt_s',
  9: 'i64.ge_s',
  12: 'i64.lt_s',
  13: 'i64.ge_s',
  14: 'i64.le_s',
  15: 'i64.gt_s',
} as const;

/** Key of a fused compare and branch. */
export const fusedKey = (size: Size, condition: number): number => size | (condition << 2);
const fusedSizes = [0, 2, 3] as const;

function defineFused(kind: 'cmp' | 'test', size: Size, n: number, immediate: boolean): number {
  const comparison = (kind === 'cmp' ? FUSED_CMP : FUSED_TEST)[n as 4];
  return defineUop(`${kind}${8 << size}${immediate ? 'i' : ''}.jcc.${n}`, 'loop', (e) => {
    const { f, s } = e;
    e.countDown();
    e.readSigned('a', size).set(s.x0);
    (immediate ? e.signedField('b') : e.readSigned('b', size)).set(s.x1);
    f.get(s.x0)
      .get(s.x1)
      .op(kind === 'cmp' ? 'i64.sub' : 'i64.and');
    e.extend(size).set(s.x2);
    e.lazyFlags(kind === 'cmp' ? CC.SUB : CC.LOGIC, size, s.x2, kind === 'cmp' ? s.x1 : null);
    if (kind === 'cmp') f.get(s.x0).get(s.x1);
    else f.get(s.x2).i64(0n);
    f.op(comparison);
    f.if();
    e.takeDirect();
    f.end();
  });
}

/** CMP a, b (or TEST) and a branch in one record; the target is in the record's upper half. */
const fusedTable = (kind: 'cmp' | 'test', immediate: boolean): ReadonlyMap<number, number> => {
  const table = new Map<number, number>();
  for (const size of fusedSizes) {
    for (const n of Object.keys(kind === 'cmp' ? FUSED_CMP : FUSED_TEST).map(Number)) {
      table.set(fusedKey(size, n), defineFused(kind, size, n, immediate));
    }
  }
  return table;
};
export const CMP_JCC = fusedTable('cmp', false);
export const TEST_JCC = fusedTable('test', false);
/** The same with the second operand in `b` as a signed 16-bit number. */
export const CMP_JCC_IMM = fusedTable('cmp', true);
export const TEST_JCC_IMM = fusedTable('test', true);

/** Direct call: the return address is the code page plus the displacement in `b`, a 16-bit offset. */
export const CALL = defineUop('call64', 'loop', (e) => {
  const { f, s } = e;
  e.state64(STATE.CODE_PAGE);
  e.field('b').op('i64.extend_i32_u').op('i64.add').set(s.x1);
  emitPush(e);
  e.countDown();
  e.takeDirect();
  f.op('unreachable');
});

/** Indirect call to the address in a. */
export const CALL_INDIRECT = defineUop('call64.r', 'loop', (e) => {
  const { s, control } = e;
  e.read('a', 3).set(control.rip);
  e.state64(STATE.CODE_PAGE);
  e.field('b').op('i64.extend_i32_u').op('i64.add').set(s.x1);
  emitPush(e);
  e.countDown();
  e.takeIndirect();
});

export const JMP_INDIRECT = defineUop('jmp64.r', 'loop', (e) => {
  e.countDown();
  e.read('a', 3).set(e.control.rip);
  e.takeIndirect();
});

/** RET, with the number of further bytes to drop in the immediate. */
export const RET = defineUop('ret64', 'loop', (e) => {
  const { f, s, control } = e;
  e.state64(STATE.GPR + GPR.RSP).set(s.x0);
  e.load(3).set(control.rip);
  e.setState64(STATE.GPR + GPR.RSP, () => {
    f.get(s.x0).i64(8n).op('i64.add');
    e.imm32().op('i64.add');
  });
  e.countDown();
  e.takeIndirect();
});

/** Calls the helper whose number is in the immediate where the word of state at b is not zero. It only looks, and may fault. */
export const HELPER_IF = defineUop('helperIf', 'function', (e) => {
  const { f, s } = e;
  e.place('b').mem('i32.load').if();
  e.callHelper(() => e.immediate())
    .tee(s.y0)
    .if();
  e.setState32(STATE.RECORD, () => e.here());
  e.stopWith(s.y0);
  f.end();
  f.end();
});

/** Calls the TypeScript helper whose number is in the immediate. */
export const HELPER = defineUop('helper', 'loop', (e) => {
  const { f, s } = e;
  e.callHelper(() => e.immediate())
    .tee(s.y0)
    .if();
  e.setState32(STATE.RECORD, () => e.here());
  e.stopWith(s.y0);
  f.end();
  // A helper may have changed the access mode.
  e.reloadTlb();
});

/**
 * Begins each block that is kept: counts down its immediate, and calls the helper in its upper half once that is zero. It becomes
 * ENTER_REGION when the block has been compiled.
 */
export const BLOCK = defineUop('block', 'loop', (e) => {
  const { f, s } = e;
  e.here();
  e.immediate().i32(1).op('i32.sub').tee(s.y0).mem('i32.store', RECORD.IMM);
  f.get(s.y0).op('i32.eqz').if();
  e.callHelper(() => e.here().mem('i32.load', RECORD.IMM_HIGH)).op('drop');
  f.end();
});

/** Runs compiled code; the immediate is its place in the engine's table. */
export const ENTER_REGION = defineUop('enterRegion', 'loop', (e) => e.control.enterRegion());
