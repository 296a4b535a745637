import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ByteWriter } from './byte-writer.ts';
import { ModuleBuilder } from './module-builder.ts';

function unsignedLeb(value: number): number[] {
  const writer = new ByteWriter();
  writer.unsigned(value);
  return [...writer.view];
}

function signedLeb(value: bigint): number[] {
  const writer = new ByteWriter();
  writer.signed64(value);
  return [...writer.view];
}

test('unsigned LEB128 has the encodings of the specification at each length change', () => {
  assert.deepEqual(unsignedLeb(0), [0]);
  assert.deepEqual(unsignedLeb(127), [0x7f]);
  assert.deepEqual(unsignedLeb(128), [0x80, 0x01]);
  assert.deepEqual(unsignedLeb(624485), [0xe5, 0x8e, 0x26]);
  assert.deepEqual(unsignedLeb(0xffffffff), [0xff, 0xff, 0xff, 0xff, 0x0f]);
});

test('signed LEB128 keeps the sign bit of its last byte', () => {
  assert.deepEqual(signedLeb(-1n), [0x7f]);
  assert.deepEqual(signedLeb(63n), [0x3f]);
  assert.deepEqual(signedLeb(64n), [0xc0, 0x00]);
  assert.deepEqual(signedLeb(-123456n), [0xc0, 0xbb, 0x78]);
});

test('a module with an import, a loop, memory and a table runs', () => {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const report = module.importFunction('env', 'report', ['i32'], []);
  const double = module.define(['i32'], ['i32']);
  double.body.get(0).i32(2).op('i32.mul');
  const sum = module.define(['i32'], ['i64']);
  const f = sum.body;
  const total = f.local('i64');
  const exit = f.block();
  const again = f.loop();
  f.get(0).op('i32.eqz').brIf(exit);
  f.get(total)
    .get(0)
    .i32(0)
    .callIndirect(module.type(['i32'], ['i32']))
    .op('i64.extend_i32_u')
    .op('i64.add')
    .set(total);
  f.get(0).i32(1).op('i32.sub').set(0).br(again);
  f.end().end();
  f.i32(8).get(total).mem('i64.store');
  f.i32(8).mem('i32.load').call(report);
  f.get(total);
  module.table([double.index]);
  module.export('sum', sum.index);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const reported: number[] = [];
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), {
    env: { memory, report: (value: number) => reported.push(value) },
  });
  const exported = instance.exports['sum'] as (n: number) => bigint;
  assert.equal(exported(10), 110n);
  assert.deepEqual(reported, [110]);
});

test('an unbalanced function is refused before it is encoded', () => {
  const module = new ModuleBuilder();
  const { body } = module.define([], []);
  body.block();
  assert.throws(() => module.encode(), /1 blocks are still open/);
});

test('an atomic operation runs on a memory that is not shared, and traps where it is not aligned', () => {
  const module = new ModuleBuilder();
  module.importMemory('env', 'memory', 1);
  const { index, body } = module.define(['i32'], ['i64']);
  body.get(0).i64(5n).atomic('i64.atomic.rmw16.add_u').fence();
  module.export('add', index);
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), { env: { memory } });
  const add = exports['add'] as (at: number) => bigint;
  assert.equal(add(2), 0n);
  assert.equal(add(2), 5n);
  assert.throws(() => add(3), { name: 'RuntimeError' });
});
