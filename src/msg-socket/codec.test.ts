import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Fd } from '#sys/fd.ts';
import { MESSAGE_FDS_MAX } from '#sys/message.ts';
import { decodeBytes, encodeBytes } from './bytes.ts';
import { arrayUpTo, converted, fixedArray, optional, struct, union } from './composites.ts';
import { MsgError } from './errors.ts';
import { HEADER_SIZE_BYTES, MESSAGE_BYTES_MAX, type MessageType, type ValueOf } from './message-type.ts';
import {
  bool,
  bytesUpTo,
  descriptor,
  fitText,
  fixedBytes,
  nothing,
  oneOf,
  textUpTo,
  u8,
  u16,
  u32,
  u64,
  u64AsNumber,
  unit,
} from './scalars.ts';
import { type Choices, decode, encode, randomMessage } from './testing.ts';

/** fast-check's numbers as choices, which small numbers would make poor. */
const numbersOf32Bits = fc.noBias(fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const choices = fc.infiniteStream(numbersOf32Bits).map((numbers): Choices => {
  const next = (): number => numbers.next().value ?? 0;
  return {
    below: (limit) => Math.floor((next() / 2 ** 32) * limit),
    word: () => (BigInt(next()) << 32n) | BigInt(next()),
  };
});

/** Numbers that are no descriptors of this process; nothing here opens or closes. */
function fakeFds(): () => Fd {
  let next = 1_000_000;
  return () => new Fd(next++);
}

/** A value with what an absent optional field reads as, and with descriptors as their numbers. */
function plain(value: unknown): unknown {
  if (value instanceof Fd) return `fd ${value.fd}`;
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
}

const assertion = { name: 'AssertionError' };
const header = (type: MessageType<unknown>): number[] =>
  [0, 8, 16, 24].map((shift) => (type.signature >>> shift) & 0xff);
const packet = (type: MessageType<unknown>, ...bytes: number[]) => Uint8Array.from([...header(type), ...bytes]);

describe('any declaration', () => {
  test('a value is decoded as it was encoded, within the stated maximum', () => {
    fc.assert(
      fc.property(choices, (random) => {
        const { type, value: make } = randomMessage(random);
        const value = make(random, fakeFds()) as object;
        const { bytes, fds } = encode(type, value);
        assert.ok(bytes.length <= HEADER_SIZE_BYTES + type.maxBytes);
        assert.ok(fds.length <= type.maxFds);
        const decoded = decode(
          type,
          bytes,
          fds.map(({ fd }) => fd),
        );
        assert.deepEqual(plain(decoded), plain(value));
      }),
      { numRuns: 500 },
    );
  });

  test('any other bytes are a MsgError or a value', () => {
    fc.assert(
      fc.property(choices, fc.uint8Array({ maxLength: 64 }), fc.nat(4), (random, bytes, fdCount) => {
        const { type } = randomMessage(random);
        const raw = Array.from({ length: fdCount }, (_, i) => 1_000_000 + i);
        try {
          decode(type, packet(type, ...bytes), raw);
        } catch (error) {
          assert.ok(error instanceof MsgError, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  test('every beginning of a message is TOO_SHORT, and every message with more bytes TOO_LONG', () => {
    fc.assert(
      fc.property(choices, (random) => {
        const { type, value: make } = randomMessage(random);
        const { bytes, fds } = encode(type, make(random, fakeFds()) as object);
        const raw = fds.map(({ fd }) => fd);
        for (let length = 0; length < bytes.length; length++) {
          assert.throws(() => decode(type, bytes.slice(0, length), raw), { code: 'TOO_SHORT' });
        }
        assert.throws(() => decode(type, Uint8Array.from([...bytes, 0]), raw), { code: 'TOO_LONG' });
        assert.throws(() => decode(type, bytes, [...raw, 5]), { code: 'WRONG_DESCRIPTORS' });
      }),
    );
  });

  test('a structure can be read into an object of its type', () => {
    const Point = struct({ x: u32, y: u64AsNumber });
    const Line = struct({ from: Point, to: Point, name: textUpTo(8) });
    const { bytes } = encode(Line, { from: { x: 1, y: 2 }, to: { x: 3, y: 2 ** 50 }, name: 'line' });
    const target: ValueOf<typeof Line> = { from: { x: 0, y: 0 }, to: { x: 0, y: 0 }, name: '' };
    const { from } = target;
    assert.deepEqual(decode(Line, bytes), { from: { x: 1, y: 2 }, to: { x: 3, y: 2 ** 50 }, name: 'line' });
    const read: typeof Line.read = (input) => {
      Line.readInto(input, target);
      return target;
    };
    decode({ ...Line, read }, bytes);
    assert.equal(target.from, from);
    assert.deepEqual(target, decode(Line, bytes));
  });
});

describe('the wire', () => {
  test('fields follow each other, little endian, after the signature', () => {
    const type = struct({ a: u8, b: u16, c: u32, d: u64, e: bool });
    const { bytes } = encode(type, { a: 1, b: 0x0203, c: 0x04050607, d: 8n, e: true });
    assert.deepEqual([...bytes.subarray(4)], [1, 3, 2, 7, 6, 5, 4, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert.deepEqual([...bytes.subarray(0, 4)], header(type));
  });

  test('lengths take as few bytes as their maximum needs; descriptors take none', () => {
    const sizes = [bytesUpTo(255), bytesUpTo(256), bytesUpTo(60_000), textUpTo(3), arrayUpTo(u32, 2), descriptor];
    assert.deepEqual(
      sizes.map(({ maxBytes }) => maxBytes),
      [256, 258, 60_002, 4, 9, 0],
    );
    assert.equal(arrayUpTo(struct({ a: descriptor, b: descriptor }), 3).maxFds, 6);
  });

  test('a union is as large as its largest variant', () => {
    const type = union({ none: unit, fd: struct({ fd: descriptor }), word: struct({ value: u64 }) });
    assert.deepEqual([type.maxBytes, type.maxFds], [9, 1]);
    assert.deepEqual([...encode(type, { kind: 'word', value: 1n }).bytes.subarray(4)], [2, 1, 0, 0, 0, 0, 0, 0, 0]);
  });

  test('a message of another declaration is of the wrong kind', () => {
    const declarations: MessageType<object>[] = [
      struct({ a: u32 }),
      struct({ b: u32 }),
      struct({ a: u64 }),
      struct({ a: u64AsNumber }),
      struct({ a: fixedArray(u8, 4) }),
      struct({ a: arrayUpTo(u8, 4) }),
      struct({ a: arrayUpTo(u8, 5) }),
      struct({ a: optional(u32) }),
      union({ a: struct({ a: u32 }) }),
      union({ b: struct({ a: u32 }) }),
    ];
    assert.equal(new Set(declarations.map(({ signature }) => signature)).size, declarations.length);
    const { bytes } = encode(struct({ a: u32 }), { a: 1 });
    for (const other of declarations.slice(1)) assert.throws(() => decode(other, bytes), { code: 'WRONG_KIND' });
    assert.deepEqual(decode(struct({ a: u32 }), bytes), { a: 1 });
  });
});

describe('hostile values', () => {
  const cases: readonly [string, MessageType<unknown>, number[]][] = [
    ['a boolean of 2', bool, [2]],
    ['an optional flag of 255', optional(u8), [255, 0]],
    ['a variant that is none', union({ a: unit, b: unit }) as MessageType<unknown>, [2]],
    ['a length above the maximum', bytesUpTo(3), [4, 1, 2, 3, 4]],
    ['a count above the maximum', arrayUpTo(u8, 300), [45, 1]],
    ['a number of 2^53', u64AsNumber as MessageType<unknown>, [0, 0, 0, 0, 0, 0, 0x20, 0]],
    ['text that is not UTF-8', textUpTo(4), [2, 0xc3, 0x28]],
    ['half a surrogate pair in UTF-8', textUpTo(4), [3, 0xed, 0xa0, 0x80]],
  ];
  for (const [name, type, bytes] of cases) {
    test(`${name} is a BAD_VALUE`, () => {
      assert.throws(() => decode(type, packet(type, ...bytes)), { name: 'MsgError', code: 'BAD_VALUE' });
    });
  }

  test('a length beyond the bytes is TOO_SHORT', () => {
    const type = bytesUpTo(60_000);
    assert.throws(() => decode(type, packet(type, 0x60, 0xea, 1)), { code: 'TOO_SHORT' });
  });

  test('a value with more descriptors than came is refused', () => {
    const type = struct({ a: descriptor, b: descriptor });
    assert.throws(() => decode(type, packet(type), [5]), { code: 'WRONG_DESCRIPTORS' });
  });

  test('nothing is expected of a direction that is not used', () => {
    assert.throws(() => decode(nothing, packet(nothing)), { code: 'WRONG_KIND' });
  });
});

describe('programmer errors', () => {
  test('a type without an upper limit, or above the most that passes, is refused when it is declared', () => {
    const unbounded = { ...u8, maxBytes: Number.POSITIVE_INFINITY };
    const declarations: (() => unknown)[] = [
      () => bytesUpTo(Number.POSITIVE_INFINITY),
      () => textUpTo(Number.NaN),
      () => fixedBytes(-1),
      () => fixedBytes(undefined as unknown as number),
      () => arrayUpTo(u8, undefined as unknown as number),
      () => arrayUpTo(u8, 1.5),
      () => fixedArray(u8, Number.POSITIVE_INFINITY),
      () => fixedArray(unbounded, 1),
      () => struct({ a: unbounded }),
      () => union({ a: struct({ a: { ...u8, maxFds: Number.NaN } }) }),
      () => optional(unbounded),
      () => bytesUpTo(MESSAGE_BYTES_MAX),
      () => arrayUpTo(u64, MESSAGE_BYTES_MAX / 8),
      () => fixedArray(descriptor, MESSAGE_FDS_MAX + 1),
      () => union({}),
      // Present and undefined would be the same as absent.
      () => optional(unit as unknown as MessageType<number>),
      () => optional(optional(u8) as MessageType<number>),
    ];
    for (const declare of declarations) assert.throws(declare, assertion);
    fixedArray(descriptor, MESSAGE_FDS_MAX);
    fixedBytes(MESSAGE_BYTES_MAX);
  });

  test('a value that is not of its type is not sent', () => {
    const wrong: [MessageType<never>, unknown][] = [
      [u8 as MessageType<never>, 256],
      [u8 as MessageType<never>, -1],
      [u16 as MessageType<never>, 0.5],
      [u32 as MessageType<never>, 2 ** 32],
      [u64 as MessageType<never>, -1n],
      [u64AsNumber as MessageType<never>, 2 ** 53],
      [bool as MessageType<never>, 1],
      [fixedBytes(2) as MessageType<never>, Uint8Array.of(1)],
      [bytesUpTo(2) as MessageType<never>, new Uint8Array(3)],
      [textUpTo(2) as MessageType<never>, '€'],
      [textUpTo(9) as MessageType<never>, '\ud800'],
      [fixedArray(u8, 2) as MessageType<never>, [1]],
      [arrayUpTo(u8, 2) as MessageType<never>, [1, 2, 3]],
      [union({ a: unit }) as MessageType<never>, { kind: 'b' }],
      [nothing, {}],
    ];
    for (const [type, value] of wrong) assert.throws(() => encode(type, value as never), assertion);
  });

  test('a field is not named as what a variant has already', () => {
    assert.throws(() => union({ a: struct({ kind: u8 }) }), assertion);
  });
});

test('fitText cuts between characters and mends lone surrogates', () => {
  assert.equal(fitText('a€b', 3), 'a');
  assert.equal(fitText('a€b', 4), 'a€');
  assert.equal(fitText('a€b', 5), 'a€b');
  assert.equal(fitText('\u{1f600}!', 3), '');
  assert.equal(fitText('x\ud800', 9), 'x\ufffd');
});

test('TypeScript types follow from declarations', () => {
  const Command = union({ exit: unit, resize: struct({ sizeBytes: u64AsNumber, label: optional(textUpTo(4)) }) });
  const exit: ValueOf<typeof Command> = { kind: 'exit' };
  const resize: ValueOf<typeof Command> = { kind: 'resize', sizeBytes: 1 };
  // @ts-expect-error a field of another variant
  const wrong: ValueOf<typeof Command> = { kind: 'exit', sizeBytes: 1 };
  const sizeOf = (command: ValueOf<typeof Command>): number => (command.kind === 'resize' ? command.sizeBytes : 0);
  assert.deepEqual([exit, resize, wrong].map(sizeOf), [0, 1, 0]);
});

describe('one of stated values', () => {
  const type = oneOf(['red', 'green']);

  test('comes as it was sent, in a byte', () => {
    assert.deepEqual([type.maxBytes, decode(type, encode(type, 'green').bytes)], [1, 'green']);
  });

  test('another is not sent, and refused', () => {
    assert.throws(() => encode(type, 'blue' as 'red'), assertion);
    assert.throws(() => decode(type, packet(type, 2)), { name: 'MsgError', code: 'BAD_VALUE' });
  });

  test('has another signature than other values', () => {
    assert.notEqual(type.signature, oneOf(['red', 'blue']).signature);
  });
});

describe('a converted type', () => {
  const percent = converted(u8, {
    toWire: (fraction: number) => Math.round(fraction * 100),
    fromWire: (wire) => {
      if (wire > 100) throw new MsgError('BAD_VALUE', `${wire} percent`);
      return wire / 100;
    },
  });

  test('travels as the other type', () => {
    const { bytes } = encode(percent, 0.25);
    assert.deepEqual([...bytes], [...packet(u8, 25)]);
    assert.equal(decode(percent, bytes), 0.25);
  });

  test('may refuse what has come', () => {
    assert.throws(() => decode(percent, packet(u8, 101)), { name: 'MsgError', code: 'BAD_VALUE' });
  });
});

describe('a value as bytes of its own', () => {
  const type = struct({ name: textUpTo(5), size: u32 });

  test('comes as it was', () => {
    const bytes = encodeBytes(type, { name: 'disk', size: 7 });
    assert.deepEqual({ ...decodeBytes(type, bytes) }, { name: 'disk', size: 7 });
  });

  test('is refused as another type, and with more or fewer bytes', () => {
    const bytes = encodeBytes(type, { name: 'disk', size: 7 });
    assert.throws(() => decodeBytes(u32, bytes), { name: 'MsgError', code: 'WRONG_KIND' });
    assert.throws(() => decodeBytes(type, bytes.subarray(0, -1)), { name: 'MsgError', code: 'TOO_SHORT' });
    assert.throws(() => decodeBytes(type, Uint8Array.from([...bytes, 0])), { name: 'MsgError', code: 'TOO_LONG' });
    assert.throws(() => decodeBytes(type, new Uint8Array()), { name: 'MsgError', code: 'TOO_SHORT' });
  });

  test('has no descriptors', () => {
    assert.throws(() => encodeBytes(descriptor, fakeFds()()), assertion);
  });
});
