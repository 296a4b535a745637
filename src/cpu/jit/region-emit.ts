/** The interface of emitters with a record's operands as constants, and general registers and flags in locals. */
import type { FunctionBuilder, Label, Local } from '#wasm/function-builder.ts';
import { CC, CODE, ccOp, EXIT, GPR, RECORD, type Size, STATE } from '../layout.ts';
import { type AddressForm, Emit, type FloatFormat, INDEX_SCALE_SHIFT, type Slot } from '../uops/emit.ts';
import { type Routines, scratch } from '../uops/parts.ts';
import { KnownPages } from './known-pages.ts';
import { pointerOf, REGISTERS, releaseOperands } from './operands.ts';
import { RegionFlags } from './region-flags.ts';
import { RegionPlaces } from './region-places.ts';
import { RegionTemporaries } from './region-temporaries.ts';
import { RegionVectors, vectorAt } from './region-vectors.ts';

const FIELD: Readonly<Record<Slot, number>> = { a: RECORD.A, b: RECORD.B, c: RECORD.C };
const LOAD_ZERO = ['i64.load8_u', 'i64.load16_u', 'i64.load32_u', 'i64.load'] as const;
const LOAD_SIGNED = ['i64.load8_s', 'i64.load16_s', 'i64.load32_s', 'i64.load'] as const;
const STORE = ['i64.store8', 'i64.store16', 'i64.store32', 'i64.store'] as const;
const MASK = [0xffn, 0xffffn, 0xffffffffn, -1n] as const;

/** Below this are general registers and temporaries. */
const IN_LOCALS_END = STATE.SEGMENT_BASE;

export interface RegionEmitOptions {
  readonly f: FunctionBuilder;
  readonly view: DataView;
  readonly halves: Uint16Array;
  readonly routines: Routines;
  /** General registers that the region uses and writes, as sets of bits. */
  readonly used: number;
  readonly written: number;
  /** Through what it accesses memory, as KnownPages has it. */
  readonly pointers: number;
  /** Emits the way to the code at this offset of the page from a branch record. */
  readonly branch: (record: number, target: number) => void;
  /** Emits the ways of a return or an indirect jump that stay in the region. */
  readonly goIndirect: () => void;
}

export class RegionEmit extends Emit {
  readonly places: RegionPlaces;
  readonly #view: DataView;
  readonly #used: number;
  readonly #written: number;
  readonly #registers: readonly Local[];
  readonly #temporaries: RegionTemporaries;
  readonly #flags: RegionFlags;
  readonly #known: KnownPages;
  readonly #vectors: RegionVectors;
  readonly #halves: Uint16Array;
  /** Bits of MXCSR that have been found to have a value since the block began or a helper ran; 0 if none have. */
  #mxcsrKnown = 0;
  readonly #branch: (record: number, target: number) => void;
  readonly #goIndirect: () => void;
  readonly #budget: Local;
  readonly #rip: Local;
  readonly #code: Local;
  readonly #exitRecord: Local;
  readonly #exit: Label;
  /** By how many pages the block is away from where the region was entered. */
  #page = 0;
  /** What the record accesses memory through. */
  #pointer = 0;
  /** The record that is being emitted, and how deep its code began. */
  #at = 0;
  #depth = 0;

