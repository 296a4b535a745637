import { ByteWriter } from './byte-writer.ts';
import {
  ATOMIC,
  type AtomicOp,
  MEMORY,
  type MemoryOp,
  PLAIN,
  type PlainOp,
  SIMD,
  SIMD_LANE,
  SIMD_MEMORY,
  type SimdLaneOp,
  type SimdMemoryOp,
  type SimdOp,
  VALUE_TYPE,
  type ValueType,
} from './opcodes.ts';

/** A handle on an open block: `br` computes the relative depth from it. */
export interface Label {
  readonly depth: number;
}

/** An index of a local variable. */
export type Local = number;

const VOID_BLOCK = 0x40;

/**
 * Writes the body of one function. Control structures are tracked, so that a branch names its label and not a depth that
 * changes with every enclosing block. A call that would leave the structure unbalanced asserts.
 */
export class FunctionBuilder {
  readonly #code = new ByteWriter();
  readonly #locals: ValueType[] = [];
  readonly parameters: readonly ValueType[];
  readonly results: readonly ValueType[];
  #depth = 0;

  constructor(parameters: readonly ValueType[], results: readonly ValueType[]) {
    this.parameters = parameters;
    this.results = results;
  }

  /** How many blocks are open. */
  get depth(): number {
    return this.#depth;
  }

  local(type: ValueType): Local {
    this.#locals.push(type);
    return this.parameters.length + this.#locals.length - 1;
  }

  op(name: PlainOp): this {
    this.#code.byte(PLAIN[name]);
    return this;
  }

  /** Several plain instructions in a row. */
  ops(...names: readonly PlainOp[]): this {
    for (const name of names) this.#code.byte(PLAIN[name]);
    return this;
  }

  /** A load or store; the address (and for a store the value) is on the stack. Alignment is given as 1 byte: only a hint. */
  mem(name: MemoryOp, offset = 0): this {
    this.#code.byte(MEMORY[name]);
    this.#code.unsigned(0);
    this.#code.unsigned(offset);
    return this;
  }

  simdMem(name: SimdMemoryOp, offset = 0): this {
    this.#code.byte(0xfd);
    this.#code.unsigned(SIMD_MEMORY[name]);
    this.#code.unsigned(0);
    this.#code.unsigned(offset);
    return this;
  }

  /** A read-modify-write; the address and operands are on the stack. An address that is not a multiple of the access's size traps. */
  atomic(name: AtomicOp, offset = 0): this {
    this.#code.byte(0xfe);
    this.#code.unsigned(ATOMIC[name]);
    this.#code.unsigned(alignmentOf(name));
    this.#code.unsigned(offset);
    return this;
  }

  /** No load or store after it comes before any that stands before it. */
  fence(): this {
    this.#code.bytes([0xfe, 0x03, 0]);
    return this;
  }

  simd(name: SimdOp): this {
    this.#code.byte(0xfd);
    this.#code.unsigned(SIMD[name]);
    return this;
  }

  simdLane(name: SimdLaneOp, lane: number): this {
    this.#code.byte(0xfd);
    this.#code.unsigned(SIMD_LANE[name]);
    this.#code.byte(lane);
    return this;
  }

  /** i8x16.shuffle: 16 lane numbers, 0–15 from the first operand and 16–31 from the second. */
  shuffle(lanes: readonly number[]): this {
    if (lanes.length !== 16) throw new Error('a shuffle takes 16 lanes');
    this.#code.byte(0xfd);
    this.#code.unsigned(0x0d);
    this.#code.bytes(lanes);
    return this;
  }

  v128(bytes: readonly number[]): this {
    if (bytes.length !== 16) throw new Error('a v128 constant takes 16 bytes');
    this.#code.byte(0xfd);
    this.#code.unsigned(0x0c);
    this.#code.bytes(bytes);
    return this;
  }

  i32(value: number): this {
    this.#code.byte(0x41);
    this.#code.signed32(value);
    return this;
  }

  i64(value: bigint): this {
    this.#code.byte(0x42);
    this.#code.signed64(value);
    return this;
  }

  f32(value: number): this {
    this.#code.byte(0x43);
    this.#code.bytes(new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  f64(value: number): this {
    this.#code.byte(0x44);
    this.#code.bytes(new Uint8Array(Float64Array.of(value).buffer));
    return this;
  }

  get(local: Local): this {
    return this.#index(0x20, local);
  }

  set(local: Local): this {
    return this.#index(0x21, local);
  }

  tee(local: Local): this {
    return this.#index(0x22, local);
  }

  call(functionIndex: number): this {
    return this.#index(0x10, functionIndex);
  }

  callIndirect(typeIndex: number, table = 0): this {
    this.#index(0x11, typeIndex);
    this.#code.unsigned(table);
    return this;
  }

  memoryCopy(): this {
    this.#code.bytes([0xfc, 0x0a, 0, 0]);
    return this;
  }

  memoryFill(): this {
    this.#code.bytes([0xfc, 0x0b, 0]);
    return this;
  }

  block(type?: ValueType): Label {
    return this.#open(0x02, type);
  }

  loop(type?: ValueType): Label {
    return this.#open(0x03, type);
  }

  if(type?: ValueType): Label {
    return this.#open(0x04, type);
  }

  else(): this {
    this.#code.byte(PLAIN.else);
    return this;
  }

  end(): this {
    if (this.#depth === 0) throw new Error('end without an open block');
    this.#depth--;
    this.#code.byte(PLAIN.end);
    return this;
  }

  br(label: Label): this {
    return this.#index(0x0c, this.#depth - label.depth);
  }

  brIf(label: Label): this {
    return this.#index(0x0d, this.#depth - label.depth);
  }

  brTable(labels: readonly Label[], fallback: Label): this {
    this.#code.byte(0x0e);
    this.#code.unsigned(labels.length);
    for (const label of labels) this.#code.unsigned(this.#depth - label.depth);
    this.#code.unsigned(this.#depth - fallback.depth);
    return this;
  }

  /** The body for the code section: local declarations, then the code. */
  encode(): ByteWriter {
    if (this.#depth !== 0) throw new Error(`${this.#depth} blocks are still open`);
    const body = new ByteWriter();
    body.unsigned(this.#locals.length);
    for (const type of this.#locals) {
      body.unsigned(1);
      body.byte(VALUE_TYPE[type]);
    }
    body.bytes(this.#code.view);
    body.byte(PLAIN.end);
    return body;
  }

  #open(opcode: number, type: ValueType | undefined): Label {
    this.#code.byte(opcode);
    this.#code.byte(type === undefined ? VOID_BLOCK : VALUE_TYPE[type]);
    this.#depth++;
    return { depth: this.#depth };
  }

  #index(opcode: number, index: number): this {
    this.#code.byte(opcode);
    this.#code.unsigned(index);
    return this;
  }
}

/** Of an atomic access, as a power of two: the only one that is valid. */
function alignmentOf(name: AtomicOp): number {
  const bits = /rmw(8|16|32)?\./.exec(name)?.[1];
  return bits === undefined ? 3 : Math.log2(Number(bits) / 8);
}
