import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ProcessorGroup } from './processor-group.ts';

const MEMORY_BYTES = 1 << 24;
const PAGE = 0x5000;

interface Member {
  readonly group: ProcessorGroup;
  /** What others have asked it to look at. */
  readonly touched: (number | 'all')[];
}

/** Processors of one thread: each but the one that acts stands still. */
function createGroup(count: number): readonly Member[] {
  const words = new Int32Array(new SharedArrayBuffer(ProcessorGroup.words(count, MEMORY_BYTES) * 4));
  return Array.from({ length: count }, (_, index) => {
    const group = new ProcessorGroup(words, {
      index,
      count,
      memoryBytes: MEMORY_BYTES,
      compareExchange16: () => assert.fail('not needed'),
    });
    const touched: (number | 'all')[] = [];
    group.join({ pageTouched: (page) => touched.push(page), allTouched: () => touched.push('all') });
    return { group, touched };
  });
}

const [first, second, third] = [0, 1, 2] as const;
/** Does what the others have asked, and stands again: in this one thread nobody could wait for a processor that runs. */
function runShortly({ group }: Member): void {
  group.enter();
  group.leave();
}

const memberOf = (members: readonly Member[], index: number): Member => members[index] ?? assert.fail('no such member');

suite('processors over the same memory', () => {
  test('a page without code may be written unseen by all, one with code by none', () => {
    const members = createGroup(2);
    const [a, b] = [memberOf(members, first).group, memberOf(members, second).group];
    assert(a.mayWriteUnseen(PAGE) && b.mayWriteUnseen(PAGE));
    a.claim(PAGE);
    assert(!a.mayWriteUnseen(PAGE) && !b.mayWriteUnseen(PAGE));
    assert(b.othersHaveCode(PAGE) && !a.othersHaveCode(PAGE));
    assert(b.mayWriteUnseen(PAGE + 4096));
    a.release(PAGE);
    assert(a.mayWriteUnseen(PAGE) && b.mayWriteUnseen(PAGE));
  });

  test('those that may write a page unseen are told of its first code, and no others', () => {
    const members = createGroup(3);
    const [a, b, c] = [memberOf(members, first), memberOf(members, second), memberOf(members, third)];
    b.group.mayWriteUnseen(PAGE);
    a.group.mayWriteUnseen(PAGE);
    a.group.claim(PAGE);
    for (const member of [a, b, c]) runShortly(member);
    assert.deepEqual([a.touched, b.touched, c.touched], [[], [PAGE], []]);
  });

  test('a write has those look who have decoded some of its chunks', () => {
    const members = createGroup(3);
    const [a, b, c] = [memberOf(members, first), memberOf(members, second), memberOf(members, third)];
    for (const { group } of [a, b]) group.claim(PAGE);
    a.group.reads(PAGE, 0x100, 0x10f);
    b.group.reads(PAGE, 0x13f, 0x150);
    c.group.wrote(PAGE, 0x148, 0x150);
    c.group.wrote(PAGE, 0x200, 0x240);
    for (const member of [a, b, c]) runShortly(member);
    assert.deepEqual([a.touched, b.touched, c.touched], [[], [PAGE], []]);
    c.group.wrote(PAGE, 0x13f, 0x140);
    for (const member of [a, b]) runShortly(member);
    assert.deepEqual([a.touched, b.touched], [[PAGE], [PAGE, PAGE]]);
  });

  test('code that has been forgotten is nobody’s concern', () => {
    const members = createGroup(2);
    const [a, b] = [memberOf(members, first), memberOf(members, second)];
    a.group.claim(PAGE);
    a.group.reads(PAGE, 0, 16);
    a.group.release(PAGE);
    a.group.claim(PAGE);
    b.group.wrote(PAGE, 0, 16);
    runShortly(a);
    assert.deepEqual(a.touched, []);
  });

  test('a processor that slept through many requests looks at everything', () => {
    const members = createGroup(2);
    const [a, b] = [memberOf(members, first), memberOf(members, second)];
    for (let number = 0; number < 300; number++) {
      a.group.claim(number * 4096);
      a.group.reads(number * 4096, 0, 1);
      b.group.wrote(number * 4096, 0, 1);
    }
    runShortly(a);
    assert(a.touched.includes('all'));
    a.touched.length = 0;
    b.group.wrote(PAGE, 0, 1);
    runShortly(a);
    assert.deepEqual(a.touched, [PAGE]);
  });

  test('who asks does what it has been asked before it goes on', () => {
    const members = createGroup(2);
    const [a, b] = [memberOf(members, first), memberOf(members, second)];
    a.group.enter();
    a.group.claim(PAGE);
    a.group.reads(PAGE, 0, 16);
    a.group.leave();
    b.group.enter();
    b.group.wrote(PAGE, 0, 16);
    b.group.leave();
    runShortly(a);
    assert.deepEqual(a.touched, [PAGE]);
  });

  test('alone is alone, also within', () => {
    const members = createGroup(2);
    const { group } = memberOf(members, first);
    const steps: string[] = [];
    group.enter();
    group.alone(() => {
      steps.push('outer');
      // As an access to a device.
      group.leave();
      group.enter();
      group.alone(() => steps.push('inner'));
    });
    group.leave();
    memberOf(members, second).group.enter();
    assert.deepEqual(steps, ['outer', 'inner']);
  });
});