  constructor(options: RegionEmitOptions) {
    const { f, routines, used, written } = options;
    const tlb = f.local('i32');
    const code = f.local('i32');
    const exitRecord = f.local('i32');
    const budget = f.local('i32');
    const rip = f.local('i64');
    const exit = { depth: 1 };
    const leave = (): void => {
      f.set(code).i32(this.#at).set(exitRecord).br(exit);
    };
    const control = {
      budget,
      rip,
      target: code,
      direct: exit,
      indirect: exit,
      next: exit,
      enterRegion: () => undefined,
    };
    super({ f, record: 0, tlb, scratch: scratch(f), routines, accesses: null, control, stop: leave });
    this.#view = options.view;
    this.#used = used;
    this.#written = written;
    this.#branch = options.branch;
    this.#goIndirect = options.goIndirect;
    this.#registers = Array.from({ length: REGISTERS }, (_, n) => ((used >> n) & 1 ? f.local('i64') : -1));
    this.#temporaries = new RegionTemporaries(f);
    this.#flags = new RegionFlags(f, routines);
    this.#known = new KnownPages(f, options.pointers);
    this.#vectors = new RegionVectors(f);
    this.#halves = options.halves;
    this.places = new RegionPlaces(f, rip);
    [this.#budget, this.#rip, this.#code, this.#exitRecord] = [budget, rip, code, exitRecord];
    this.#exit = exit;
  }

  /** Loads what the region keeps in locals, and opens the block that exits leave. */
  begin(): void {
    const { f } = this;
    this.#loadState();
    this.reloadTlb();
    this.#known.forget();
    f.i32(0).mem('i32.load', STATE.BUDGET).set(this.#budget);
    this.places.begin();
    const exit = f.block();
    if (exit.depth !== this.#exit.depth) throw new Error('a region begins at the start of its function');
  }

  /** Closes that block: all state goes back to memory. */
  end(): void {
    const { f } = this;
    f.op('unreachable').end();
    this.#storeState();
    f.i32(0).get(this.#budget).mem('i32.store', STATE.BUDGET);
    f.i32(0).get(this.#exitRecord).mem('i32.store', STATE.RECORD);
    f.get(this.#code);
  }

  /** What comes, in the page so many pages after the entry's, may be reached from elsewhere. */
  beginBlock(page: number): void {
    this.#page = page;
    this.#flags.known = undefined;
    this.#temporaries.forget();
    this.#vectors.forget();
    this.#mxcsrKnown = 0;
  }

  beginRecord(record: number, forgetsTemporaries: boolean): void {
    this.#at = record;
    this.#depth = this.f.depth;
    this.#pointer = pointerOf(GPR.RSP);
    if (forgetsTemporaries) {
      this.#temporaries.forget();
      this.#vectors.forgetTemporaries();
    }
    const release = (place: number): void => {
      if (vectorAt(place) >= 0) this.#vectors.release(vectorAt(place));
    };
    releaseOperands(this.#halves, record, release, () => {
      this.#vectors.releaseAll();
      this.#mxcsrKnown = 0;
    });
  }

  /** Whether what is emitted now runs whenever the rest of the record does. */
  get #isUnconditional(): boolean {
    return this.f.depth === this.#depth;
  }

  /** Before control goes to another block of the region. */
  endBlock(): void {
    this.#vectors.spill();
  }

  /** Leaves the region: the interpreter goes on as `code` says, with this record. */
  leave(code: number, record: number): void {
    if (code === EXIT.CONTINUE) this.#temporaries.spill();
    this.#vectors.spill();
    this.f.i32(code).set(this.#code).i32(record).set(this.#exitRecord).br(this.#exit);
  }

  /** Leaves at an indirect branch. */
  leaveIndirect(): void {
    this.f.i32(0).get(this.#rip).mem('i64.store', STATE.RIP);
    this.leave(EXIT.INDIRECT, this.#at);
  }

  unlessBudget(leave: () => void): void {
    this.f.get(this.#budget).i32(0).op('i32.lt_s').if();
    leave();
    this.f.end();
  }

  /** Before an instruction that ends in another page: leaves with this record where that is not known to be the one with this table. */
  leaveUnlessMapped(page: number, table: number, record: number): void {
    this.places.unlessMapped(page, table, () => this.leave(EXIT.CONTINUE, record));
  }

  /** After a helper: leaves with the record after this one where the code that runs has changed. */
  leaveWhereChanged(): void {
    this.state32(STATE.CODE_CHANGED).if();
    this.leave(EXIT.CONTINUE, this.#at + CODE.RECORD_SIZE);
    this.f.end();
  }

  #field(slot: Slot): number {
    return this.#view.getUint16(this.#at + FIELD[slot], true);
  }

  get #low(): number {
    return this.#view.getInt32(this.#at + RECORD.IMM, true);
  }

  get #high(): number {
    return this.#view.getInt32(this.#at + RECORD.IMM_HIGH, true);
  }

  override here(): FunctionBuilder {
    return this.f.i32(this.#at);
  }

  override field(slot: Slot): FunctionBuilder {
    return this.f.i32(this.#field(slot));
  }

  override signedField(slot: Slot): FunctionBuilder {
    return this.f.i64(BigInt((this.#field(slot) << 16) >> 16));
  }

  override immediate(): FunctionBuilder {
    return this.f.i32(this.#low);
  }

  override imm32(): FunctionBuilder {
    return this.f.i64(BigInt(this.#low));
  }

  override immHigh32(): FunctionBuilder {
    return this.f.i64(BigInt(this.#high));
  }

  override imm64(): FunctionBuilder {
    return this.f.i64(this.#view.getBigInt64(this.#at + RECORD.IMM, true));
  }

  override read(slot: Slot, size: Size): FunctionBuilder {
    return this.readAt(this.#field(slot), size);
  }

  override readSigned(slot: Slot, size: Size): FunctionBuilder {
    return this.readAt(this.#field(slot), size, true);
  }

  override write(slot: Slot, size: Size, value: () => void): void {
    this.writeAt(this.#field(slot), size, value);
  }

  override readAtImmediate(half: 0 | 1, size: Size): FunctionBuilder {
    return this.readAt((this.#high >> (16 * half)) & 0xffff, size);
  }

  override readAt(offset: number, size: Size, signed = false): FunctionBuilder {
    const { f } = this;
    if (offset === STATE.ZERO) return f.i64(0n);
    if (offset === STATE.CODE_PAGE && size === 3) return this.places.pageAt(this.#page);
    if (vectorAt(offset) >= 0) return this.#vectors.readInteger(offset, size, signed, this.#isUnconditional);
    const local = this.#localAt(offset);
    if (local === undefined) return f.i32(0).mem((signed ? LOAD_SIGNED : LOAD_ZERO)[size], offset);
    f.get(local);
    if ((offset & 7) !== 0) f.i64(BigInt((offset & 7) * 8)).op('i64.shr_u');
    if (size === 3) return f;
    return signed ? this.extend(size) : f.i64(MASK[size]).op('i64.and');
  }

  override writeAt(offset: number, size: Size, value: () => void): void {
    const { f } = this;
    if (vectorAt(offset) >= 0) {
      this.#vectors.writeInteger(offset, size, this.#isUnconditional, value);
      return;
    }
    const local = this.#targetAt(offset, size);
    if (local === undefined) {
      f.i32(0);
      value();
      if (size === 2) f.i64(MASK[2]).op('i64.and').mem('i64.store', offset);
      else f.mem(STORE[size], offset);
      return;
    }
    if (size === 0 || size === 1) this.#insert(local, (offset & 7) * 8, size, value);
    else {
      value();
      if (size === 2) f.i64(MASK[2]).op('i64.and');
      f.set(local);
    }
  }

  /** Only these bits of the register change. */
  #insert(local: Local, shift: number, size: 0 | 1, value: () => void): void {
    const { f } = this;
    value();
    f.i64(MASK[size]).op('i64.and');
    if (shift !== 0) f.i64(BigInt(shift)).op('i64.shl');
    f.get(local)
      .i64(~(MASK[size] << BigInt(shift)))
      .op('i64.and')
      .op('i64.or')
      .set(local);
  }

  /** The local that has what is at this place of the state now. */
  #localAt(offset: number): Local | undefined {
    if (offset < 8 * REGISTERS) return this.#register(offset);
    const n = RegionTemporaries.at(offset);
    if (n >= 0 && this.#temporaries.has(n)) return this.#temporaries.local(n);
    return undefined;
  }

  #register(offset: number): Local {
    const local = this.#registers[offset >> 3] as Local;
    if (local < 0) throw new Error(`register ${offset >> 3} is not one that the region uses`);
    return local;
  }

  /** The local to write, if what is at this place may be in one from now on. */
  #targetAt(offset: number, size: Size): Local | undefined {
    if (offset < 8 * REGISTERS) return this.#register(offset);
    const n = RegionTemporaries.at(offset);
    if (n < 0) return undefined;
    // Where it is must be the same whichever way an emitter's own branches went; and the rest of it may be in memory.
    if (!this.#temporaries.has(n) && (size < 2 || !this.#isUnconditional)) return undefined;
    return this.#temporaries.take(n);
  }

  override readVector(slot: Slot): FunctionBuilder {
    return this.readVectorAt(this.#field(slot));
  }

  override readVectorAt(offset: number): FunctionBuilder {
    return this.#vectors.read(vectorAt(offset), this.#isUnconditional);
  }

  override writeVector(slot: Slot, value: () => void): void {
    this.#vectors.write(vectorAt(this.#field(slot)), this.#isUnconditional, value);
  }

  override readNumber(slot: Slot, format: FloatFormat): FunctionBuilder {
    return this.#vectors.readNumber(vectorAt(this.#field(slot)), format, this.#isUnconditional);
  }

  override writeNumber(slot: Slot, format: FloatFormat, value: () => void): void {
    this.#vectors.writeNumber(vectorAt(this.#field(slot)), format, this.#isUnconditional, value);
  }

  override requireMxcsr(bits: number, value: number, number: () => void): void {
    if (this.#mxcsrKnown === bits) return;
    super.requireMxcsr(bits, value, number);
    if (this.#isUnconditional) this.#mxcsrKnown = bits;
  }

  override place(slot: Slot): FunctionBuilder {
    const offset = this.#field(slot);
    if (offset < IN_LOCALS_END) throw new Error('a general register has no place in memory here');
    return this.f.i32(offset);
  }

  override address(form: AddressForm): FunctionBuilder {
    const { f } = this;
    this.#pointer = pointerOf(this.#field('b'));
    this.read('b', 3);
    if (this.#low !== 0) f.i64(BigInt(this.#low)).op('i64.add');
    if (form === 'bx') {
      const index = this.#field('c');
      const scale = index >> INDEX_SCALE_SHIFT;
      this.readAt(index & ((1 << INDEX_SCALE_SHIFT) - 1), 3);
      if (scale !== 0) f.i64(BigInt(scale)).op('i64.shl');
      f.op('i64.add');
    }
    return f;
  }

  override state64(offset: number): FunctionBuilder {
    if (offset === STATE.CC_DST) return this.f.get(this.#flags.dst);
    if (offset === STATE.CC_SRC) return this.f.get(this.#flags.src);
    return this.readAt(offset, 3);
  }

  override setState64(offset: number, value: () => void): void {
    const { f } = this;
    if (offset === STATE.CC_DST || offset === STATE.CC_SRC) {
      value();
      f.set(offset === STATE.CC_DST ? this.#flags.dst : this.#flags.src);
    } else this.writeAt(offset, 3, value);
  }

  override setState32(offset: number, value: () => void): void {
    if (offset !== STATE.CC_OP && offset !== STATE.CC_CARRY) {
      super.setState32(offset, value);
      return;
    }
    value();
    this.f.set(offset === STATE.CC_OP ? this.#flags.op : this.#flags.carryIn);
  }

  override lazyFlags(kind: number, size: Size, result: Local, source: Local | null): void {
    super.lazyFlags(kind, size, result, source);
    this.#flags.known = this.#isUnconditional ? ccOp(kind, size) : undefined;
  }

  override explicitFlags(bits: Local): void {
    super.explicitFlags(bits);
    this.#flags.known = this.#isUnconditional ? CC.EXPLICIT : undefined;
  }

  override flags(): FunctionBuilder {
    this.#flags.all();
    return this.f;
  }

  override carry(): FunctionBuilder {
    this.#flags.carry();
    return this.f;
  }

  override condition(n: number): void {
    this.#flags.condition(n);
  }

  override callHelper(number: () => void): FunctionBuilder {
    this.#storeState();
    this.#temporaries.spill();
    super.callHelper(number);
    this.#flags.known = undefined;
    this.#known.forget();
    this.#loadState();
    this.#temporaries.reload();
    return this.f;
  }

  /** The interpreter does the record. */
  override fallBack(): void {
    this.leave(EXIT.CONTINUE, this.#at);
  }

  override fallBackAndEnd(): void {
    this.fallBack();
  }

  override countDown(): void {
    const count = this.#field('c');
    if (count !== 0) this.f.get(this.#budget).i32(count).op('i32.sub').set(this.#budget);
  }

  override takeDirect(): void {
    this.#branch(this.#at, this.#high);
  }

  override takeIndirect(): void {
    this.#goIndirect();
    this.leaveIndirect();
  }

  /**
   * The interpreter does accesses that the TLB does not have, as it may have to go on with other code after them. *Measured*: with calls in
   * their loops, regions kept nothing in registers.
   */
  protected override slowLoad(): void {
    this.fallBack();
  }

  protected override slowStore(): void {
    this.fallBack();
  }

  protected override slowLocked(): void {
    this.fallBack();
  }

  protected override lookup(sizeBytes: number, write: boolean, found: Label): void {
    this.#known.lookup(this.#pointer, sizeBytes, write, { address: this.s.x0, place: this.s.y1, found });
    super.lookup(sizeBytes, write, found);
  }

  protected override afterHit(): void {
    this.#known.learn(this.#pointer, this.s.y0);
  }

  #loadState(): void {
    this.#flags.load();
    for (let n = 0; n < REGISTERS; n++) {
      if ((this.#used >> n) & 1)
        this.f
          .i32(0)
          .mem('i64.load', STATE.GPR + 8 * n)
          .set(this.#registers[n] as Local);
    }
  }

  #storeState(): void {
    this.#flags.store();
    for (let n = 0; n < REGISTERS; n++) {
      if ((this.#written >> n) & 1)
        this.f
          .i32(0)
          .get(this.#registers[n] as Local)
          .mem('i64.store', STATE.GPR + 8 * n);
    }
  }
}
