/** Cuts the power at every write: what was flushed is there, and no table refers to a cluster that is not counted. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RequestBuffer } from './testing/buffer.ts';
import { checkImage } from './testing/check-image.ts';
import { type FileEvent, MemoryImage } from './testing/memory-image.ts';
import { createScenario, type Shape, seeded } from './testing/scenario.ts';

const SECTOR = 512;
const SECTORS = 400;
const STEPS = 60;
const STEPS_OF_SMALL_CLUSTERS = 24;
/** Crashes at each point, each with other writes lost. */
const CRASHES = 3;

/** At so many events of the file: what each sector may read as from then on, if nothing else is asked. */
interface Mark {
  readonly at: number;
  readonly values: readonly (readonly number[])[];
}

const tagOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

function sectorsOf(tag: number, count: number): Uint8Array {
  const words = new Uint32Array((SECTOR / 4) * count);
  const view = new DataView(words.buffer);
  for (let at = 0; at < words.byteLength; at += 4) view.setUint32(at, tag);
  return new Uint8Array(words.buffer);
}

/** What a disk may hold after a crash among these events: all up to the last sync, and any sectors of the rest. */
function crashed(start: Uint8Array, events: readonly FileEvent[], random: (limit: number) => number): MemoryImage {
  const image = new MemoryImage(start.slice());
  const lastSync = events.lastIndexOf('sync');
  const loses = random(3);
  events.forEach((event, index) => {
    if (event === 'sync') return;
    if (index < lastSync) image.write(event.offset, event.bytes);
    else if (loses > 0)
      for (let at = 0; at < event.bytes.length; ) {
        const size = Math.min(SECTOR - ((event.offset + at) % SECTOR), event.bytes.length - at);
        if (loses === 1 || random(2) === 0) image.write(event.offset + at, event.bytes.subarray(at, at + size));
        at += size;
      }
  });
  return image;
}

function record(shape: Shape, seed: number) {
  const random = seeded(seed);
  const steps = shape.clusterBits === 9 ? STEPS_OF_SMALL_CLUSTERS : STEPS;
  using buffer = new RequestBuffer(SECTORS * SECTOR);
  const { file, model, open } = createScenario(shape, buffer);
  const start = file.content.slice();
  const events: FileEvent[] = [];
  file.events = events;
  const disk = open();
  let values: number[][] = Array.from({ length: SECTORS }, (_, at) => [tagOf(model.subarray(at * SECTOR))]);
  const current = values.map(([tag]) => tag as number);
  const marks: Mark[] = [{ at: 0, values: values.map((each) => [...each]) }];
  const mark = (): void => void marks.push({ at: events.length, values: values.map((each) => [...each]) });
  for (let step = 1; step <= steps; step++) {
    const first = random(SECTORS);
    const count = 1 + random(Math.min(SECTORS - first, 40));
    const range = { offset: first * SECTOR, sizeBytes: count * SECTOR };
    const change = (tag: number): void => {
      for (let at = first; at < first + count; at++) {
        values[at]?.push(tag);
        current[at] = tag;
      }
    };
    const kind = random(8);
    if (kind < 4) {
      change(step);
      mark();
      buffer.write(disk, range.offset, sectorsOf(step, count));
    } else if (kind === 4) {
      change(0);
      mark();
      disk.writeZeroes(range, random(2) === 0);
    } else if (kind === 5) {
      for (let at = first; at < first + count; at++) values[at]?.push(0);
      mark();
      disk.discard(range);
      const after = buffer.read(disk, range.offset, range.sizeBytes);
      for (let at = 0; at < count; at++) current[first + at] = tagOf(after.subarray(at * SECTOR));
    } else {
      disk.flush();
      values = current.map((tag) => [tag]);
      mark();
    }
  }
  file.events = undefined;
  return { start, events, marks, open };
}

function crashEverywhere(shape: Shape, seed: number): number {
  const random = seeded(seed + 1000);
  const { start, events, marks, open } = record(shape, seed);
  using buffer = new RequestBuffer(SECTORS * SECTOR);
  let crashes = 0;
  for (let cut = 0; cut <= events.length; cut++) {
    const mark = marks.findLast(({ at }) => at <= cut) as Mark;
    for (let turn = 0; turn < CRASHES; turn++) {
      const image = crashed(start, events.slice(0, cut), random);
      assert.deepEqual(checkImage(image.content).errors, [], `cut at ${cut}`);
      using disk = open(image);
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
  ['clusters of 4 KiB', { sizeBytes, clusterBits: 12 }],
  ['version 2', { sizeBytes, clusterBits: 12, version: 2 }],
  ['on another disk', { sizeBytes, clusterBits: 12, backingBytes: sizeBytes }],
] as const satisfies readonly (readonly [string, Shape])[]) {
  test(`a crash at any point keeps what was flushed: ${name}`, () => {
    assert.ok(crashEverywhere(shape, 1) > 250);
  });
}
