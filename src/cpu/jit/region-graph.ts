/** Decoded blocks that are reached from one of them, in its page and others, and how control flows between them. */
import { CODE, RECORD, STATE } from '../layout.ts';
import { BLOCK, CALL, CALL_INDIRECT, ENTER_REGION, JMP, JMP_INDIRECT, RET } from '../uops/control.ts';

export interface RegionLimits {
  readonly blocks: number;
  readonly records: number;
}

/**
 * Where code is: its distance from the beginning of the page of the region's entry, in virtual addresses. So places are the same in each address
 * space that has the region's pages side by side.
 */
export type Place = number;

/** By how many pages a place is away from the entry's. */
export const pageOf = (place: Place): number => place >> 12;
export const offsetIn = (place: Place): number => place & 0xfff;

/** A block as it was decoded: one way in, at its first record. */
export interface RegionBlock {
  /** Of its first instruction. */
  readonly place: Place;
  /** The record that counts, by which others know the block; or that looks whether the page is there that its instruction ends in. */
  readonly entry: number;
  /** The table of that page, or 0. */
  readonly endsIn: number;
  /** Behind that record. */
  readonly first: number;
  /** Behind its last record. */
  readonly end: number;
  /** Where its direct branches and its direct call go, whether or not there is a block. */
  readonly targets: readonly Place[];
  /** Where a direct call at its end comes back to. */
  readonly comesBackTo: Place | undefined;
  /** The operation at its end. */
  readonly last: number;
  /** Where the return or the indirect jump at its end may go to, as far as that is in the region. */
  readonly indirectTo: Place[];
}

export interface Region {
  /** In reverse postorder: the entry is first, and whatever a block dominates comes after it. */
  readonly blocks: readonly RegionBlock[];
  /** Where each is in `blocks`. */
  readonly index: ReadonlyMap<Place, number>;
  /** The block that all ways to a block go through last; of the entry itself. */
  readonly dominators: readonly number[];
  /** Blocks that a block later in the order, which they dominate, goes back to. */
  readonly loops: ReadonlySet<number>;
}

/** What the graph is made from: records, and where blocks begin. */
export interface RegionSource {
  readonly words: Int32Array;
  /** The table of the page so many pages after the entry's; 0 where it has none. */
  tableOf(pages: number): number;
  /** As `tableOf`, of the page that the instruction which begins with this record ends in, if it does. */
  secondTableOf(record: number, pages: number): number;
  /** Where indirect jumps in the page so many pages after the entry's may go: warm blocks. */
  warmIn(pages: number): readonly Place[];
  /** Whether a record is a direct branch. */
  isBranch(operation: number): boolean;
  /** Whether a block that begins with this record is to be a part. */
  isWarm(record: number): boolean;
}

/** A return looks for so many places at most, an indirect jump for so many. */
const RETURNS_MAX = 8;
const JUMPS_MAX = 32;
const ENDS: ReadonlySet<number> = new Set([JMP, CALL, CALL_INDIRECT, JMP_INDIRECT, RET]);

interface Entry {
  readonly entry: number;
  readonly endsIn: number;
}

function scan({ words, isBranch }: RegionSource, place: Place, { entry, endsIn }: Entry): RegionBlock {
  const targets: Place[] = [];
  const page = place - offsetIn(place);
  const first = entry + CODE.RECORD_SIZE;
  for (let record = first; ; record += CODE.RECORD_SIZE) {
    const operation = (words[record >> 2] as number) & 0xffff;
    if (isBranch(operation)) targets.push(page + (words[(record + RECORD.IMM_HIGH) >> 2] as number));
    if (!ENDS.has(operation)) continue;
    const after = (words[(record + RECORD.B) >> 2] as number) & 0xffff;
    const comesBackTo = operation === CALL ? page + after : undefined;
    const end = record + CODE.RECORD_SIZE;
    return { place, entry, endsIn, first, end, targets, comesBackTo, last: operation, indirectTo: [] };
  }
}

/** How a block that can be a part begins. */
function entryAt(source: RegionSource, place: Place): Entry | undefined {
  const { words } = source;
  const table = source.tableOf(pageOf(place));
  const entry = table === 0 ? 0 : (words[(table >> 2) + offsetIn(place)] as number);
  const operation = entry === 0 ? 0 : (words[entry >> 2] as number) & 0xffff;
  if (operation === BLOCK || operation === ENTER_REGION) return source.isWarm(entry) ? { entry, endsIn: 0 } : undefined;
  const endsIn = entry === 0 ? 0 : source.secondTableOf(entry, pageOf(place) + 1);
  return endsIn === 0 ? undefined : { entry, endsIn };
}

/**
 * Whether the jump at the end of a block may be one of a switch: it has its address from a register or a table, not from a word that code
 * addresses, as stubs of dynamic linking do.
 */
