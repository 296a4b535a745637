/** Message types made of others: structures, unions, arrays, optional values. */
import { assert } from '#util/assert.ts';
import { isSize } from '#util/bits.ts';
import { MsgError } from './errors.ts';
import {
  define,
  type MessageReader,
  type MessageType,
  type MessageWriter,
  signatureOf,
  type ValueOf,
} from './message-type.ts';
import { lengthCodec, readBool, u8, type unit } from './scalars.ts';

type Shape = Readonly<Record<string, MessageType<unknown>>>;
type Simplify<T> = { [K in keyof T]: T[K] };
/** An object with a value for each field; those that may be undefined may be left out. */
export type Values<S extends Shape> = Simplify<
  { [K in keyof S as undefined extends ValueOf<S[K]> ? never : K]: ValueOf<S[K]> } & {
    [K in keyof S as undefined extends ValueOf<S[K]> ? K : never]?: ValueOf<S[K]>;
  }
>;

export interface StructType<S extends Shape> extends MessageType<Values<S>> {
  readonly fields: S;
  readInto(input: MessageReader, target: Values<S>): void;
}

type Variants = Readonly<Record<string, StructType<Shape> | typeof unit>>;
/** One of the variants: its fields, and its name as `kind`. */
export type UnionValue<V extends Variants> = {
  [K in keyof V & string]: Simplify<{ kind: K } & (V[K] extends StructType<infer S> ? Values<S> : unknown)>;
}[keyof V & string];

/** The fields' own part of a structure or variant. `constants` are properties that every value has. */
function fieldsCodec(shape: Shape, constants: Readonly<Record<string, string>>) {
  const names = Object.keys(shape);
  const types = Object.values(shape);
  for (const [name, type] of Object.entries(shape)) {
    assert(!Object.hasOwn(constants, name) && name !== '__proto__', 'a field name that is free');
    define(type);
  }
  // Values are copies of one object, so that all have one hidden class and engine code for them stays monomorphic.
  const template = { ...constants, ...Object.fromEntries(names.map((name) => [name, undefined as unknown])) };
  const readInto = (input: MessageReader, target: Record<string, unknown>) => {
    for (let i = 0; i < names.length; i++) {
      const type = types[i] as MessageType<unknown>;
      const name = names[i] as string;
      const old = target[name];
      if (type.readInto && typeof old === 'object') type.readInto(input, old);
      else target[name] = type.read(input);
    }
  };
  return {
    maxBytes: types.reduce((sum, type) => sum + type.maxBytes, 0),
    maxFds: types.reduce((sum, type) => sum + type.maxFds, 0),
    declaration: names.map((name, i) => `${name}:${types[i]?.signature}`).join(),
    write(out: MessageWriter, value: Readonly<Record<string, unknown>>): void {
      for (let i = 0; i < names.length; i++) (types[i] as MessageType<unknown>).write(out, value[names[i] as string]);
    },
    read(input: MessageReader): Record<string, unknown> {
      const value: Record<string, unknown> = { ...template };
      for (let i = 0; i < names.length; i++) {
        value[names[i] as string] = (types[i] as MessageType<unknown>).read(input);
      }
      return value;
    },
    readInto,
  };
}

/** A structure: an object with a value for each field. The order of the keys is that on the wire. */
export function struct<const S extends Shape>(fields: S): StructType<S> {
  const { declaration, ...codec } = fieldsCodec(fields, {});
  const type = { ...codec, fields, signature: signatureOf(`struct ${declaration}`) };
  define(type as MessageType<unknown>);
  return type as unknown as StructType<S>;
}

/**
 * A tagged union of up to 256 structures (or `unit`). A value has the variant's fields and its name as `kind`:
 *
 *   const Command = union({ exit: unit, resize: struct({ sizeBytes: u64AsNumber }) });
 *   const command: ValueOf<typeof Command> = { kind: 'resize', sizeBytes: 4096 };
 */
