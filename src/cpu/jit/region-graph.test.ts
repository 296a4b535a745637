import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isBranchLink } from '../code-page.ts';
import { CODE, RECORD } from '../layout.ts';
import { BLOCK, CALL, JCC, JMP, RET } from '../uops/control.ts';
import { isDominated, type Region, regionAt } from './region-graph.ts';

const LIMITS = { blocks: 64, records: 600 };
const JZ = JCC[4] as number;
/** Far away from every table. */
const TABLE = 0x10_0000;

/** Blocks by their page offset: records of an operation and its target. */
type Blocks = Readonly<Record<number, readonly (readonly [operation: number, target?: number])[]>>;

function regionOf(blocks: Blocks, entry: number, options: { cold?: number[]; limits?: typeof LIMITS } = {}): Region {
  const words = new Int32Array((TABLE + CODE.TABLE_SIZE) / 4);
  const entries = new Map<number, number>();
  let next = CODE.RECORD_SIZE;
  const put = (operation: number, target = 0): void => {
    words[next >> 2] = operation;
    words[(next + RECORD.IMM_HIGH) >> 2] = target;
    next += CODE.RECORD_SIZE;
  };
  for (const [offset, records] of Object.entries(blocks)) {
    words[(TABLE >> 2) + Number(offset)] = next;
    entries.set(next, Number(offset));
    put(BLOCK);
    for (const [operation, target] of records) put(operation, target);
  }
  const isWarm = (record: number): boolean => !options.cold?.includes(entries.get(record) as number);
  const region = regionAt({ words, table: TABLE, isBranch: isBranchLink, isWarm }, entry, options.limits ?? LIMITS);
  assert.ok(region);
  return region;
}

const offsets = ({ blocks }: Region): number[] => blocks.map(({ offset }) => offset);

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
    assert.equal(offsets(region)[0], 10);
    assert.deepEqual(offsets(region).toSorted(), [10, 20, 30, 40]);
    assert.deepEqual(region.dominators, [0, 0, 0, 0]);
    assert.deepEqual([...region.loops], []);
    assert.equal(offsets(region)[3], 40);
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
    assert.deepEqual(offsets(region), [10, 20, 30]);
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

  test('leaves out calls, other pages, cold blocks, what is not decoded, and what goes beyond the limits', () => {
    const blocks: Blocks = {
      10: [
        [JZ, 20],
        [JZ, 0x1000],
        [JZ, -5],
        [JZ, 60],
        [CALL, 30],
      ],
      20: [[JMP, 40]],
      30: [[RET]],
      40: [[RET]],
    };
    assert.deepEqual(offsets(regionOf(blocks, 10)), [10, 20, 40]);
    assert.deepEqual(offsets(regionOf(blocks, 10, { cold: [20] })), [10]);
    assert.deepEqual(offsets(regionOf(blocks, 10, { limits: { blocks: 2, records: 600 } })), [10, 20]);
    assert.deepEqual(offsets(regionOf(blocks, 10, { limits: { blocks: 64, records: 5 } })), [10]);
  });
});
