import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { configMistakes } from './config.ts';
import type { SharedDirConfig } from './fs-config.ts';
import type { HostFiles } from './host-files.ts';

const dir = (changes: Partial<SharedDirConfig> = {}): SharedDirConfig => {
  const defaults = { path: '/srv', readOnly: false, cache: 'auto', timeoutSeconds: 5, writeback: false } as const;
  return { ...defaults, tag: 'tag', uidMap: undefined, gidMap: undefined, ...changes };
};

const own = [{ inside: 0, outside: 1000, count: 1 }];

const files: HostFiles = {
  stat(path) {
    if (path === '/none') throw Object.assign(new Error('stat'), { code: 'ENOENT' });
    return { kind: path === '/srv' ? 'directory' : 'file', sizeBytes: 1 };
  },
  assertReadable: () => {},
  assertWritable: () => {},
};

const lines = (...sharedDirs: readonly SharedDirConfig[]): string[] => {
  const rest = {
    initrdPaths: [],
    params: [],
    serial: [],
    disks: [],
    nets: [],
    inputs: [],
    pmems: [],
    cpus: 1,
    memoryMib: 256,
  };
  const config = {
    ...rest,
    kernelPath: '/k',
    sandbox: true,
    seccompLogFailures: false,
    hypervisor: 'auto',
    logLevel: 'warn',
    stats: false,
  } as const;
  return configMistakes({ ...config, sharedDirs }, files).map(({ option, message }) => `${option}: ${message}`);
};

describe('shared directories', () => {
  test('good ones have no mistakes', () => {
    assert.deepEqual(lines(dir(), dir({ tag: 'ä'.repeat(18), timeoutSeconds: 0xffff_ffff })), []);
  });

  for (const [changes, message] of [
    [{ uidMap: [{ inside: 0, outside: 0, count: 1 }] }, 'uidmap and gidmap go together'],
    [{ uidMap: [], gidMap: own }, 'uidmap: 1 to 340 ranges are possible'],
    [{ uidMap: own, gidMap: [{ inside: 1, outside: 1, count: 1 }] }, "gidmap: the guest's 0 must be in it"],
    [
      { uidMap: own, gidMap: [{ inside: 0, outside: 1, count: 0xffff_ffff }] },
      'gidmap: a range must have at least one id, and none from 4294967295 on',
    ],
    [{ path: '' }, 'the path is missing: PATH:TAG'],
    [{ path: '/none' }, '"/none": does not exist'],
    [{ path: '/file' }, '"/file": is a file, not a directory'],
    [{ tag: '' }, 'a tag is missing: PATH:TAG'],
    [{ tag: 'a\0' }, 'tag "a\\u0000": must not have a NUL'],
    [{ tag: 'ä'.repeat(19) }, `tag "${'ä'.repeat(19)}": 38 bytes; it has at most 36`],
    [{ timeoutSeconds: 2 ** 32 }, 'timeout=4294967296: must be 0 to 4294967295 seconds'],
  ] as const) {
    test(message, () => {
      assert.deepEqual(lines(dir(changes)), [`--shared-dir: ${message}`]);
    });
  }

  test('there are four at most, each with a tag of its own', () => {
    const five = ['a', 'b', 'c', 'd', 'a'].map((tag) => dir({ tag }));
    assert.deepEqual(lines(...five), [
      '--shared-dir: at most 4 directories can be shared',
      '--shared-dir: the tag "a" is given twice',
    ]);
  });
});
