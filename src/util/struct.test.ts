import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { array, bytes, i32, struct, u8, u16, u32, u64, u64AsNumber, viewOf } from './struct.ts';

const Sample = struct({ tag: u8, flags: u16, count: u32, small: u8, address: u64, size: u64AsNumber, name: bytes(3) });

test('fields lie where a C compiler puts them', () => {
  const offsets = Object.fromEntries(Object.entries(Sample.fields).map(([name, field]) => [name, field.offset]));
  assert.deepEqual(offsets, { tag: 0, flags: 2, count: 4, small: 8, address: 16, size: 24, name: 32 });
  assert.equal(Sample.size, 40);
  assert.equal(Sample.alignment, 8);
});

test('a packed structure has no padding', () => {
  const Packed = struct({ events: u32, data: u64, last: u8 }, { packed: true });
  assert.equal(Packed.fields.data.offset, 4);
  assert.equal(Packed.size, 13);
  assert.equal(Packed.alignment, 1);
});

test('nested structures and arrays keep their alignment', () => {
  const Inner = struct({ a: u8, b: u32 });
  const Outer = struct({ first: u8, inner: Inner, list: array(u16, 3), last: u64 });
  assert.deepEqual([Outer.fields.inner.offset, Outer.fields.list.offset, Outer.fields.last.offset], [4, 12, 24]);
  const encoded = Outer.encode({ inner: { a: 1, b: 2 }, list: [3, 4, 5] });
  const decoded = Outer.at(viewOf(encoded));
  assert.deepEqual([decoded.inner.a, decoded.inner.b, decoded.list], [1, 2, [3, 4, 5]]);
});

test('what is encoded is decoded', () => {
  const values = fc.record({
    tag: fc.nat(0xff),
    flags: fc.nat(0xffff),
    count: fc.nat(0xffff_ffff),
    small: fc.nat(0xff),
    address: fc.bigInt(0n, 2n ** 64n - 1n),
    size: fc.maxSafeNat(),
    name: fc.uint8Array({ minLength: 3, maxLength: 3 }),
  });
  fc.assert(
    fc.property(values, (value) => {
      const decoded = Sample.decode(viewOf(Sample.encode(value)));
      assert.deepEqual({ ...decoded, name: [...decoded.name] }, { ...value, name: [...value.name] });
    }),
  );
});

test('accessors write in place, little endian, at their base', () => {
  const view = new DataView(new ArrayBuffer(64));
  const sample = Sample.at(view, 8);
  sample.count = 0x01020304;
  sample.size = 2 ** 40 + 7;
  assert.deepEqual([...new Uint8Array(view.buffer, 12, 4)], [4, 3, 2, 1]);
  assert.equal(view.getBigUint64(32, true), 2n ** 40n + 7n);
  assert.equal(Sample.fields.size.get(view, 8), 2 ** 40 + 7);
});

test('a structure that leaves its view is refused', () => {
  const view = new DataView(new ArrayBuffer(47));
  for (const base of [8, -1]) {
    assert.throws(() => Sample.at(view, base), RangeError);
    assert.throws(() => Sample.decode(view, base), RangeError);
  }
});

test('a 64-bit value beyond 2^53 reads as a number that is no safe integer, and cannot be written', () => {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, 2n ** 64n - 1n, true);
  assert.equal(u64AsNumber.get(view, 0), 2 ** 64);
  for (const value of [2 ** 53, -1, 0.5, Number.NaN]) {
    assert.throws(() => u64AsNumber.set(view, 0, value), { name: 'AssertionError' });
  }
});

test('bytes are zero filled, and more than fit are a programmer error', () => {
  const view = new DataView(Uint8Array.of(9, 9, 9, 9).buffer);
  bytes(3).set(view, 0, Uint8Array.of(1));
  assert.deepEqual([...new Uint8Array(view.buffer)], [1, 0, 0, 9]);
  assert.throws(() => bytes(3).set(view, 0, new Uint8Array(4)), { name: 'AssertionError' });
});

test('signed integers keep their sign', () => {
  const view = new DataView(new ArrayBuffer(4));
  i32.set(view, 0, -5);
  assert.equal(i32.get(view, 0), -5);
});
