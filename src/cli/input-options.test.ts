import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseInputOption, parseOldInputOption } from './input-options.ts';

const DEFAULT = { width: 1280, height: 1024 };

describe('--input', () => {
  for (const { text, input } of [
    { text: 'keyboard[path=/a/b]', input: { kind: 'keyboard', path: '/a/b' } },
    { text: 'mouse[p]', input: { kind: 'mouse', path: 'p' } },
    { text: 'single-touch[path=p]', input: { kind: 'single-touch', path: 'p', size: DEFAULT } },
    {
      text: 'trackpad[path="a,]b",width=3,height=4]',
      input: { kind: 'trackpad', path: 'a,]b', size: { width: 3, height: 4 } },
    },
    { text: 'trackpad[path=p,height=4]', input: { kind: 'trackpad', path: 'p', size: { width: 1280, height: 4 } } },
  ]) {
    test(text, () => assert.deepEqual(parseInputOption(text), { input, problems: [] }));
  }

  for (const { text, problem } of [
    { text: '', problem: 'must be KIND[path=PATH], KIND one of keyboard, mouse, single-touch, trackpad' },
    { text: 'keyboard', problem: 'must be KIND[path=PATH], KIND one of keyboard, mouse, single-touch, trackpad' },
    { text: 'tablet[path=p]', problem: 'must be KIND[path=PATH], KIND one of keyboard, mouse, single-touch, trackpad' },
    {
      text: 'keyboard[path=p]x',
      problem: 'must be KIND[path=PATH], KIND one of keyboard, mouse, single-touch, trackpad',
    },
    { text: 'keyboard[]', problem: 'is empty' },
    { text: 'keyboard[path=]', problem: 'path="": needs a value' },
    { text: 'keyboard[path=p,width=3]', problem: 'unknown key "width"; the keys are path' },
    { text: 'trackpad[path=p,width=x]', problem: 'width="x": must be a whole number' },
    { text: 'trackpad[width=3]', problem: 'path=… is missing' },
  ]) {
    test(`${text}: ${problem}`, () => assert.deepEqual(parseInputOption(text), { problems: [problem] }));
  }
});

describe('the options of 2020', () => {
  for (const { kind, text, input } of [
    { kind: 'keyboard', text: 'a:1:2', input: { kind: 'keyboard', path: 'a:1:2' } },
    { kind: 'single-touch', text: 'a', input: { kind: 'single-touch', path: 'a', size: DEFAULT } },
    {
      kind: 'single-touch',
      text: 'a:b:1:2',
      input: { kind: 'single-touch', path: 'a:b', size: { width: 1, height: 2 } },
    },
    { kind: 'trackpad', text: 'a:5', input: { kind: 'trackpad', path: 'a:5', size: DEFAULT } },
  ] as const) {
    test(`--${kind}=${text}`, () => assert.deepEqual(parseOldInputOption(kind, text), { input, problems: [] }));
  }

  test('need a path', () => assert.deepEqual(parseOldInputOption('mouse', ''), { problems: ['needs a path'] }));
});
