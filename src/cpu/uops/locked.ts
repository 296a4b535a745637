/** Read-modify-writes of memory between which and each other no processor comes, and the fence (SDM vol. 3 §8.1.2 and §8.2). */
import type { AtomicOp } from '#wasm/opcodes.ts';
import { LOCKED_OPERANDS, LOCKED_SIZE_BITS, SIZES, type Size, STATE } from '../layout.ts';
import { type ByForm, byForm } from './data.ts';
import { defineUop } from './registry.ts';

export const RMW_KINDS = ['add', 'sub', 'and', 'or', 'xor', 'xchg', 'cmpxchg'] as const;
export type RmwKind = (typeof RMW_KINDS)[number];

const WIDTH = ['8', '16', '32', ''] as const;

const atomicOf = (kind: RmwKind, size: Size): AtomicOp =>
  `i64.atomic.rmw${WIDTH[size]}.${kind}${size === 3 ? '' : '_u'}` as AtomicOp;

/** The upper half of a locked record's immediate: places of the operand and of what CMPXCHG compares with. */
export const lockedOperands = (operand: number, expected = 0): number => operand | (expected << 16);

function defineRmw(kind: RmwKind, size: Size): ByForm {
  const isExchange = kind === 'cmpxchg';
  return byForm((form) =>
    defineUop(`lock.${kind}${8 << size}.${form}`, 'function', (e) => {
      const { f, s } = e;
      e.address(form).set(s.x0);
      e.readAtImmediate(0, size).set(s.x1);
      if (isExchange) {
        e.readAtImmediate(1, size).set(s.x3);
      }
      e.hostLocked(size, (RMW_KINDS.indexOf(kind) << LOCKED_SIZE_BITS) | size, () => {
        e.setState64(LOCKED_OPERANDS, () => f.get(s.x1));
        if (isExchange) e.setState64(LOCKED_OPERANDS + 8, () => f.get(s.x3));
      });
      f.get(s.y1);
      if (isExchange) f.get(s.x3);
      f.get(s.x1).atomic(atomicOf(kind, size)).set(s.x2);
      e.write('a', size === 2 ? 3 : size, () => f.get(s.x2));
    }),
  );
}

type BySize = readonly [ByForm, ByForm, ByForm, ByForm];

/** a = memory before the operation, as LOAD gives it; memory = memory ∘ operand. */
export const RMW = Object.fromEntries(
  RMW_KINDS.map((kind) => [kind, SIZES.map((size) => defineRmw(kind, size))]),
) as unknown as Record<RmwKind, BySize>;

/** PAUSE: counted, for a processor that waits for another in a loop does nothing else. */
export const PAUSE = defineUop('pause', 'function', (e) =>
  e.setState32(STATE.PAUSES, () => e.state32(STATE.PAUSES).i32(1).op('i32.add')),
);

/** MFENCE. */
export const FENCE = defineUop('fence', 'function', (e) => void e.f.fence());
