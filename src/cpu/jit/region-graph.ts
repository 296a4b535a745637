/** Decoded blocks of one page that are reached from one of them, and how control flows between them. */
import { CODE, RECORD } from '../layout.ts';
import { BLOCK, CALL, CALL_INDIRECT, ENTER_REGION, JMP, JMP_INDIRECT, RET } from '../uops/control.ts';

export interface RegionLimits {
  readonly blocks: number;
  readonly records: number;
}

/** A block as it was decoded: one way in, at its first record. */
export interface RegionBlock {
  /** Of its first instruction in the page. */
  readonly offset: number;
  /** Behind the record that counts. */
  readonly first: number;
  /** Behind its last record. */
  readonly end: number;
  /** Page offsets that its branches go to, whether or not there is a block. Calls are not among them: they leave. */
  readonly targets: readonly number[];
}

export interface Region {
  /** In reverse postorder: the entry is first, and whatever a block dominates comes after it. */
  readonly blocks: readonly RegionBlock[];
  /** By page offset, the place in `blocks`. */
  readonly index: ReadonlyMap<number, number>;
  /** The block that all ways to a block go through last; of the entry itself. */
  readonly dominators: readonly number[];
  /** Blocks that a block later in the order, which they dominate, goes back to. */
  readonly loops: ReadonlySet<number>;
}

/** What the graph is made from: records, and where blocks of the page begin. */
export interface RegionSource {
  readonly words: Int32Array;
  readonly table: number;
  /** Whether a record is a direct branch. */
  isBranch(operation: number): boolean;
  /** Whether a block that begins with this record is to be a part. */
  isWarm(record: number): boolean;
}

const ENDS: ReadonlySet<number> = new Set([JMP, CALL, CALL_INDIRECT, JMP_INDIRECT, RET]);

function scan({ words, isBranch }: RegionSource, offset: number, entry: number): RegionBlock {
  const targets: number[] = [];
  let record = entry + CODE.RECORD_SIZE;
  for (;;) {
    const operation = (words[record >> 2] as number) & 0xffff;
    if (isBranch(operation) && operation !== CALL) targets.push(words[(record + RECORD.IMM_HIGH) >> 2] as number);
    record += CODE.RECORD_SIZE;
    if (ENDS.has(operation)) return { offset, first: entry + CODE.RECORD_SIZE, end: record, targets };
  }
}

/** The record that a block begins with, or 0. */
function entryAt({ words, table }: RegionSource, offset: number): number {
  if (offset < 0 || offset >= CODE.TABLE_SIZE / 4) return 0;
  const record = words[(table >> 2) + offset] as number;
  const operation = record === 0 ? 0 : (words[record >> 2] as number) & 0xffff;
  return operation === BLOCK || operation === ENTER_REGION ? record : 0;
}

/** Warm blocks that are reached from the one at this page offset, nearest first, as many as the limits allow. */
function collect(source: RegionSource, offset: number, limits: RegionLimits): Map<number, RegionBlock> {
  const found = new Map<number, RegionBlock>();
  const waiting = [offset];
  let records = 0;
  for (let next = waiting.shift(); next !== undefined && found.size < limits.blocks; next = waiting.shift()) {
    if (found.has(next)) continue;
    const entry = entryAt(source, next);
    if (entry === 0 || (next !== offset && !source.isWarm(entry))) continue;
    const block = scan(source, next, entry);
    records += (block.end - block.first) / CODE.RECORD_SIZE;
    if (found.size > 0 && records > limits.records) break;
    found.set(next, block);
    waiting.push(...block.targets);
  }
  return found;
}

function reversePostorder(blocks: ReadonlyMap<number, RegionBlock>, start: number): RegionBlock[] {
  const order: RegionBlock[] = [];
  const seen = new Set<number>([start]);
  const stack = [{ block: blocks.get(start) as RegionBlock, next: 0 }];
  while (stack.length > 0) {
    const top = stack[stack.length - 1] as (typeof stack)[number];
    const target = top.block.targets[top.next++];
    if (target === undefined) {
      order.push(top.block);
      stack.pop();
      continue;
    }
    const block = blocks.get(target);
    if (block === undefined || seen.has(target)) continue;
    seen.add(target);
    stack.push({ block, next: 0 });
  }
  return order.reverse();
}

/** Cooper, Harvey and Kennedy, "A simple, fast dominance algorithm". */
function dominatorsOf(predecessors: readonly (readonly number[])[]): number[] {
  const dominators: number[] = predecessors.map((_, block) => (block === 0 ? 0 : -1));
  const meet = (a: number, b: number): number => {
    let [left, right] = [a, b];
    while (left !== right) {
      if (left > right) left = dominators[left] as number;
      else right = dominators[right] as number;
    }
    return left;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let block = 1; block < predecessors.length; block++) {
      const known = (predecessors[block] as number[]).filter((other) => dominators[other] !== -1);
      const dominator = known.reduce(meet);
      if (dominators[block] !== dominator) {
        dominators[block] = dominator;
        changed = true;
      }
    }
  }
  return dominators;
}

export function isDominated(dominators: readonly number[], block: number, by: number): boolean {
  let at = block;
  while (at > by) at = dominators[at] as number;
  return at === by;
}

/** The region whose entry is the block at this page offset; null where there is none. */
export function regionAt(source: RegionSource, offset: number, limits: RegionLimits): Region | null {
  const found = collect(source, offset, limits);
  if (found.size === 0) return null;
  const blocks = reversePostorder(found, offset);
  const index = new Map(blocks.map((block, at) => [block.offset, at]));
  const predecessors: number[][] = blocks.map(() => []);
  blocks.forEach((block, at) => {
    for (const target of block.targets) {
      const to = index.get(target);
      if (to !== undefined) (predecessors[to] as number[]).push(at);
    }
  });
  const dominators = dominatorsOf(predecessors);
  const loops = new Set<number>();
  predecessors.forEach((from, at) => {
    if (from.some((other) => other >= at && isDominated(dominators, other, at))) loops.add(at);
  });
  return { blocks, index, dominators, loops };
}
