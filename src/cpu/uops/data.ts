/** Moves, extensions, conditional moves, loads, stores and the stack. */
import { GPR, SIZES, type Size, STATE } from '../layout.ts';
import { ADDRESS_FORMS, type AddressForm, type Emit } from './emit.ts';
import { defineUop, type Placement } from './registry.ts';

type BySize = readonly [number, number, number, number];
export type ByForm = Record<AddressForm, number>;
const bySize = (define: (size: Size) => number): BySize => SIZES.map(define) as unknown as BySize;
export const byForm = (define: (form: AddressForm) => number): ByForm =>
  Object.fromEntries(ADDRESS_FORMS.map((form) => [form, define(form)])) as ByForm;
const hot = (size: Size): Placement => (size >= 2 ? 'loop' : 'function');

/** a = b */
export const MOV = bySize((size) =>
  defineUop(`mov${8 << size}`, hot(size), (e) => e.write('a', size, () => e.read('b', size))),
);
/** a = immediate; the 64-bit form takes all 8 bytes, the others the sign-extended low 4. */
export const MOV_IMM = bySize((size) =>
  defineUop(`mov${8 << size}i`, hot(size), (e) => e.write('a', size, () => (size === 3 ? e.imm64() : e.imm32()))),
);

/** a = b extended from `from` to `to`; key is from | to << 2. */
const extension = (signed: boolean): ReadonlyMap<number, number> => {
  const table = new Map<number, number>();
  for (const from of [0, 1, 2] as const) {
    for (const to of [1, 2, 3] as const) {
      if (to <= from) continue;
      const name = `mov${signed ? 's' : 'z'}x${8 << from}to${8 << to}`;
      table.set(
        extensionKey(from, to),
        defineUop(name, hot(to), (e) => e.write('a', to, () => (signed ? e.readSigned('b', from) : e.read('b', from)))),
      );
    }
  }
  return table;
};
export const extensionKey = (from: Size, to: Size): number => from | (to << 2);
export const MOVZX = extension(false);
export const MOVSX = extension(true);

/** a and b change places. */
export const XCHG = bySize((size) =>
  defineUop(`xchg${8 << size}`, 'function', (e) => {
    const { f, s } = e;
    e.read('a', size).set(s.x0);
    e.write('a', size, () => e.read('b', size));
    e.write('b', size, () => f.get(s.x0));
  }),
);

export const LEA = bySize(() => 0).map((_, index) =>
  byForm((form) => defineUop(`lea${8 << index}.${form}`, hot(index as Size), (e) => leaTo(e, index as Size, form))),
) as unknown as readonly [ByForm, ByForm, ByForm, ByForm];

function leaTo(e: Emit, size: Size, form: AddressForm): void {
  e.address(form).set(e.s.x0);
  e.write('a', size, () => e.f.get(e.s.x0));
}

/** a = memory, of this size; narrower ones keep the rest of the register. */
export const LOAD = SIZES.map((size) =>
  byForm((form) =>
    defineUop(`ld${8 << size}.${form}`, 'loop', (e) => {
      e.address(form).set(e.s.x0);
      e.load(size).set(e.s.x1);
      e.write(size === 2 ? 'a' : 'a', size === 2 ? 3 : size, () => e.f.get(e.s.x1));
    }),
  ),
) as unknown as readonly [ByForm, ByForm, ByForm, ByForm];

/** As LOAD, for a read-modify-write: the page must be writable. */
export const LOAD_FOR_WRITE = SIZES.map((size) =>
  byForm((form) =>
    defineUop(`ldw${8 << size}.${form}`, size >= 2 ? 'loop' : 'function', (e) => {
      e.address(form).set(e.s.x0);
      e.load(size, false, true).set(e.s.x1);
      e.write('a', size === 2 ? 3 : size, () => e.f.get(e.s.x1));
    }),
  ),
) as unknown as readonly [ByForm, ByForm, ByForm, ByForm];

/** a (64 bits) = memory of this size, zero extended: the common MOVZX and MOVSX from memory. */
export const LOAD_ZX = ([0, 1] as const).map((size) =>
  byForm((form) =>
    defineUop(`ldzx${8 << size}.${form}`, 'loop', (e) => {
      e.address(form).set(e.s.x0);
      e.load(size).set(e.s.x1);
      e.write('a', 3, () => e.f.get(e.s.x1));
    }),
  ),
) as unknown as readonly [ByForm, ByForm];

