import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseBlockOption } from './block-options.ts';

const plain = {
  path: 'disk',
  format: undefined,
  readOnly: false,
  root: false,
  sparse: true,
  blockSizeBytes: 512,
  id: '',
  lock: true,
};

describe('--block', () => {
  for (const [text, disk] of [
    ['disk', plain],
    ['path=disk', plain],
    ['disk,format=qcow2', { ...plain, format: 'qcow2' }],
    ['disk,ro', { ...plain, readOnly: true }],
    ['disk,ro=false,root', { ...plain, root: true }],
    ['path="a,b",sparse=false,lock=false', { ...plain, path: 'a,b', sparse: false, lock: false }],
    ['disk,block-size=4096,id=serial-1', { ...plain, blockSizeBytes: 4096, id: 'serial-1' }],
  ] as const) {
    test(`${text} is understood`, () => {
      assert.deepEqual(parseBlockOption(text), { disk, problems: [] });
    });
  }

  for (const [text, problem] of [
    ['', 'is empty'],
    ['ro', 'path=… is missing'],
    ['path=', 'path="": needs a value'],
    ['disk,format=vmdk', 'format="vmdk": must be one of raw, qcow2'],
    ['disk,ro=yes', 'ro="yes": must be true or false'],
    ['disk,block-size=513', 'block-size="513": must be one of 512, 1024, 2048, 4096'],
    [
      'disk,id=an-identifier-that-is-too-long',
      'id="an-identifier-that-is-too-long": must be at most 20 printable ASCII characters',
    ],
    ['disk,direct', 'unknown key "direct"; the keys are path, format, ro, root, sparse, block-size, id, lock'],
    ['disk,ro,ro', 'key ro is given twice'],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseBlockOption(text), { problems: [problem] });
    });
  }
});
