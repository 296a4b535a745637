import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SETUP_DATA_TYPE, setupDataChain } from './setup-data.ts';

test('a chain without entries is refused', () => {
  assert.throws(() => setupDataChain([]));
});

test('entries are linked in order, each at a multiple of 8', () => {
  const chain = setupDataChain([
    { type: SETUP_DATA_TYPE.RNG_SEED, data: Uint8Array.of(1, 2, 3) },
    { type: SETUP_DATA_TYPE.DEVICE_TREE, data: Uint8Array.of(4) },
  ]);
  const view = new DataView(chain.bytes.buffer);
  assert.equal(chain.address, 0x20800);
  assert.equal(view.getBigUint64(0, true), 0x20818n);
  assert.equal(view.getUint32(8, true), 9);
  assert.equal(view.getUint32(12, true), 3);
  assert.deepEqual([...chain.bytes.subarray(16, 24)], [1, 2, 3, 0, 0, 0, 0, 0]);
  assert.equal(view.getBigUint64(24, true), 0n);
  assert.equal(view.getUint32(32, true), 2);
  assert.equal(view.getUint32(36, true), 1);
  assert.equal(view.getUint8(40), 4);
});

test('more data than the area holds is refused', () => {
  assert.throws(() => setupDataChain([{ type: SETUP_DATA_TYPE.RNG_SEED, data: new Uint8Array(0x7e000) }]));
});
