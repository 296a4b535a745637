import { getRefcount } from '../refcounts.ts';

/** What is wrong with an image, found without the code that wrote it: references against reference counts. */
export interface Findings {
  /** Clusters that are referred to more often than they are counted, or wrongly. */
  readonly errors: readonly string[];
  /** Clusters that are counted and not referred to. */
  readonly leaks: number;
}

/** Judges the whole of an image without snapshots. */
export function checkImage(content: Uint8Array): Findings {
  const view = new DataView(content.buffer, content.byteOffset, content.length);
  const at64 = (at: number): bigint => (at + 8 <= content.length ? view.getBigUint64(at) : 0n);
  const bits = view.getUint32(20);
  const size = 2 ** bits;
  const references = new Map<number, number>();
  const errors: string[] = [];
  const refer = (offset: bigint, what: string): void => {
    if (offset % BigInt(size) !== 0n) errors.push(`${what} at ${offset}`);
    const cluster = Number(offset / BigInt(size));
    references.set(cluster, (references.get(cluster) ?? 0) + 1);
  };
  const referRun = (offset: number, bytes: number, what: string): void => {
    for (let at = offset; at < offset + bytes; at += size) refer(BigInt(at), what);
  };
  const order = view.getUint32(4) === 3 ? view.getUint32(96) : 4;
  const perBlock = (size * 8) / 2 ** order;
  const table = { offset: Number(at64(48)), bytes: view.getUint32(56) * size };
  const l1 = { offset: Number(at64(40)), entries: view.getUint32(36) };
  referRun(0, size, 'header');
  referRun(table.offset, table.bytes, 'refcount table');
  referRun(l1.offset, l1.entries * 8, 'L1');
  const OFFSET = 0x00ff_ffff_ffff_fe00n;
  const counts = new Map<number, number>();
  for (let index = 0; index < table.bytes / 8; index++) {
    const offset = at64(table.offset + index * 8);
    if (offset === 0n) continue;
    refer(offset, 'refcount block');
    const block = new Uint8Array(size);
    block.set(content.subarray(Number(offset), Number(offset) + size));
    for (let entry = 0; entry < perBlock; entry++) {
      const count = getRefcount(new DataView(block.buffer), order, entry);
      if (count > 0) counts.set(index * perBlock + entry, count);
    }
  }
  for (let index = 0; index < l1.entries; index++) {
    const l2 = Number(at64(l1.offset + index * 8) & OFFSET);
    if (l2 === 0) continue;
    refer(BigInt(l2), 'L2');
    for (let at = l2; at < l2 + size; at += 8) {
      const entry = at64(at);
      if ((entry & (1n << 62n)) !== 0n) {
        const x = BigInt(62 - (bits - 8));
        const start = entry & ((1n << x) - 1n);
        const bytes = (((entry & ((1n << 62n) - 1n)) >> x) + 1n) * 512n - (start & 511n);
        for (let c = start / BigInt(size); c <= (start + bytes - 1n) / BigInt(size); c++)
          refer(c * BigInt(size), 'compressed');
      } else if ((entry & OFFSET) !== 0n) {
        refer(entry & OFFSET, 'data');
        if (entry >> 63n !== 1n) errors.push(`an entry without COPIED at ${at}`);
      }
    }
  }
  for (const [cluster, count] of references) {
    const counted = counts.get(cluster) ?? 0;
    if (counted < count) errors.push(`cluster ${cluster}: ${count} references, count ${counted}`);
  }
  let leaks = 0;
  for (const [cluster, count] of counts) if (count > (references.get(cluster) ?? 0)) leaks++;
  return { errors, leaks };
}
