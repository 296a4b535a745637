import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseDiskOption } from './block-options.ts';

const plain = {
  option: '--block',
  path: 'disk',
  format: undefined,
  readOnly: false,
  root: false,
  sparse: true,
  blockSizeBytes: 512,
  id: '',
  lock: true,
  queueCount: 1,
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
    ['disk,num-queues=16', { ...plain, queueCount: 16 }],
  ] as const) {
    test(`${text} is understood`, () => {
      assert.deepEqual(parseDiskOption('--block', text), { disk, problems: [] });
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
    [
      'disk,direct',
      'unknown key "direct"; the keys are path, format, sparse, ro, root, block-size, id, lock, num-queues',
    ],
    ['disk,ro,ro', 'key ro is given twice'],
    ['disk,num-queues=0', 'num-queues="0": must be 1 to 16'],
    ['disk,num-queues=17', 'num-queues="17": must be 1 to 16'],
    ['disk,num-queues', 'num-queues: must be 1 to 16'],
    [
      'disk,block_size=512',
      'unknown key "block_size"; the keys are path, format, sparse, ro, root, block-size, id, lock, num-queues',
    ],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseDiskOption('--block', text), { problems: [problem] });
    });
  }
});

describe("crosvm's older options of disks", () => {
  for (const [option, readOnly, root] of [
    ['--disk', true, false],
    ['--rwdisk', false, false],
    ['--root', true, true],
    ['--rwroot', false, true],
  ] as const) {
    test(`${option} says in its name what --block has keys for`, () => {
      const disk = { ...plain, option, readOnly, root, sparse: false, blockSizeBytes: 4096 };
      assert.deepEqual(parseDiskOption(option, 'disk,sparse=false,block_size=4096'), { disk, problems: [] });
      const problems = ['unknown key "ro"; the keys are path, format, sparse, block_size'];
      assert.deepEqual(parseDiskOption(option, 'disk,ro'), { problems });
    });
  }
});