export const STORE = SIZES.map((size) =>
  byForm((form) =>
    defineUop(`st${8 << size}.${form}`, 'loop', (e) => {
      e.address(form).set(e.s.x0);
      e.read('a', size).set(e.s.x1);
      e.store(size, e.s.x1);
    }),
  ),
) as unknown as readonly [ByForm, ByForm, ByForm, ByForm];

/** Memory = the immediate in the record's upper half. */
export const STORE_IMM = SIZES.map((size) =>
  byForm((form) =>
    defineUop(`sti${8 << size}.${form}`, 'loop', (e) => {
      e.address(form).set(e.s.x0);
      e.immHigh32().set(e.s.x1);
      e.store(size, e.s.x1);
    }),
  ),
) as unknown as readonly [ByForm, ByForm, ByForm, ByForm];

/** RSP −= 8, memory = x1. The register changes only after the store has succeeded. */
export function emitPush(e: Emit): void {
  const { f, s } = e;
  e.state64(STATE.GPR + GPR.RSP)
    .i64(8n)
    .op('i64.sub')
    .set(s.x0);
  e.store(3, s.x1);
  e.setState64(STATE.GPR + GPR.RSP, () => f.get(s.x0));
}

export const PUSH = defineUop('push64', 'loop', (e) => {
  e.read('a', 3).set(e.s.x1);
  emitPush(e);
});
export const PUSH_IMM = defineUop('push64i', 'loop', (e) => {
  e.imm32().set(e.s.x1);
  emitPush(e);
});
/** a = memory at RSP, RSP += 8; a may be RSP itself, which then keeps the popped value. */
export const POP = defineUop('pop64', 'loop', (e) => {
  const { f, s } = e;
  e.state64(STATE.GPR + GPR.RSP).set(s.x0);
  e.load(3).set(s.x1);
  e.setState64(STATE.GPR + GPR.RSP, () => f.get(s.x0).i64(8n).op('i64.add'));
  e.write('a', 3, () => f.get(s.x1));
});
/** LEAVE: RSP = RBP, then POP RBP; nothing changes when the load faults. */
export const LEAVE = defineUop('leave64', 'loop', (e) => {
  const { f, s } = e;
  e.state64(STATE.GPR + GPR.RBP).set(s.x0);
  e.load(3).set(s.x1);
  e.setState64(STATE.GPR + GPR.RSP, () => f.get(s.x0).i64(8n).op('i64.add'));
  e.setState64(STATE.GPR + GPR.RBP, () => f.get(s.x1));
});

/** The upper bits of the register stay: of MOVBE alone, for BSWAP of 16 bits is undefined. */
export const BSWAP16 = defineUop('bswap16', 'function', (e) => {
  const { f, s } = e;
  e.read('a', 1).set(s.x0);
  e.write('a', 1, () => {
    f.get(s.x0).i64(8n).op('i64.shl').i64(0xff00n).op('i64.and');
    f.get(s.x0).i64(8n).op('i64.shr_u').i64(0xffn).op('i64.and').op('i64.or');
  });
});
export const BSWAP32 = defineUop('bswap32', 'function', (e) => {
  const { f, s } = e;
  e.read('a', 2).op('i32.wrap_i64').set(s.y0);
  e.write('a', 2, () => {
    f.get(s.y0).i32(8).op('i32.rotl').i32(0x00ff00ff).op('i32.and');
    f.get(s.y0)
      .i32(8)
      .op('i32.rotr')
      .i32(0xff00ff00 | 0)
      .op('i32.and')
      .op('i32.or')
      .op('i64.extend_i32_u');
  });
});
export const BSWAP64 = defineUop('bswap64', 'function', (e) => {
  const { f, s } = e;
  e.read('a', 3).set(s.x0);
  const step = (mask: bigint, bits: bigint): void => {
    f.get(s.x0).i64(mask).op('i64.and').i64(bits).op('i64.shl');
    f.get(s.x0).i64(bits).op('i64.shr_u').i64(mask).op('i64.and').op('i64.or').set(s.x0);
  };
  step(0x00ff00ff00ff00ffn, 8n);
  step(0x0000ffff0000ffffn, 16n);
  e.write('a', 3, () => f.get(s.x0).i64(32n).op('i64.rotl'));
});
