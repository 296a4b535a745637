/** For tests, fuzz targets and benches: random declarations with values, and encoding without a socket. */
import { Fd } from '#sys/fd.ts';
import { arrayUpTo, fixedArray, optional, struct, union } from './composites.ts';
import {
  decodeMessage,
  encodeMessage,
  HEADER_SIZE_BYTES,
  MessageReader,
  type MessageType,
  MessageWriter,
} from './message-type.ts';
import { bool, bytesUpTo, descriptor, fixedBytes, textUpTo, u8, u16, u32, u64, u64AsNumber, unit } from './scalars.ts';

/** Where random declarations and values come from: fast-check's or the fuzzer's numbers. */
export interface Choices {
  /** 0 to `limit` - 1. */
  below(limit: number): number;
  /** u64. */
  word(): bigint;
}

/** A declaration with a maker of values for it. */
export interface Sample {
  readonly type: MessageType<unknown>;
  /** `fd` opens a descriptor for the value. */
  value(choices: Choices, fd: () => Fd): unknown;
}

/** A declared object with some fields, as the messages of a socket are. */
export function randomMessage(choices: Choices): Sample & { readonly type: MessageType<object> } {
  const sample = choices.below(2) === 0 ? randomStruct(choices, 3) : randomUnion(choices, 3);
  return sample as Sample & { readonly type: MessageType<object> };
}

type Maker = (choices: Choices, depth: number) => Sample;

const number = (type: MessageType<number>, bits: bigint): Sample => ({
  type: type as MessageType<unknown>,
  value: (choices) => Number(BigInt.asUintN(Number(bits), choices.word())),
});

const LEAVES: readonly Maker[] = [
  () => number(u8, 8n),
  () => number(u16, 16n),
  () => number(u32, 32n),
  () => number(u64AsNumber, 53n),
  () => ({ type: u64, value: (choices) => choices.word() }),
  () => ({ type: bool, value: (choices) => choices.below(2) === 1 }),
  () => ({ type: unit as MessageType<unknown>, value: () => undefined }),
  () => ({ type: descriptor, value: (_choices, fd) => fd() }),
  (declared) => {
    const max = declared.below(300);
    return { type: bytesUpTo(max), value: (choices) => randomBytes(choices, choices.below(max + 1)) };
  },
  (declared) => {
    const length = declared.below(20);
    return { type: fixedBytes(length), value: (choices) => randomBytes(choices, length) };
  },
  (declared) => {
    const max = 4 * declared.below(100);
    return { type: textUpTo(max), value: (choices) => randomText(choices, choices.below(max / 4 + 1)) };
  },
];

const BRANCHES: readonly Maker[] = [
  randomStruct,
  randomUnion,
  (declared, depth) => {
    const element = randomType(declared, depth - 1);
    const length = declared.below(3);
    return {
      type: fixedArray(element.type, length),
      value: (choices, fd) => Array.from({ length }, () => element.value(choices, fd)),
    };
  },
  (declared, depth) => {
    const element = randomType(declared, depth - 1);
    const max = declared.below(4);
    return {
      type: arrayUpTo(element.type, max),
      value: (choices, fd) => Array.from({ length: choices.below(max + 1) }, () => element.value(choices, fd)),
    };
  },
  (declared, depth) => {
    const inner = randomType(declared, depth - 1);
    if (inner.type.hasUndefined) return inner;
    return {
      type: optional(inner.type as MessageType<NonNullable<unknown>>),
      value: (choices, fd) => (choices.below(2) === 0 ? undefined : inner.value(choices, fd)),
    };
  },
];

function pick<T>(choices: Choices, from: readonly T[]): T {
  return from[choices.below(from.length)] as T;
}

function randomType(choices: Choices, depth: number): Sample {
  return pick(choices, depth > 0 ? [...LEAVES, ...BRANCHES] : LEAVES)(choices, depth);
}

/** Named fields, each with a sample. */
function randomFields(choices: Choices, depth: number): [string, Sample][] {
  return Array.from({ length: choices.below(5) }, (_, i) => [`f${i}`, randomType(choices, depth - 1)]);
}

function fieldValues(fields: readonly [string, Sample][], choices: Choices, fd: () => Fd): Record<string, unknown> {
  return Object.fromEntries(fields.map(([name, sample]) => [name, sample.value(choices, fd)]));
}

function randomStruct(declared: Choices, depth: number): Sample {
  const fields = randomFields(declared, depth);
  const type = struct(Object.fromEntries(fields.map(([name, sample]) => [name, sample.type])));
  return { type: type as MessageType<unknown>, value: (choices, fd) => fieldValues(fields, choices, fd) };
}

function randomUnion(declared: Choices, depth: number): Sample {
  const variants = Array.from({ length: 1 + declared.below(3) }, () => randomFields(declared, depth));
  const shapes = variants.map((fields, i) => {
    const shape = Object.fromEntries(fields.map(([name, sample]) => [name, sample.type]));
    return [`v${i}`, fields.length === 0 ? unit : struct(shape)] as const;
  });
  return {
    type: union(Object.fromEntries(shapes)) as MessageType<unknown>,
    value(choices, fd) {
      const chosen = choices.below(variants.length);
      return { kind: `v${chosen}`, ...fieldValues(variants[chosen] as [string, Sample][], choices, fd) };
    },
  };
}

function randomBytes(choices: Choices, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => choices.below(256));
}

/** Characters of one to four bytes in UTF-8. */
function randomText(choices: Choices, length: number): string {
  const CHARACTERS = ['a', '\0', 'é', '€', '\ufeff', '\u{1f600}'];
  return Array.from({ length }, () => pick(choices, CHARACTERS)).join('');
}

/** The bytes and descriptors that a socket would send. */
export function encode<T>(type: MessageType<T>, value: T): { bytes: Uint8Array<ArrayBuffer>; fds: readonly Fd[] } {
  const writer = new MessageWriter(new Uint8Array(HEADER_SIZE_BYTES + type.maxBytes));
  const size = encodeMessage(type, writer, value);
  return { bytes: writer.bytes.slice(0, size), fds: [...writer.fds] };
}

/** The value that a socket would receive. `rawFds` need not be open. */
export function decode<T>(type: MessageType<T>, bytes: Uint8Array<ArrayBuffer>, rawFds: readonly number[] = []): T {
  const reader = new MessageReader(bytes, Int32Array.from(rawFds), (raw) => new Fd(raw));
  reader.start(bytes.length, rawFds.length);
  return decodeMessage(type, reader);
}
