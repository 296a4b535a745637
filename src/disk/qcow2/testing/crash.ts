/** Records what a disk writes, and makes of it what a crash may leave. */
import { RequestBuffer } from './buffer.ts';
import { type FileEvent, MemoryImage } from './memory-image.ts';
import { createScenario, type Shape, seeded } from './scenario.ts';

export const SECTOR = 512;
export const SECTORS = 400;
const STEPS = 60;
const STEPS_OF_SMALL_CLUSTERS = 24;
export const GROWN = 2 * SECTORS * SECTOR;

export interface CrashShape extends Shape {
  /** How long the file is made before the disk is used. */
  readonly fileBytes?: number;
  /** What is freed keeps its content. */
  readonly withoutHoles?: boolean;
}

/** At so many events of the file: what each sector may read as from then on, if nothing else is asked. */
export interface Mark {
  readonly at: number;
  readonly values: readonly (readonly number[])[];
}

export const tagOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

function sectorsOf(tag: number, count: number): Uint8Array {
  const words = new Uint32Array((SECTOR / 4) * count);
  const view = new DataView(words.buffer);
  for (let at = 0; at < words.byteLength; at += 4) view.setUint32(at, tag);
  return new Uint8Array(words.buffer);
}

/** What a disk may hold after a crash among these events: all up to the last sync, and any sectors of the rest. */
export function crashed(
  start: Uint8Array,
  events: readonly FileEvent[],
  random: (limit: number) => number,
): MemoryImage {
  const image = new MemoryImage(start.slice());
  const lastSync = events.lastIndexOf('sync');
  events.forEach((event, index) => {
    if (event === 'sync') return;
    if (index < lastSync) image.write(event.offset, event.bytes);
    else
      for (let at = 0; at < event.bytes.length; ) {
        const size = Math.min(SECTOR - ((event.offset + at) % SECTOR), event.bytes.length - at);
        if (random(2) === 0) image.write(event.offset + at, event.bytes.subarray(at, at + size));
        at += size;
      }
  });
  return image;
}

/** Random requests on a new disk, which grows after half of them. */
export function record({ fileBytes = 0, withoutHoles = false, ...shape }: CrashShape, seed: number) {
  const random = seeded(seed);
  const steps = shape.clusterBits === 9 ? STEPS_OF_SMALL_CLUSTERS : STEPS;
  using buffer = new RequestBuffer(SECTORS * SECTOR);
  const { file, model, open } = createScenario(shape, buffer);
  // Clusters that nothing counts: the next ones are at the file's end.
  if (fileBytes > 0) file.write(fileBytes - 1, new Uint8Array(1));
  const start = file.content.slice();
  const events: FileEvent[] = [];
  file.events = events;
  file.makesHoles = !withoutHoles;
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
    if (step === steps / 2) {
      disk.grow(GROWN);
      values = current.map((tag) => [tag]);
      mark();
    } else if (kind < 4) {
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
