import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PMEM_KEYS, parsePmemOption } from './pmem-options.ts';

const DEFAULTS = { path: 'image', readOnly: false, root: false };

describe('--pmem', () => {
  for (const [text, expected] of [
    ['image', DEFAULTS],
    ['path=image', DEFAULTS],
    ['image,ro,root', { ...DEFAULTS, readOnly: true, root: true }],
    ['ro=false,path="a,b"', { ...DEFAULTS, path: 'a,b' }],
  ] as const) {
    test(`${text} is taken`, () => assert.deepEqual(parsePmemOption(text), { pmem: expected, problems: [] }));
  }

  for (const [text, problem] of [
    ['', 'is empty'],
    ['ro', 'path=… is missing'],
    ['image,size=5', 'unknown key "size"; the keys are path, ro, root'],
    ['image,ro=yes', 'ro="yes": must be true or false'],
    ['image,ro,ro', 'key ro is given twice'],
    ['path=', 'path="": needs a value'],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      const { pmem, problems } = parsePmemOption(text);
      assert.equal(pmem, undefined);
      assert.ok(problems.includes(problem), problems.join('; '));
    });
  }

  test('has the keys of its documentation', () => assert.deepEqual(PMEM_KEYS, ['path', 'ro', 'root']));
});
