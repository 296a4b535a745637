/**
 * qcow2 images with wrong headers and tables, then requests of a guest. Whatever they are: errors are DiskErrors, nothing is
 * written far behind the end, and no data reach the header.
 */
import assert from 'node:assert/strict';
import { deflateRawSync } from 'node:zlib';
import { DiskError } from '#disk/disk-file.ts';
import { createQcow2 } from '#disk/qcow2/create.ts';
import { Qcow2Disk } from '#disk/qcow2/qcow2-disk.ts';
import { RequestBuffer } from '#disk/qcow2/testing/buffer.ts';
import { MemoryImage } from '#disk/qcow2/testing/memory-image.ts';
import { mutate } from '../mutate.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const SIZE = 300_000;
const TRANSFER_MAX = 20_000;
const REQUESTS = 12;
/** A case makes far less. */
const FILE_MAX = 2 ** 25;
/** The parts of the header that a writer changes: size and tables, dirty and corrupt bits, autoclear bits. */
const CHANGED_PARTS = [
  [24, 32],
  [36, 60],
  [72, 80],
  [88, 96],
] as const;

const buffer = new RequestBuffer(TRANSFER_MAX);

/** An image with data, zero clusters and a compressed cluster. */
function validImage(random: Random): MemoryImage {
  const file = new MemoryImage(new Uint8Array(), { lengthMax: FILE_MAX });
  const clusterBits = random.pick([9, 9, 10, 12]);
  const version = random.oneIn(4) ? 2 : 3;
  createQcow2(file, {
    sizeBytes: SIZE,
    clusterBits,
    version,
    ...(version === 3 ? { refcountOrder: random.below(7) } : {}),
  });
  {
    using disk = new Qcow2Disk(file);
    for (let count = 0; count < 4; count++) {
      buffer.write(disk, random.below(SIZE - TRANSFER_MAX), new Uint8Array(TRANSFER_MAX).fill(count + 1));
    }
    disk.writeZeroes({ offset: random.below(SIZE - TRANSFER_MAX), sizeBytes: TRANSFER_MAX }, false);
  }
  const view = new DataView(file.content.buffer);
  const l2 = firstL2(view);
  if (l2 === 0) return file;
  const place = file.lengthBytes;
  file.write(place, deflateRawSync(new Uint8Array(2 ** clusterBits).fill(9)));
  const after = new DataView(file.content.buffer);
  after.setUint32(l2 + 8, 0x4000_0000);
  after.setUint32(l2 + 12, place);
  return file;
}

function firstL2(view: DataView): number {
  const l1 = view.getUint32(44);
  const entries = view.getUint32(36);
  for (let index = 0; index < entries; index++) {
    const offset = view.getUint32(l1 + index * 8 + 4);
    if (offset !== 0) return offset;
  }
  return 0;
}

/** Changes one to three tables, each in its place. */
function damage(file: MemoryImage, random: Random): void {
  const { content } = file;
  const view = new DataView(content.buffer, 0, content.length);
  const table = view.getUint32(52);
  const places = [0, view.getUint32(44), firstL2(view), table, view.getUint32(table + 4)];
  for (let count = random.between(1, 3); count > 0; count--) {
    const start = random.pick(places);
    const part = content.subarray(start, start + random.pick([16, 120, 512]));
    const changed = mutate(part, random).subarray(0, part.length);
    // The magic number is checked first, and hides what is behind it.
    content.set(start === 0 ? changed.subarray(Math.min(8, changed.length)) : changed, start === 0 ? start + 8 : start);
  }
}

function request(disk: Qcow2Disk, random: Random): void {
  const sizeBytes = 1 + random.below(TRANSFER_MAX);
  const offset = random.below(Math.max(1, Math.min(disk.lengthBytes, 2 ** 32)));
  switch (random.below(7)) {
    case 0:
    case 1:
      buffer.read(disk, offset, sizeBytes);
      break;
    case 2:
    case 3:
      buffer.write(disk, offset, new Uint8Array(sizeBytes).fill(0xab));
      break;
    case 4:
      disk.writeZeroes({ offset, sizeBytes }, random.oneIn(2));
      break;
    case 5:
      disk.discard({ offset, sizeBytes });
      break;
    default:
      disk.flush();
  }
}

function expectDiskError(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof DiskError)) throw error;
  }
}

/** What of the header's cluster no request may change. */
function guarded(content: Uint8Array): Uint8Array {
  const header = content.slice(0, 512);
  for (const [from, to] of CHANGED_PARTS) header.fill(0, from, to);
  return header;
}

function qcow2Target(open: (file: MemoryImage) => MemoryImage): FuzzTarget {
  return {
    name: 'qcow2',
    run(random) {
      const file = open(validImage(random));
      if (!random.oneIn(10)) damage(file, random);
      const before = guarded(file.content);
      expectDiskError(() => {
        // What lies below is another target's: an image that names a file is opened with an empty one.
        const header = Qcow2Disk.inspect(file, true);
        const below = header.backing && new Qcow2Disk(validImage(random), { readOnly: true });
        using disk = new Qcow2Disk(file, { readOnly: random.oneIn(4), backing: below });
        for (let count = 0; count < REQUESTS; count++) expectDiskError(() => request(disk, random));
      });
      assert.ok(Buffer.compare(before, guarded(file.content)) === 0, 'the header is as it was');
    },
  };
}

export const target = qcow2Target((file) => file);

/** A file that claims to be longer than it is. */
class LongImage extends MemoryImage {
  override get lengthBytes(): number {
    return 2 ** 40;
  }
}

/** Deliberately wrong: the bounds are those of another file. */
export const canary = qcow2Target(({ content }) => new LongImage(content, { lengthMax: FILE_MAX }));
