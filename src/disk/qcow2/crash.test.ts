/** Cuts the power at every write: what was flushed is there, and no table refers to a cluster that is not counted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestBuffer } from './testing/buffer.ts';
import { checkImage } from './testing/check-image.ts';
import { type CrashShape, crashed, GROWN, type Mark, record, SECTOR, SECTORS, tagOf } from './testing/crash.ts';
import { seeded } from './testing/scenario.ts';

/** Crashes before a barrier, where most can be lost, and at any other point; each loses other writes. */
const CRASHES_BEFORE_SYNC = 12;
const CRASHES = 2;

function crashEverywhere(shape: CrashShape, seed: number): number {
  const random = seeded(seed + 1000);
  const { start, events, marks, open } = record(shape, seed);
  using buffer = new RequestBuffer(SECTORS * SECTOR);
  let crashes = 0;
  for (let cut = 0; cut <= events.length; cut++) {
    const mark = marks.findLast(({ at }) => at <= cut) as Mark;
    const turns = events[cut] === 'sync' ? CRASHES_BEFORE_SYNC : CRASHES;
    for (let turn = 0; turn < turns; turn++) {
      const image = crashed(start, events.slice(0, cut), random);
      assert.deepEqual(checkImage(image.content).errors, [], `cut at ${cut}`);
      using disk = open(image);
      assert.ok([SECTORS * SECTOR, GROWN].includes(disk.lengthBytes));
      const bytes = buffer.read(disk, 0, SECTORS * SECTOR);
      for (let at = 0; at < SECTORS; at++) {
        const tag = tagOf(bytes.subarray(at * SECTOR));
        assert.ok(mark.values[at]?.includes(tag), `cut at ${cut}: sector ${at} reads as ${tag}`);
      }
      crashes += 1;
    }
  }
  return crashes;
}

const sizeBytes = SECTORS * SECTOR;
for (const [name, shape] of [
  ['small clusters', { sizeBytes, clusterBits: 9 }],
  ['small clusters and refcount blocks', { sizeBytes, clusterBits: 9, refcountOrder: 6 }],
  ['a refcount table that grows', { sizeBytes, clusterBits: 9, refcountOrder: 6, fileBytes: 4080 * 512 }],
  ['clusters of 4 KiB', { sizeBytes, clusterBits: 12 }],
  ['no holes', { sizeBytes, clusterBits: 12, withoutHoles: true }],
  ['no holes, small clusters', { sizeBytes, clusterBits: 9, withoutHoles: true }],
  ['version 2', { sizeBytes, clusterBits: 12, version: 2 }],
  ['on another disk', { sizeBytes, clusterBits: 12, backingBytes: sizeBytes }],
] as const satisfies readonly (readonly [string, CrashShape])[]) {
  test(`a crash at any point keeps what was flushed: ${name}`, () => {
    // With seed 2 a table of L2 takes a cluster that had data.
    for (const seed of [1, 2]) assert.ok(crashEverywhere(shape, seed) > 250);
  });
}