export function union<const V extends Variants>(variants: V): MessageType<UnionValue<V>> {
  const names = Object.keys(variants);
  assert(names.length > 0 && names.length <= 256, '1 to 256 variants');
  const codecs = Object.entries(variants).map(([name, variant]) =>
    fieldsCodec('fields' in variant ? variant.fields : {}, { kind: name }),
  );
  const tags = new Map(names.map((name, tag) => [name, tag]));
  const type = {
    maxBytes: 1 + Math.max(...codecs.map(({ maxBytes }) => maxBytes)),
    maxFds: Math.max(...codecs.map(({ maxFds }) => maxFds)),
    signature: signatureOf(`union ${names.map((name, tag) => `${name}{${codecs[tag]?.declaration}}`).join()}`),
    write(out: MessageWriter, value: { readonly kind: string }) {
      const tag = tags.get(value.kind);
      assert(tag !== undefined, 'a variant of the union');
      u8.write(out, tag);
      codecs[tag]?.write(out, value);
    },
    read(input: MessageReader) {
      const tag = u8.read(input);
      const codec = codecs[tag];
      if (!codec) throw new MsgError('BAD_VALUE', `a variant ${tag} where there are ${codecs.length}`);
      return codec.read(input);
    },
  };
  return define(type as unknown as MessageType<UnionValue<V>>);
}

/** Exactly `length` values. */
export function fixedArray<T>(element: MessageType<T>, length: number): MessageType<T[]> {
  assert(isSize(length), 'a stated length');
  return define({
    maxBytes: define(element).maxBytes * length,
    maxFds: element.maxFds * length,
    signature: signatureOf(`fixedArray ${length} ${element.signature}`),
    write(out, values) {
      assert(values.length === length, 'as many values as the array has elements');
      for (let i = 0; i < length; i++) element.write(out, values[i] as T);
    },
    read: (input) => readElements(element, input, length),
  });
}

/** Up to `max` values. */
export function arrayUpTo<T>(element: MessageType<T>, max: number): MessageType<T[]> {
  const length = lengthCodec(max);
  return define({
    maxBytes: length.sizeBytes + define(element).maxBytes * max,
    maxFds: element.maxFds * max,
    signature: signatureOf(`arrayUpTo ${max} ${element.signature}`),
    write(out, values) {
      assert(values.length <= max, 'no more values than the type says');
      length.write(out, values.length);
      for (let i = 0; i < values.length; i++) element.write(out, values[i] as T);
    },
    read: (input) => readElements(element, input, length.read(input)),
  });
}

function readElements<T>(element: MessageType<T>, input: MessageReader, count: number): T[] {
  const values: T[] = [];
  for (let i = 0; i < count; i++) values.push(element.read(input));
  return values;
}

/** A value or undefined; a structure's field of this type may be left out. */
export function optional<T extends NonNullable<unknown> | null>(type: MessageType<T>): MessageType<T | undefined> {
  assert(type.hasUndefined !== true, 'a type whose values are never undefined');
  return define<T | undefined>({
    maxBytes: 1 + define(type).maxBytes,
    maxFds: type.maxFds,
    signature: signatureOf(`optional ${type.signature}`),
    hasUndefined: true,
    write(out, value) {
      out.view.setUint8(out.at++, value === undefined ? 0 : 1);
      if (value !== undefined) type.write(out, value);
    },
    read: (input) => (readBool(input) ? type.read(input) : undefined),
  });
}

/**
 * Values that travel as those of another type: `toWire` makes what is sent of a value, and `fromWire` the value of what has come, or throws MsgError
 * for what is none. The wire has the other type's form and signature.
 */
export function converted<T, W>(
  type: MessageType<W>,
  { toWire, fromWire }: { readonly toWire: (value: T) => W; readonly fromWire: (wire: W) => T },
): MessageType<T> {
  const { maxBytes, maxFds, signature } = define(type);
  return define<T>({
    maxBytes,
    maxFds,
    signature,
    ...(type.hasUndefined !== undefined && { hasUndefined: type.hasUndefined }),
    write: (out, value) => type.write(out, toWire(value)),
    read: (input) => fromWire(type.read(input)),
  });
}
