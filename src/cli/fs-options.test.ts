import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSharedDirOption } from './fs-options.ts';

const defaults = { readOnly: false, cache: 'auto', timeoutSeconds: 5, writeback: false } as const;

describe('--shared-dir', () => {
  for (const [text, sharedDir] of [
    ['/srv:tag', { ...defaults, path: '/srv', tag: 'tag' }],
    ['a b:t:type=fs:ro', { ...defaults, path: 'a b', tag: 't', readOnly: true }],
    [
      '.:t:cache=always:timeout=60:writeback=true:ro=false',
      { path: '.', tag: 't', cache: 'always', timeoutSeconds: 60, writeback: true, readOnly: false },
    ],
    ['', { ...defaults, path: '', tag: '' }],
  ] as const) {
    test(`${JSON.stringify(text)} is understood`, () => {
      assert.deepEqual(parseSharedDirOption(text), { sharedDir, problems: [] });
    });
  }

  const keys = 'is no key; the keys are type, cache, timeout, writeback, ro';
  for (const [text, problem] of [
    ['/srv:t:type=p9', 'type="p9": is not supported: type=fs, which is the default, is virtio-fs'],
    ['/srv:t:type', 'type: must be fs'],
    ['/srv:t:cache=some', 'cache="some": must be one of never, auto, always'],
    ['/srv:t:timeout=1.5', 'timeout="1.5": must be a whole number of seconds'],
    ['/srv:t:writeback=1', 'writeback="1": must be true or false'],
    ['/srv:t:ro:ro', 'ro: is given twice'],
    ['/srv:t:', `"": ${keys}`],
    ['/srv:t:rw=true', `"rw": ${keys}`],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseSharedDirOption(text), { problems: [problem] });
    });
  }
});
