import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isBranchLink } from '../code-page.ts';
import { CODE, RECORD } from '../layout.ts';
import { BLOCK, CALL, JCC, JMP, RET } from '../uops/control.ts';
import { isDominated, offsetIn, pageOf, type Region, regionAt } from './region-graph.ts';

const LIMITS = { blocks: 64, records: 600 };
const JZ = JCC[4] as number;
/** Far away from records; a table for each of three pages. */
const TABLE = 0x10_0000;
const PAGES = [-1, 0, 1];

/** Blocks by their place: records of an operation, its target, and for a call the place behind it. */
type Blocks = Readonly<Record<number, readonly (readonly [operation: number, target?: number, after?: number])[]>>;

const tableOf = (page: number): number => (PAGES.includes(page) ? TABLE + (page + 1) * CODE.TABLE_SIZE : 0);

function regionOf(blocks: Blocks, entry: number, options: { cold?: number[]; limits?: typeof LIMITS } = {}): Region {
  const words = new Int32Array((TABLE + PAGES.length * CODE.TABLE_SIZE) / 4);
  const entries = new Map<number, number>();
  let next = CODE.RECORD_SIZE;
  const put = (page: number, operation: number, target = 0, after = 0): void => {
    words[next >> 2] = operation;
    words[(next + RECORD.B) >> 2] = after - 4096 * page;
    words[(next + RECORD.IMM_HIGH) >> 2] = target - 4096 * page;
    next += CODE.RECORD_SIZE;
  };
  for (const [key, records] of Object.entries(blocks)) {
    const place = Number(key);
    words[(tableOf(pageOf(place)) >> 2) + offsetIn(place)] = next;
    entries.set(next, place);
    put(pageOf(place), BLOCK);
    for (const record of records) put(pageOf(place), ...record);
  }
  const secondTableOf = (): number => 0;
  const warmIn = (page: number): number[] =>
    [...entries.values()].filter((place) => pageOf(place) === page && !options.cold?.includes(place));
  const isWarm = (record: number): boolean => !options.cold?.includes(entries.get(record) as number);
  const region = regionAt(
    { words, tableOf, secondTableOf, warmIn, isBranch: isBranchLink, isWarm },
    entry,
    options.limits ?? LIMITS,
  );
  assert.ok(region);
  return region;
}

const places = ({ blocks }: Region): number[] => blocks.map(({ place }) => place);

describe('the graph of a region', () => {
  test('begins with its entry and has what it reaches, each after what dominates it', () => {
    const diamond: Blocks = {
      10: [
        [JZ, 30],
        [JMP, 20],
      ],
      20: [[JMP, 40]],
      30: [[JMP, 40]],
      40: [[RET]],
      50: [[RET]],
    };
    const region = regionOf(diamond, 10);
    assert.equal(places(region)[0], 10);
    assert.deepEqual(places(region).toSorted(), [10, 20, 30, 40]);
    assert.deepEqual(region.dominators, [0, 0, 0, 0]);
    assert.deepEqual([...region.loops], []);
    assert.equal(places(region)[3], 40);
  });

  test('knows loops, one inside another, and the entry’s own', () => {
    const nested: Blocks = {
      10: [[JMP, 20]],
      20: [[JMP, 30]],
      30: [
        [JZ, 30],
        [JZ, 20],
        [JMP, 10],
      ],
    };
    const region = regionOf(nested, 10);
    assert.deepEqual(places(region), [10, 20, 30]);
    assert.deepEqual([...region.loops], [0, 1, 2]);
    assert.ok(isDominated(region.dominators, 2, 1));
  });

  test('a cycle with two ways in is no loop: neither way dominates it', () => {
    const irreducible: Blocks = {
      10: [
        [JZ, 30],
        [JMP, 20],
      ],
      20: [[JMP, 30]],
      30: [[JZ, 20], [RET]],
    };
    const region = regionOf(irreducible, 10);
    assert.deepEqual([...region.loops], []);
    assert.deepEqual(region.dominators, [0, 0, 0]);
  });

  test('leaves out pages without decoded code, cold blocks, what is not decoded, and what goes beyond the limits', () => {
    const blocks: Blocks = {
      10: [
        [JZ, 20],
        [JZ, 0x2000],
        [JZ, -0x1001],
        [JZ, 60],
        [JMP, 0x1000],
      ],
      20: [[JMP, 40]],
      40: [[RET]],
      4096: [[JMP, -16]],
      [-16]: [[RET]],
    };
    assert.deepEqual(places(regionOf(blocks, 10)).toSorted(), [-16, 10, 20, 40, 0x1000].toSorted());
    assert.deepEqual(places(regionOf(blocks, 10, { cold: [20, 0x1000] })), [10]);
    assert.deepEqual(places(regionOf(blocks, 10, { limits: { blocks: 2, records: 600 } })), [10, 20]);
    assert.deepEqual(places(regionOf(blocks, 10, { limits: { blocks: 64, records: 5 } })), [10]);
  });

  test('goes through a function in another page and back to behind its calls', () => {
    const blocks: Blocks = {
      10: [[CALL, 0x1100, 20]],
      20: [[CALL, 0x1100, 30]],
      30: [[CALL, 0x1200, 40]],
      40: [
        [JZ, 10],
        [RET, 0],
      ],
      4352: [[RET]],
      4608: [[JMP, 0x1280]],
      4736: [[RET]],
    };
    const region = regionOf(blocks, 10);
    const returns = (place: number): readonly number[] | undefined =>
      region.blocks[region.index.get(place) as number]?.indirectTo;
    assert.equal(region.blocks.length, 7);
    assert.deepEqual(returns(0x1100), [20, 30]);
    assert.deepEqual(returns(0x1280), [40]);
    // Whoever called what the region began in is not known.
    assert.deepEqual(returns(40), []);
    // Back to the first block, and from the second call to the function.
    assert.deepEqual([...region.loops].map((at) => places(region)[at]).toSorted(), [0x1100, 10].toSorted());
  });

  test('of a function that calls itself twice has all ways back', () => {
    const fibonacci: Blocks = {
      10: [
        [JZ, 40],
        [CALL, 10, 20],
      ],
      20: [[CALL, 10, 30]],
      30: [[JMP, 40]],
      40: [[RET]],
    };
    const region = regionOf(fibonacci, 10);
    assert.deepEqual(places(region).toSorted(), [10, 20, 30, 40]);
    assert.deepEqual(region.blocks[region.index.get(40) as number]?.indirectTo, [20, 30]);
    assert.ok(region.loops.has(0));
    assert.ok(region.loops.has(region.index.get(40) as number));
  });
});
