import type { FunctionBuilder, Label, Local } from '#wasm/function-builder.ts';
import { CC, ccOp, RECORD, type Size, STATE, STOP, TLB } from '../layout.ts';
import type { AccessRoutines, Control, Routines, Scratch } from './parts.ts';

/** A field of a record that names a place in the state block. */
export type Slot = 'a' | 'b' | 'c';

const SLOT_OFFSET: Record<Slot, number> = { a: RECORD.A, b: RECORD.B, c: RECORD.C };
const LOAD_ZERO = ['i64.load8_u', 'i64.load16_u', 'i64.load32_u', 'i64.load'] as const;
const LOAD_SIGNED = ['i64.load8_s', 'i64.load16_s', 'i64.load32_s', 'i64.load'] as const;
const STORE = ['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const;

/** A floating-point type of WebAssembly. */
export type FloatFormat = 'f32' | 'f64';

/** How a memory operand's address is made: base + displacement, or base + (index << scale) + displacement. */
export type AddressForm = 'bd' | 'bx';
export const ADDRESS_FORMS: readonly AddressForm[] = ['bd', 'bx'];
/** The index field holds the register's offset in its low bits and the scale above. */
export const INDEX_SCALE_SHIFT = 12;

export interface EmitOptions {
  readonly f: FunctionBuilder;
  readonly record: Local;
  /** Base of the data TLB in force. */
  readonly tlb: Local;
  readonly scratch: Scratch;
  readonly routines: Routines;
  /** Null for an emitter with another way where the TLB does not have an access. */
  readonly accesses: AccessRoutines | null;
  readonly control: Control | null;
  /** Leaves with the stop code on the stack. */
  readonly stop: () => void;
}

/**
 * What an emitter writes through: operands are read from the record here, while a compiler of whole regions gives the same
 * interface with constants and locals.
 */
export class Emit {
  readonly f: FunctionBuilder;
  readonly s: Scratch;
  readonly routines: Routines;
  readonly record: Local;
  readonly #tlb: Local;
  readonly #accesses: AccessRoutines | null;
  readonly #control: Control | null;
  readonly #stop: () => void;

  constructor(options: EmitOptions) {
    this.f = options.f;
    this.s = options.scratch;
    this.routines = options.routines;
    this.record = options.record;
    this.#tlb = options.tlb;
    this.#accesses = options.accesses;
    this.#control = options.control;
    this.#stop = options.stop;
  }

  get control(): Control {
    if (!this.#control) throw new Error('a branch belongs in the main loop');
    return this.#control;
  }

  /** Pushes the record's address. */
  here(): FunctionBuilder {
    return this.f.get(this.record);
  }

  /** Pushes a field as the number that it is. */
  field(slot: Slot): FunctionBuilder {
    return this.here().mem('i32.load16_u', SLOT_OFFSET[slot]);
  }

  signedField(slot: Slot): FunctionBuilder {
    return this.here().mem('i64.load16_s', SLOT_OFFSET[slot]);
  }

  /** Pushes the state offset of an operand that is no general register: a vector register, or another word of the state. */
  place(slot: Slot): FunctionBuilder {
    return this.field(slot);
  }

  /** Pushes an operand as i64, zero extended. */
  read(slot: Slot, size: Size): FunctionBuilder {
    return this.field(slot).mem(LOAD_ZERO[size]);
  }

  /** Pushes an operand as i64, sign extended. */
  readSigned(slot: Slot, size: Size): FunctionBuilder {
    return this.field(slot).mem(LOAD_SIGNED[size]);
  }

  /** Writes an i64 as an operand of this size: 32-bit results clear the upper half, narrower ones keep the rest. */
  write(slot: Slot, size: Size, value: () => void): void {
    this.field(slot);
    value();
    if (size === 2) this.f.i64(0xffffffffn).op('i64.and').mem('i64.store');
    else this.f.mem(STORE[size]);
  }

  /** Pushes a general register or temporary at this place of the state. */
  readAt(offset: number, size: Size, signed = false): FunctionBuilder {
    return this.f.i32(0).mem((signed ? LOAD_SIGNED : LOAD_ZERO)[size], offset);
  }

  /** As `write`, to a general register or temporary at this place of the state. */
  writeAt(offset: number, size: Size, value: () => void): void {
    this.f.i32(0);
    value();
    if (size === 2) this.f.i64(0xffffffffn).op('i64.and').mem('i64.store', offset);
    else this.f.mem(STORE[size], offset);
  }

  /** Pushes the operand whose place is a half of the record's upper immediate. */
  readAtImmediate(half: 0 | 1, size: Size): FunctionBuilder {
    return this.here()
      .mem('i32.load16_u', RECORD.IMM_HIGH + 2 * half)
      .mem(LOAD_ZERO[size]);
  }

  /** Pushes the XMM register that an operand is. */
  readVector(slot: Slot): FunctionBuilder {
    return this.place(slot).simdMem('v128.load');
  }

  /** Pushes the vector at this place of the state. */
  readVectorAt(offset: number): FunctionBuilder {
    return this.f.i32(0).simdMem('v128.load', offset);
  }

  writeVector(slot: Slot, value: () => void): void {
    this.place(slot);
    value();
    this.f.simdMem('v128.store');
  }

  /** Pushes the number in the low lane of an XMM register. */
  readNumber(slot: Slot, format: FloatFormat): FunctionBuilder {
    return this.place(slot).mem(`${format}.load`);
  }

  /** Writes the low lane, and keeps the others. */
  writeNumber(slot: Slot, format: FloatFormat, value: () => void): void {
    this.place(slot);
    value();
    this.f.mem(`${format}.store`);
  }

  /** Has the helper do the record, which ends, unless these bits of MXCSR have this value. Not in the main loop. */
  requireMxcsr(bits: number, value: number, number: () => void): void {
    this.state32(STATE.MXCSR).i32(bits).op('i32.and').i32(value).op('i32.ne').if();
    this.fallBackAndEnd(number);
    this.f.end();
  }

  /** Pushes the record's low immediate as i32, or as i64 by sign. */
  immediate(): FunctionBuilder {
    return this.here().mem('i32.load', RECORD.IMM);
  }

  imm32(): FunctionBuilder {
    return this.here().mem('i64.load32_s', RECORD.IMM);
  }

  immHigh32(): FunctionBuilder {
    return this.here().mem('i64.load32_s', RECORD.IMM_HIGH);
  }

  imm64(): FunctionBuilder {
    return this.here().mem('i64.load', RECORD.IMM);
  }

  /** Pushes the six arithmetic flags as i32. */
  flags(): FunctionBuilder {
    return this.f.call(this.routines.flags);
  }

  /** Pushes CF as 0 or 1. */
  carry(): FunctionBuilder {
    return this.f.call(this.routines.carry);
  }

  /** Pushes whether condition `n` (SDM vol. 1 appendix B) holds. */
  condition(n: number): void {
    const { f } = this;
    if (n >> 1 === 2) {
      // CC_DST is zero exactly when ZF is set, whatever the kind.
      this.state64(STATE.CC_DST).op('i64.eqz');
      if (n & 1) f.op('i32.eqz');
    } else if (n >> 1 === 1) {
      this.carry();
      if (n & 1) f.op('i32.eqz');
    } else f.i32(n).call(this.routines.condition);
  }

  /** Pushes what the helper returns whose number `number` pushes. It finds all state in memory. */
  callHelper(number: () => void): FunctionBuilder {
    number();
    return this.here().call(this.routines.helper);
  }

  /** Has the helper do all that the record does, or raise its fault; nothing has been changed yet. Ends the record if it says so. */
  fallBack(number: () => void): void {
    this.callHelper(number).set(this.s.y0);
    this.stopWith(this.s.y0);
  }

  /** As `fallBack`, and ends the record in any case. Not in the main loop. */
  fallBackAndEnd(number: () => void): void {
    this.callHelper(number);
    this.#stop();
  }

  /** Takes the instructions since the last branch, field c, off the budget. */
  countDown(): void {
    this.f.get(this.control.budget);
    this.field('c').op('i32.sub').set(this.control.budget);
  }

  /** Goes to the target whose page offset is in the record's upper half. */
  takeDirect(): void {
    this.here().mem('i32.load', RECORD.IMM_HIGH).set(this.control.target);
    this.f.br(this.control.direct);
  }

  /** Goes to the address in `control.rip`. */
  takeIndirect(): void {
    this.f.br(this.control.indirect);
  }

  /** Sign extends the i64 on the stack from this operand size. */
  extend(size: Size): FunctionBuilder {
    if (size === 0) return this.f.op('i64.extend8_s');
    if (size === 1) return this.f.op('i64.extend16_s');
    if (size === 2) return this.f.op('i64.extend32_s');
    return this.f;
  }

  state64(offset: number): FunctionBuilder {
    return this.f.i32(0).mem('i64.load', offset);
  }

  state32(offset: number): FunctionBuilder {
    return this.f.i32(0).mem('i32.load', offset);
  }

  setState64(offset: number, value: () => void): void {
    this.f.i32(0);
    value();
    this.f.mem('i64.store', offset);
  }

  setState32(offset: number, value: () => void): void {
    this.f.i32(0);
    value();
    this.f.mem('i32.store', offset);
  }

  /** Records lazy flags from sign-extended locals. */
  lazyFlags(kind: number, size: Size, result: Local, source: Local | null): void {
    this.setState32(STATE.CC_OP, () => this.f.i32(ccOp(kind, size)));
    this.setState64(STATE.CC_DST, () => this.f.get(result));
    if (source !== null) this.setState64(STATE.CC_SRC, () => this.f.get(source));
  }

  /** Sets all six flags from the i32 bits in this local. */
  explicitFlags(bits: Local): void {
    this.setState32(STATE.CC_OP, () => this.f.i32(CC.EXPLICIT));
    this.setState64(STATE.CC_SRC, () => this.f.get(bits).op('i64.extend_i32_u'));
    // CC_DST must be zero exactly when ZF is set: bit 6 of the complement is that.
    this.setState64(STATE.CC_DST, () =>
      this.f.get(bits).i32(0x40).op('i32.and').i32(0x40).op('i32.xor').op('i64.extend_i32_u'),
    );
  }

  /** Ends with this stop code when the i32 on the stack is not zero. */
  stopIf(code: number): void {
    this.f.if();
    this.f.i32(code);
    this.#stop();
    this.f.end();
  }

  /** Ends with the nonzero i32 in `code`. */
  stopWith(code: Local): void {
    this.f.get(code).if();
    this.f.get(code);
    this.#stop();
    this.f.end();
  }

  reloadTlb(): void {
    this.state32(STATE.TLB).set(this.#tlb);
  }

  /** Pushes the virtual address of the memory operand. */
  address(form: AddressForm): FunctionBuilder {
    this.read('b', 3);
    this.imm32().op('i64.add');
    if (form === 'bx') {
      this.field('c')
        .tee(this.s.y0)
        .i32((1 << INDEX_SCALE_SHIFT) - 1)
        .op('i32.and')
        .mem('i64.load');
      this.f.get(this.s.y0).i32(INDEX_SCALE_SHIFT).op('i32.shr_u').op('i64.extend_i32_u').op('i64.shl').op('i64.add');
    }
    return this.f;
  }

  /**
   * From the virtual address in x0 to the place in memory, in y1. Faults end the record. `write` asks for a writable page, as
   * the load of a read-modify-write must.
   */
  hostLoad(sizeBytes: number, write = false): void {
    const found = this.f.block();
    this.lookup(sizeBytes, write, found);
    this.slowLoad(sizeBytes, write);
    this.f.end();
  }

  /** Stores to the virtual address in x0; `store` stores to a place, or puts the value at STATE.BOUNCE. */
  hostStore(sizeBytes: number, store: (place: () => void, offset: number) => void): void {
    const { f, s } = this;
    const done = f.block();
    const found = f.block();
    this.lookup(sizeBytes, true, found);
    this.slowStore(sizeBytes, () => store(() => f.i32(0), STATE.BOUNCE));
    f.br(done);
    f.end();
    store(() => f.get(s.y1), 0);
    f.end();
  }

  /**
   * From the virtual address in x0 to the place for an atomic operation of this size, in y1: writable, aligned memory. `spill` puts
   * the operands where slowLocked finds them; `what` is its second argument.
   */
  hostLocked(size: Size, what: number, spill: () => void): void {
    const { f, s } = this;
    this.#isInTlb(1 << size, true);
    if (size > 0) {
      const unaligned = BigInt((1 << size) - 1);
      f.get(s.x0).i64(unaligned).op('i64.and').op('i64.eqz').op('i32.and');
    }
    f.if();
    this.#hostPlace();
    f.set(s.y1).else();
    this.slowLocked(what, spill);
    f.end();
  }

  get #slow(): AccessRoutines {
    if (!this.#accesses) throw new Error('this emitter has no routines for accesses');
    return this.#accesses;
  }

  /** Where the TLB does not have a load: leaves the place in y1. */
  protected slowLoad(sizeBytes: number, write: boolean): void {
    const { f, s } = this;
    this.setState64(STATE.ADDRESS, () => f.get(s.x0));
    this.here().i32(sizeBytes);
    f.call(write ? this.#slow.slowLoadForWrite : this.#slow.slowLoad)
      .tee(s.y1)
      .op('i32.eqz');
    this.stopIf(STOP.FAULT);
  }

  /** Where the TLB does not have a store; `spill` puts the value at STATE.BOUNCE. */
  protected slowStore(sizeBytes: number, spill: () => void): void {
    const { f, s } = this;
    this.setState64(STATE.ADDRESS, () => f.get(s.x0));
    spill();
    this.here().i32(sizeBytes).call(this.#slow.slowStore).set(s.y1);
    this.stopWith(s.y1);
  }

  /** Where a locked operation cannot be done in place: leaves the place in y1. */
  protected slowLocked(what: number, spill: () => void): void {
    const { f, s } = this;
    this.setState64(STATE.ADDRESS, () => f.get(s.x0));
    spill();
    this.here().i32(what).call(this.#slow.slowLocked).tee(s.y1).op('i32.eqz');
    this.stopIf(STOP.FAULT);
  }

  /** Pushes the loaded value, zero or sign extended, from the virtual address in x0. */
  load(size: Size, signed = false, write = false): FunctionBuilder {
    this.hostLoad(1 << size, write);
    return this.f.get(this.s.y1).mem(signed ? LOAD_SIGNED[size] : LOAD_ZERO[size]);
  }

  /** Stores the i64 local to the virtual address in x0. */
  store(size: Size, value: Local): void {
    this.hostStore(1 << size, (place, offset) => {
      place();
      this.f.get(value).mem(STORE[size], offset);
    });
  }

  /** Called where the TLB has the access, with the entry's address in y0. */
  protected afterHit(): void {}

  /** Goes to `found`, with the place of the access to the virtual address in x0 in y1, if it is known. */
  protected lookup(sizeBytes: number, write: boolean, found: Label): void {
    const { f, s } = this;
    const missed = f.block();
    const hit = f.block();
    this.#isInTlb(sizeBytes, write);
    f.brIf(hit);
    f.get(s.y0).i32(TLB.ALTERNATE).op('i32.xor').set(s.y0);
    this.#hasPage(sizeBytes, write);
    f.op('i32.eqz').brIf(missed);
    f.end();
    this.#hostPlace();
    f.set(s.y1);
    this.afterHit();
    f.br(found).end();
  }

  /** Pushes whether the first place for it has the whole access; leaves the entry's address in y0. */
  #isInTlb(sizeBytes: number, write: boolean): void {
    const { f, s } = this;
    // As tlbEntryOffset.
    f.get(s.x0).op('i32.wrap_i64').tee(s.y0).get(s.y0).i32(TLB.FOLD_SHIFT).op('i32.shr_u').op('i32.xor');
    f.i32(12 - TLB.ENTRY_SHIFT).op('i32.shr_u');
    f.i32((TLB.ENTRIES - 1) << TLB.ENTRY_SHIFT)
      .op('i32.and')
      .get(this.#tlb)
      .op('i32.add')
      .set(s.y0);
    this.#hasPage(sizeBytes, write);
  }

  /** Pushes whether the entry in y0 has the whole access. */
  #hasPage(sizeBytes: number, write: boolean): void {
    const { f, s } = this;
    f.get(s.y0).mem('i64.load', write ? TLB.WRITE : TLB.READ);
    f.get(s.x0);
    // The page of the last byte: a crossing access misses, for its place was chosen by the first byte's page.
    if (sizeBytes > 1) f.i64(BigInt(sizeBytes - 1)).op('i64.add');
    f.i64(~0xfffn).op('i64.and').op('i64.eq');
  }

  #hostPlace(): void {
    const { f, s } = this;
    f.get(s.x0).op('i32.wrap_i64').get(s.y0).mem('i32.load', TLB.ADDEND).op('i32.add');
  }
}
