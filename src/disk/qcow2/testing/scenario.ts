import { createQcow2, type NewImage } from '../create.ts';
import { Qcow2Disk } from '../qcow2-disk.ts';
import type { RequestBuffer } from './buffer.ts';
import { MemoryImage } from './memory-image.ts';

/** Numbers below a limit, the same for the same seed (splitmix32, Vigna). */
export function seeded(seed: number): (limit: number) => number {
  let state = seed | 0;
  return (limit) => {
    state = (state + 0x9e37_79b9) | 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a_2d97);
    return Math.floor((((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32) * limit);
  };
}

export interface Shape extends NewImage {
  /** A disk below, of so many bytes that are no zeros. */
  readonly backingBytes?: number;
}

/** A new image in memory, and the bytes that its disk has. */
export function createScenario({ backingBytes, ...image }: Shape, buffer: RequestBuffer) {
  const file = new MemoryImage();
  const model = new Uint8Array(image.sizeBytes);
  let base: Uint8Array<ArrayBuffer> | undefined;
  if (backingBytes !== undefined) {
    const below = new MemoryImage();
    createQcow2(below, { sizeBytes: backingBytes, clusterBits: 9 });
    using disk = new Qcow2Disk(below);
    const bytes = new Uint8Array(backingBytes).map((_, at) => (at % 251) + 1);
    buffer.write(disk, 0, bytes);
    disk.flush();
    base = below.content;
    model.set(bytes.subarray(0, image.sizeBytes));
  }
  const backing = base === undefined ? undefined : ({ name: 'below', format: 'qcow2' } as const);
  createQcow2(file, { ...image, backing });
  const open = (from: MemoryImage = file): Qcow2Disk =>
    new Qcow2Disk(from, { backing: base && new Qcow2Disk(new MemoryImage(base), { readOnly: true }) });
  return { file, model, open };
}
