/** What registers micro-operations read and write, found out by running each emitter once over a record of nothing. */
import { FunctionBuilder, type Label } from '#wasm/function-builder.ts';
import { GPR, RECORD, type Size, STATE } from '../layout.ts';
import { type AddressForm, Emit, type FloatFormat, INDEX_SCALE_SHIFT, type Slot } from '../uops/emit.ts';
import { scratch } from '../uops/parts.ts';
import { allUops, type Uop } from '../uops/registry.ts';

export const REGISTERS = 16;
/** Stands for what is no general register where memory is accessed through it. */
export const OTHER_POINTER = REGISTERS;

/** Fields of a record, as halves of it. */
const FIELD: Readonly<Record<Slot, number>> = { a: RECORD.A >> 1, b: RECORD.B >> 1, c: RECORD.C >> 1 };
const IMMEDIATE_HALVES = [RECORD.IMM_HIGH >> 1, (RECORD.IMM_HIGH >> 1) + 1] as const;

/** By field (half of a record), and registers that are always the same, as a set of bits. */
interface OperandUse {
  readonly fields: Set<number>;
  readonly written: Set<number>;
  registers: number;
  registersWritten: number;
  /** Whether it accesses memory, and whether at an address that its fields give. */
  accesses: boolean;
  addresses: boolean;
  /** Fields whose operands it reaches in memory, whatever they are; and whether it calls a helper and goes on. */
  readonly inMemory: Set<number>;
  calls: boolean;
}

const isRegister = (place: number): boolean => place >= STATE.GPR && place < STATE.GPR + 8 * REGISTERS;
const bitOf = (place: number): number => (isRegister(place) ? 1 << (place >> 3) : 0);

class Probe extends Emit {
  readonly use: OperandUse = {
    ...{ fields: new Set<number>(), written: new Set<number>(), registers: 0, registersWritten: 0 },
    ...{ accesses: false, addresses: false, inMemory: new Set<number>(), calls: false },
  };

  override read(slot: Slot, size: Size): FunctionBuilder {
    this.use.fields.add(FIELD[slot]);
    return super.read(slot, size);
  }

  override readSigned(slot: Slot, size: Size): FunctionBuilder {
    this.use.fields.add(FIELD[slot]);
    return super.readSigned(slot, size);
  }

  override write(slot: Slot, size: Size, value: () => void): void {
    this.use.fields.add(FIELD[slot]);
    this.use.written.add(FIELD[slot]);
    super.write(slot, size, value);
  }

  override place(slot: Slot): FunctionBuilder {
    this.use.inMemory.add(FIELD[slot]);
    return super.place(slot);
  }

  override readVector(slot: Slot): FunctionBuilder {
    return this.field(slot).simdMem('v128.load');
  }

  override writeVector(slot: Slot, value: () => void): void {
    this.field(slot);
    value();
    this.f.simdMem('v128.store');
  }

  override readNumber(slot: Slot, format: FloatFormat): FunctionBuilder {
    return this.field(slot).mem(`${format}.load`);
  }

  override writeNumber(slot: Slot, format: FloatFormat, value: () => void): void {
    this.field(slot);
    value();
    this.f.mem(`${format}.store`);
  }

  override callHelper(number: () => void): FunctionBuilder {
    this.use.calls = true;
    return super.callHelper(number);
  }

  override fallBack(): void {}

  override fallBackAndEnd(): void {}

  protected override lookup(sizeBytes: number, write: boolean, found: Label): void {
    this.use.accesses = true;
    super.lookup(sizeBytes, write, found);
  }

  override address(form: AddressForm): FunctionBuilder {
    this.use.addresses = true;
    if (form === 'bx') this.use.fields.add(FIELD.c);
    return super.address(form);
  }

  override readAtImmediate(half: 0 | 1, size: Size): FunctionBuilder {
    this.use.fields.add(IMMEDIATE_HALVES[half]);
    return super.readAtImmediate(half, size);
  }

  override readAt(offset: number, size: Size, signed = false): FunctionBuilder {
    this.use.registers |= bitOf(offset);
    return super.readAt(offset, size, signed);
  }

  override writeAt(offset: number, size: Size, value: () => void): void {
    this.#writes(offset);
    super.writeAt(offset, size, value);
  }

  override state64(offset: number): FunctionBuilder {
    this.use.registers |= bitOf(offset);
    return super.state64(offset);
  }

  override setState64(offset: number, value: () => void): void {
    this.#writes(offset);
    super.setState64(offset, value);
  }

  #writes(offset: number): void {
    this.use.registers |= bitOf(offset);
    this.use.registersWritten |= bitOf(offset);
  }
}

function probe(uop: Uop): OperandUse {
  const f = new FunctionBuilder(['i32'], ['i32']);
  const label = f.block();
  const routines = { flags: 0, carry: 0, condition: 0, helper: 0 };
  const accesses = { slowLoad: 0, slowLoadForWrite: 0, slowStore: 0, slowLocked: 0 };
  const budget = f.local('i32');
  const control = { budget, target: f.local('i32'), rip: f.local('i64'), direct: label, indirect: label, next: label };
  const options = {
    f,
    record: 0,
    tlb: f.local('i32'),
    scratch: scratch(f),
    routines,
    accesses,
    stop: () => f.op('return'),
  };
  const e = new Probe({ ...options, control: { ...control, enterRegion: () => undefined } });
  uop.emit(e);
  return e.use;
}

const uses: OperandUse[] = [];

function useOf(operation: number): OperandUse {
  uses[operation] ??= probe(allUops()[operation] as Uop);
  return uses[operation];
}

/** The general register that memory is accessed through from an operand's place, or OTHER_POINTER. */
export const pointerOf = (place: number): number => (isRegister(place) ? place >> 3 : OTHER_POINTER);

/** Calls `release` with the place of each operand that a record's micro-operation reaches in memory; `all` where it calls a helper. */
export function releaseOperands(
  halves: Uint16Array,
  record: number,
  release: (place: number) => void,
  all: () => void,
): void {
  const first = record >> 1;
  const use = useOf(halves[first] as number);
  for (const field of use.inMemory) release(halves[first + field] as number);
  if (use.calls) all();
}

/** What a record's micro-operation accesses memory through, which is the stack pointer where its fields give no address; -1 if it does not. */
export function pointerOfRecord(halves: Uint16Array, record: number): number {
  const first = record >> 1;
  const use = useOf(halves[first] as number);
  if (!use.accesses) return -1;
  return pointerOf(use.addresses ? (halves[first + FIELD.b] as number) : GPR.RSP);
}

/** General registers that a record's micro-operation uses, and those of them that it writes, each a set of bits. */
export function registersOf(halves: Uint16Array, record: number): readonly [used: number, written: number] {
  const first = record >> 1;
  const use = useOf(halves[first] as number);
  let [used, written] = [use.registers, use.registersWritten];
  for (const field of use.fields) {
    // An index register has its scale above.
    const place = (halves[first + field] as number) & (field === FIELD.c ? (1 << INDEX_SCALE_SHIFT) - 1 : 0xffff);
    used |= bitOf(place);
    if (use.written.has(field)) written |= bitOf(place);
  }
  return [used, written];
}
