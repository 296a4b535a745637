/**
 * C structures declared once, little endian: size, offsets, codec and in-place accessors follow from the declaration.
 *
 *   const Region = struct({ slot: u32, flags: u32, guestAddress: u64, sizeBytes: u64AsNumber });
 *   Region.size; Region.fields.flags.offset; Region.fields.slot.get(view, base); Region.at(view, base).flags = 1;
 */
import { assert } from './assert.ts';
import { alignUp } from './bits.ts';

/** How one value lies in memory. `offset` arguments are absolute positions in the view. */
export interface FieldType<T> {
  readonly size: number;
  readonly alignment: number;
  get(view: DataView, offset: number): T;
  set(view: DataView, offset: number, value: T): void;
}

/** A field at its place in a structure. `base` is where the structure begins in the view. */
export interface Field<T> {
  readonly offset: number;
  readonly size: number;
  get(view: DataView, base: number): T;
  set(view: DataView, base: number, value: T): void;
}

type Shape = Readonly<Record<string, FieldType<unknown>>>;
type ValueOf<F> = F extends FieldType<infer T> ? T : never;
/** The values of a structure: of plain objects that are encoded and decoded, and of accessors in place. */
export type Values<S extends Shape> = { -readonly [K in keyof S]: ValueOf<S[K]> };
/** The plain object that a structure layout encodes and decodes. */
export type StructValues<L> = L extends StructLayout<infer S> ? Values<S> : never;

export interface StructLayout<S extends Shape> extends FieldType<Values<S>> {
  readonly fields: { readonly [K in keyof S]: Field<ValueOf<S[K]>> };
  /** An object whose properties read and write `view` in place. Throws RangeError when the view is too short. */
  at(view: DataView, base?: number): Values<S>;
  /** The structure's bytes; padding and absent fields are zero. */
  encode(values: Partial<Values<S>>): Uint8Array<ArrayBuffer>;
  /** Copies every field out. Throws RangeError when the view is too short. */
  decode(view: DataView, base?: number): Values<S>;
}

/** The integers: each is the field type of its C namesake. */
export const u8: FieldType<number> = {
  size: 1,
  alignment: 1,
  get: (view, offset) => view.getUint8(offset),
  set: (view, offset, value) => view.setUint8(offset, value),
};
export const u16: FieldType<number> = {
  size: 2,
  alignment: 2,
  get: (view, offset) => view.getUint16(offset, true),
  set: (view, offset, value) => view.setUint16(offset, value, true),
};
export const u32: FieldType<number> = {
  size: 4,
  alignment: 4,
  get: (view, offset) => view.getUint32(offset, true),
  set: (view, offset, value) => view.setUint32(offset, value, true),
};
export const i32: FieldType<number> = {
  size: 4,
  alignment: 4,
  get: (view, offset) => view.getInt32(offset, true),
  set: (view, offset, value) => view.setInt32(offset, value, true),
};
export const u64: FieldType<bigint> = {
  size: 8,
  alignment: 8,
  get: (view, offset) => view.getBigUint64(offset, true),
  set: (view, offset, value) => view.setBigUint64(offset, value, true),
};
export const i64: FieldType<bigint> = {
  size: 8,
  alignment: 8,
  get: (view, offset) => view.getBigInt64(offset, true),
  set: (view, offset, value) => view.setBigInt64(offset, value, true),
};

/**
 * An unsigned 64-bit integer as a number, without a BigInt. A value of 2^53 or more reads as the nearest double, which is
 * also at least 2^53, so that a bounds check refuses it; writing one is a programmer error.
 */
export const u64AsNumber: FieldType<number> = {
  size: 8,
  alignment: 8,
  get: (view, offset) => view.getUint32(offset + 4, true) * 2 ** 32 + view.getUint32(offset, true),
  set: (view, offset, value) => {
    assert(Number.isSafeInteger(value) && value >= 0, 'not a 64-bit field value that a number holds exactly');
    view.setUint32(offset, value % 2 ** 32, true);
    view.setUint32(offset + 4, Math.floor(value / 2 ** 32), true);
  },
};

