import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mistake } from './config.ts';
import { DISKS_MAX, type DiskConfig, diskMistakes } from './disk-config.ts';

const disk: DiskConfig = {
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

function lines(...disks: Partial<DiskConfig>[]): string[] {
  const judge = (option: string, path: string): Mistake[] =>
    path === 'disk' ? [] : [{ option, message: 'is missing' }];
  const all = disks.map((changes) => ({ ...disk, ...changes }));
  return diskMistakes(all, judge).map(({ option, message }) => `${option}: ${message}`);
}

test('disks that can be had make no mistakes', () => {
  assert.deepEqual(lines(), []);
  assert.deepEqual(lines({ root: true }, { queueCount: 16 }), []);
  assert.deepEqual(lines(...Array.from({ length: DISKS_MAX }, () => ({}))), []);
});

test('each mistake is told with the option that the user wrote', () => {
  assert.deepEqual(lines({ path: 'no', option: '--rwdisk' }), ['--rwdisk: is missing']);
  assert.deepEqual(lines({ queueCount: 17 }, { queueCount: 0 }), [
    '--block: 17 queues: must be 1 to 16',
    '--block: 0 queues: must be 1 to 16',
  ]);
  const many = Array.from(
    { length: DISKS_MAX + 2 },
    (_, index): Partial<DiskConfig> => ({
      option: index === DISKS_MAX ? '--disk' : '--block',
    }),
  );
  assert.deepEqual(lines(...many), ['--disk: at most 26 disks have names']);
});
