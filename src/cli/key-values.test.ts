import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { parseKeyValues } from './key-values.ts';

const pairs = (text: string) => parseKeyValues(text).pairs.map(({ key, value }) => [key, value]);
const problems = (text: string) => parseKeyValues(text).problems;

describe('parseKeyValues', () => {
  test('reads pairs and bare keys in order', () => {
    assert.deepEqual(pairs('type=file,console,num=2'), [
      ['type', 'file'],
      ['console', undefined],
      ['num', '2'],
    ]);
  });

  test('a value may contain = and be empty', () => {
    assert.deepEqual(pairs('path=a=b,x='), [
      ['path', 'a=b'],
      ['x', ''],
    ]);
  });

  test('quotes keep commas, and a backslash takes the next character as it is', () => {
    assert.deepEqual(pairs(`a="x,y\\"z",b='p"q'`), [
      ['a', 'x,y"z'],
      ['b', 'p"q'],
    ]);
  });

  test('an empty text is one problem', () => {
    assert.deepEqual(problems(''), ['is empty']);
  });

  for (const text of [',a=1', 'a=1,', 'a=1,,b=2', '=1']) {
    test(`${JSON.stringify(text)} misses a key`, () => {
      assert.deepEqual(problems(text), ['a key is missing between commas or before =']);
    });
  }

  for (const text of ['a="b', "a='", 'a="\\']) {
    test(`${JSON.stringify(text)} has an open quote`, () => {
      assert.deepEqual(problems(text), ['a quote is not closed']);
    });
  }

  test('text after a closing quote is a problem', () => {
    assert.deepEqual(problems('a="b"c'), ['text after a closing quote']);
  });

  test('pairs written with quotes are read back', () => {
    const pair = fc.tuple(fc.stringMatching(/^[a-z]{1,5}$/), fc.string());
    fc.assert(
      fc.property(fc.array(pair, { minLength: 1, maxLength: 5 }), (list) => {
        const text = list.map(([key, value]) => `${key}="${value.replaceAll(/["\\]/g, '\\$&')}"`).join(',');
        assert.deepEqual(pairs(text), list);
        assert.deepEqual(problems(text), []);
      }),
    );
  });
});
