import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AARCH64, type Architecture, X86_64 } from './architecture.ts';
import { PolicyError } from './policy-error.ts';
import { resolvePolicy } from './resolver.ts';

type Files = Readonly<Record<string, string>>;

function resolved(files: Files, architecture: Architecture = X86_64) {
  return resolvePolicy({ path: '/p/main.policy', architecture, readFile: (path) => read(files, path) });
}

function read(files: Files, path: string): string {
  const text = files[path];
  if (text === undefined) throw new Error('there is none');
  return text;
}

function mistakes(files: Files, architecture?: Architecture): string[] {
  try {
    resolved(files, architecture);
  } catch (error) {
    assert.ok(error instanceof PolicyError);
    assert.equal(error.code, 'BAD_POLICY');
    return error.message.split('\n');
  }
  return [];
}

test('names become the numbers of the architecture', () => {
  const files = { '/p/main.policy': 'write: 1\nopenat: arg2 in O_DIRECTORY|O_CLOEXEC; return EPERM' };
  const rules = (architecture: Architecture) =>
    resolved(files, architecture).map(({ call, allowed, otherwise }) => [call, allowed[0]?.[0]?.value, otherwise]);
  assert.deepEqual(rules(X86_64), [
    [1, undefined, undefined],
    [257, 0o2200000n, 1],
  ]);
  assert.deepEqual(rules(AARCH64), [
    [56, 0o2040000n, 1],
    [64, undefined, undefined],
  ]);
});

test('a complement and a negative constant have 64 bits', () => {
  const [rule] = resolved({ '/p/main.policy': 'openat: arg2 in ~PROT_EXEC && arg0 == AT_FDCWD' });
  assert.deepEqual(
    rule?.allowed[0]?.map(({ value }) => value),
    [0xffff_ffff_ffff_fffbn, 0xffff_ffff_ffff_ff9cn],
  );
});

test('a file is included relative to the one that includes it', () => {
  const rules = resolved({
    '/p/main.policy': '@include sub/a.policy\nread: 1',
    '/p/sub/a.policy': '@include b.policy\nwrite: 1',
    '/p/sub/b.policy': '@include /abs/c.policy\nclose: 1',
    '/abs/c.policy': 'brk: 1',
  });
  assert.deepEqual(
    rules.map(({ call, place }) => [call, place.file]),
    [
      [0, '/p/main.policy'],
      [1, '/p/sub/a.policy'],
      [3, '/p/sub/b.policy'],
      [12, '/abs/c.policy'],
    ],
  );
});

test('cycles, repeated and unreadable files are refused', () => {
  const files = {
    '/p/main.policy': '@include a.policy\n@include a.policy\n@include ./main.policy\n@include none.policy',
    '/p/a.policy': '@include main.policy',
  };
  assert.deepEqual(mistakes(files), [
    '/p/a.policy:1: "/p/main.policy" includes itself',
    '/p/main.policy:2: "/p/a.policy" is included already, /p/main.policy:1',
    '/p/main.policy:3: "/p/main.policy" includes itself',
    '/p/main.policy:4: cannot read the policy: there is none',
  ]);
  assert.deepEqual(mistakes({}), ['/p/main.policy: cannot read the policy: there is none']);
});

test('a policy has at most 16 files', () => {
  const chain = Object.fromEntries(
    Array.from({ length: 20 }, (_, i) => [i === 0 ? '/p/main.policy' : `/p/${i}.policy`, `@include ${i + 1}.policy`]),
  );
  assert.deepEqual(mistakes(chain), ['/p/15.policy:1: a policy of more than 16 files']);
});

test('a call has one rule, in whatever files', () => {
  const files = { '/p/main.policy': 'read: 1\n@include a.policy\n0: 1', '/p/a.policy': 'read: return EPERM' };
  assert.deepEqual(mistakes(files), [
    '/p/a.policy:1: read has a rule already, /p/main.policy:1',
    '/p/main.policy:3: 0 has a rule already, /p/main.policy:1',
  ]);
});

test('mistakes of parsing and of names come together, and nothing inherited is a name', () => {
  const text =
    'read: 2\nfoo: 1\nmmap: arg0 == FOO|1 && arg1 in BAR\nclose: return 4096\n__proto__: arg0 == constructor';
  assert.deepEqual(mistakes({ '/p/main.policy': text }), [
    '/p/main.policy:1: expected 1, return or arg0 to arg5, not "2"',
    '/p/main.policy:2: x86_64 has no system call foo',
    '/p/main.policy:3: x86_64 has no constant FOO',
    '/p/main.policy:3: x86_64 has no constant BAR',
    '/p/main.policy:4: return 4096: an errno is 0 to 4095',
    '/p/main.policy:5: x86_64 has no constant constructor',
    '/p/main.policy:5: x86_64 has no system call __proto__',
  ]);
});

test('a call that one architecture alone has is refused on the other', () => {
  const files = { '/p/main.policy': 'open: 1\n0x40000000: 1' };
  assert.deepEqual(mistakes(files, AARCH64), ['/p/main.policy:1: aarch64 has no system call open']);
  assert.deepEqual(mistakes(files), ["/p/main.policy:2: 1073741824 is a call of another convention than x86_64's"]);
});

test('a mistake is one line that moves no cursor', () => {
  const files = { '/p/main.policy': '@include \x1b[2J\u202e\x9b' };
  assert.deepEqual(
    mistakes({ ...files, '/p/\x1b[2J\u202e\x9b': 'x' }).map((mistake) => /[^ -~]/.test(mistake)),
    [false],
  );
});
