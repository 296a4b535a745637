import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSharedDirOption } from './fs-options.ts';

const maps = { uidMap: undefined, gidMap: undefined };
const defaults = { readOnly: false, cache: 'auto', timeoutSeconds: 5, writeback: false, ...maps } as const;

describe('--shared-dir', () => {
  for (const [text, sharedDir] of [
    ['/srv:tag', { ...defaults, path: '/srv', tag: 'tag' }],
    ['a b:t:type=fs:ro', { ...defaults, path: 'a b', tag: 't', readOnly: true }],
    [
      '.:t:cache=always:timeout=60:writeback=true:ro=false',
      { path: '.', tag: 't', cache: 'always', timeoutSeconds: 60, writeback: true, readOnly: false, ...maps },
    ],
    ['', { ...defaults, path: '', tag: '' }],
    [
      '/srv:t:uidmap=0 100000 1000,1000 1000 1:gidmap=0 0 1',
      {
        ...defaults,
        path: '/srv',
        tag: 't',
        uidMap: [
          { inside: 0, outside: 100000, count: 1000 },
          { inside: 1000, outside: 1000, count: 1 },
        ],
        gidMap: [{ inside: 0, outside: 0, count: 1 }],
      },
    ],
  ] as const) {
    test(`${JSON.stringify(text)} is understood`, () => {
      assert.deepEqual(parseSharedDirOption(text), { sharedDir, problems: [] });
    });
  }

  const keys = 'is no key; the keys are type, uidmap, gidmap, cache, timeout, writeback, ro';
  for (const [text, problem] of [
    ['/srv:t:type=p9', 'type="p9": is not supported: type=fs, which is the default, is virtio-fs'],
    ['/srv:t:type', 'type: must be fs'],
    ['/srv:t:cache=some', 'cache="some": must be one of never, auto, always'],
    ['/srv:t:timeout=1.5', 'timeout="1.5": must be a whole number of seconds'],
    ['/srv:t:writeback=1', 'writeback="1": must be true or false'],
    ['/srv:t:ro:ro', 'ro: is given twice'],
    ['/srv:t:uidmap=0 1', 'uidmap="0 1": must be GUEST HOST COUNT, with commas between several'],
    ['/srv:t:gidmap', 'gidmap: must be GUEST HOST COUNT, with commas between several'],
    ['/srv:t:', `"": ${keys}`],
    ['/srv:t:rw=true', `"rw": ${keys}`],
  ] as const) {
    test(`${JSON.stringify(text)}: ${problem}`, () => {
      assert.deepEqual(parseSharedDirOption(text), { problems: [problem] });
    });
  }
});