/** A byte array `uint8_t x[length]`: reads as a view in place, is written from `length` or fewer bytes, zero filled. */
export function bytes(length: number): FieldType<Uint8Array> {
  return {
    size: length,
    alignment: 1,
    get: (view, offset) => new Uint8Array(view.buffer, view.byteOffset + offset, length),
    set: (view, offset, value) => {
      assert(value.length <= length, 'more bytes than the field holds');
      const target = new Uint8Array(view.buffer, view.byteOffset + offset, length);
      target.fill(0, value.length);
      target.set(value);
    },
  };
}

/** A C array of `length` elements: reads as a new array, is written from exactly `length` values. */
export function array<T>(element: FieldType<T>, length: number): FieldType<readonly T[]> {
  return {
    size: element.size * length,
    alignment: element.alignment,
    get: (view, offset) => Array.from({ length }, (_, index) => element.get(view, offset + index * element.size)),
    set: (view, offset, values) => {
      assert(values.length === length, 'as many values as the array has elements');
      values.forEach((value, index) => {
        element.set(view, offset + index * element.size, value);
      });
    },
  };
}

/** A DataView of exactly the bytes that `source` shows. */
export function viewOf(source: ArrayBufferView): DataView<ArrayBuffer> {
  return new DataView(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength);
}

/** Places fields as a C compiler does, or back to back when `packed` (`__attribute__((packed))`). */
function place(shape: Shape, packed: boolean) {
  let end = 0;
  let alignment = 1;
  const fields: Record<string, Field<unknown>> = {};
  for (const [name, type] of Object.entries(shape)) {
    const offset = packed ? end : alignUp(end, type.alignment);
    if (!packed) alignment = Math.max(alignment, type.alignment);
    fields[name] = {
      offset,
      size: type.size,
      get: (view, base) => type.get(view, base + offset),
      set: (view, base, value) => type.set(view, base + offset, value),
    };
    end = offset + type.size;
  }
  return { fields, alignment, size: alignUp(end, alignment) };
}

/** Declares a structure. The order of the keys is the order in memory. */
export function struct<S extends Shape>(shape: S, options: { packed?: boolean } = {}): StructLayout<S> {
  const { fields, alignment, size } = place(shape, options.packed ?? false);
  const entries = Object.entries(fields);

  class Accessor {
    readonly view: DataView;
    readonly base: number;
    constructor(view: DataView, base: number) {
      if (base < 0 || base + size > view.byteLength) throw new RangeError('structure lies outside of its view');
      this.view = view;
      this.base = base;
    }
  }
  for (const [name, field] of entries) {
    assert(name !== 'view' && name !== 'base', 'a field must not be named view or base');
    Object.defineProperty(Accessor.prototype, name, {
      enumerable: true,
      get(this: Accessor) {
        return field.get(this.view, this.base);
      },
      set(this: Accessor, value: unknown) {
        field.set(this.view, this.base, value);
      },
    });
  }

  const at = (view: DataView, base = 0) => new Accessor(view, base) as unknown as Values<S>;
  const set = (view: DataView, base: number, values: Partial<Values<S>>) => {
    const source = values as Record<string, unknown>;
    for (const [name, field] of entries) {
      const value = source[name];
      if (value !== undefined) field.set(view, base, value);
    }
  };
  return {
    size,
    alignment,
    fields: fields as unknown as StructLayout<S>['fields'],
    at,
    get: at,
    set,
    encode(values) {
      const target = new Uint8Array(size);
      set(viewOf(target), 0, values);
      return target;
    },
    decode(view, base = 0) {
      if (base < 0 || base + size > view.byteLength) throw new RangeError('structure lies outside of its view');
      return Object.fromEntries(entries.map(([name, field]) => [name, field.get(view, base)])) as Values<S>;
    },
  };
}