function isSwitch({ words }: RegionSource, { last, end }: RegionBlock): boolean {
  // The operand of the jump; a system call has the instruction pointer there.
  const operand = (words[(end - CODE.RECORD_SIZE) >> 2] as number) >>> 16;
  if (last !== JMP_INDIRECT || operand === STATE.RIP) return false;
  const base = (words[(end - 2 * CODE.RECORD_SIZE + RECORD.B) >> 2] as number) & 0xffff;
  return base !== STATE.CODE_PAGE;
}

/** Blocks of its page and of those beside it that the jump of a switch may go to, nearest first. */
function jumpsOf({ warmIn }: RegionSource, { place }: RegionBlock): Place[] {
  const distance = (other: Place): number => Math.abs(other - place);
  const page = pageOf(place);
  return [page - 1, page, page + 1]
    .flatMap((near) => warmIn(near))
    .toSorted((a, b) => distance(a) - distance(b))
    .slice(0, JUMPS_MAX);
}

/** Warm blocks that are reached from the one at this offset of the entry's page, nearest first, as many as the limits allow. */
function collect(source: RegionSource, offset: number, limits: RegionLimits): Map<Place, RegionBlock> {
  const found = new Map<Place, RegionBlock>();
  const waiting: Place[] = [offset];
  const switches: RegionBlock[] = [];
  let records = 0;
  const add = (place: Place): void => {
    const entry = found.has(place) ? undefined : entryAt(source, place);
    if (entry === undefined) return;
    const block = scan(source, place, entry);
    records += (block.end - block.first) / CODE.RECORD_SIZE;
    if (found.size > 0 && records > limits.records) return;
    found.set(place, block);
    waiting.push(...block.targets);
    if (block.comesBackTo !== undefined) waiting.push(block.comesBackTo);
    if (isSwitch(source, block)) switches.push(block);
  };
  while (found.size < limits.blocks && records <= limits.records) {
    const next = waiting.shift();
    if (next !== undefined) add(next);
    else {
      // Only when all else is there: most of what they go to has been found, then.
      const block = switches.pop();
      if (block === undefined) break;
      block.indirectTo.push(...jumpsOf(source, block));
      waiting.push(...block.indirectTo);
    }
  }
  return found;
}

/** The returns of a function that begins at a place: what it calls comes back to it. */
function returnsOf(blocks: ReadonlyMap<Place, RegionBlock>, start: Place): RegionBlock[] {
  const returns: RegionBlock[] = [];
  const seen = new Set<Place>();
  const waiting: Place[] = [start];
  for (let place = waiting.pop(); place !== undefined; place = waiting.pop()) {
    const block = blocks.get(place);
    if (block === undefined || seen.has(place)) continue;
    seen.add(place);
    if (block.last === RET) returns.push(block);
    // The call is the last of its branches.
    if (block.comesBackTo === undefined) waiting.push(...successorsOf(block));
    else waiting.push(...block.targets.slice(0, -1), block.comesBackTo);
  }
  return returns;
}

/** Says of each return which calls of the region it may come back from. */
function matchReturns(blocks: ReadonlyMap<Place, RegionBlock>): void {
  const callers = new Map<Place, Place[]>();
  for (const { comesBackTo, targets } of blocks.values()) {
    const callee = targets[targets.length - 1];
    if (comesBackTo === undefined || callee === undefined || !blocks.has(comesBackTo)) continue;
    callers.set(callee, [...(callers.get(callee) ?? []), comesBackTo]);
  }
  for (const [callee, places] of callers) {
    for (const { indirectTo } of returnsOf(blocks, callee)) {
      for (const place of places) {
        if (indirectTo.length < RETURNS_MAX && !indirectTo.includes(place)) indirectTo.push(place);
      }
    }
  }
}

/** Where control may go from a block without leaving the region. */
const successorsOf = ({ targets, indirectTo }: RegionBlock): readonly Place[] =>
  indirectTo.length === 0 ? targets : [...targets, ...indirectTo];

function reversePostorder(blocks: ReadonlyMap<Place, RegionBlock>, start: Place): RegionBlock[] {
  const order: RegionBlock[] = [];
  const seen = new Set<Place>([start]);
  const entered = (block: RegionBlock) => ({ block, successors: successorsOf(block), next: 0 });
  const stack = [entered(blocks.get(start) as RegionBlock)];
  while (stack.length > 0) {
    const top = stack[stack.length - 1] as (typeof stack)[number];
    const target = top.successors[top.next++];
    if (target === undefined) {
      order.push(top.block);
      stack.pop();
      continue;
    }
    const block = blocks.get(target);
    if (block === undefined || seen.has(target)) continue;
    seen.add(target);
    stack.push(entered(block));
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

/** The region whose entry is the block at this offset of its page; null where there is none. */
export function regionAt(source: RegionSource, offset: number, limits: RegionLimits): Region | null {
  const found = collect(source, offset, limits);
  if (found.size === 0) return null;
  matchReturns(found);
  const blocks = reversePostorder(found, offset);
  const index = new Map(blocks.map((block, at) => [block.place, at]));
  const predecessors: number[][] = blocks.map(() => []);
  blocks.forEach((block, at) => {
    for (const target of successorsOf(block)) {
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
