import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePolicy } from './parser.ts';

function parsed(text: string) {
  const { statements, mistakes } = parsePolicy(text, 'p');
  assert.deepEqual(mistakes, []);
  return statements;
}

function mistakes(text: string): string[] {
  return parsePolicy(text, 'p').mistakes.map(({ file, line, message }) => `${file}:${line}: ${message}`);
}

const name = (text: string, line = 1) => ({ kind: 'name', name: text, line });
const number = (value: bigint) => ({ kind: 'number', value });

test('1 allows always, return ERRNO never', () => {
  assert.deepEqual(parsed('read: 1\nopen: return ENOENT'), [
    { kind: 'rule', call: 'read', line: 1, allowed: [[]] },
    { kind: 'rule', call: 'open', line: 2, allowed: [], otherwise: name('ENOENT', 2) },
  ]);
});

test('&& binds closer than ||, and an errno may follow a condition', () => {
  const atom = (argument: number, comparison: string, value: bigint) => ({
    argument,
    comparison,
    value: number(value),
  });
  assert.deepEqual(parsed('ioctl: arg1 == 0x10 && arg2 < 8 || arg1 in 010; return 13'), [
    {
      kind: 'rule',
      call: 'ioctl',
      line: 1,
      allowed: [[atom(1, '==', 16n), atom(2, '<', 8n)], [atom(1, 'in', 8n)]],
      otherwise: number(13n),
    },
  ]);
});

test('~ binds closer than |, parentheses closest', () => {
  const value = (text: string) => {
    const [rule] = parsed(`mmap: arg2 in ${text}`);
    return rule?.kind === 'rule' ? rule.allowed[0]?.[0]?.value : undefined;
  };
  const complement = (of: unknown) => ({ kind: 'complement', of });
  const union = (...of: unknown[]) => ({ kind: 'union', of });
  assert.deepEqual(value('~A|B'), union(complement(name('A')), name('B')));
  assert.deepEqual(value('~(A|B)'), complement(union(name('A'), name('B'))));
  assert.deepEqual(value('~~A'), complement(complement(name('A'))));
});

test('numbers are C numbers of 64 bits', () => {
  const value = (text: string) => {
    const [rule] = parsed(`mmap: arg2 == ${text}`);
    const found = rule?.kind === 'rule' ? rule.allowed[0]?.[0]?.value : undefined;
    return found?.kind === 'number' ? found.value : undefined;
  };
  assert.equal(value('0'), 0n);
  assert.equal(value('0xFFFFffffFFFFffff'), 2n ** 64n - 1n);
  assert.equal(value('-1'), 2n ** 64n - 1n);
  assert.equal(value('-9223372036854775808'), 2n ** 63n);
  assert.equal(value('0777'), 0o777n);
});

test('a call may be a number, a file may be included, @frequency is skipped', () => {
  assert.deepEqual(parsed('@frequency ./x\n@include ./common.policy\n39: 1'), [
    { kind: 'include', path: './common.policy', line: 2 },
    { kind: 'rule', call: 39, line: 3, allowed: [[]] },
  ]);
});

for (const [text, message] of [
  ['read', 'expected : after read, not the end of the line'],
  ['read 1', 'expected : after read, not "1"'],
  [': 1', 'expected a system call, not ":"'],
  ['read: 0', 'expected 1, return or arg0 to arg5, not "0"'],
  ['read:', 'expected 1, return or arg0 to arg5, not the end of the line'],
  ['read: allow', 'expected 1, return or arg0 to arg5, not "allow"'],
  ['read: 1 1', 'did not expect "1" here'],
  ['read: arg6 == 1', 'a system call has no arg6, only arg0 to arg5'],
  ['read: arg == 1', 'expected arg0 to arg5, not "arg"'],
  ['read: arg0 = 1', 'expected one of == != < <= > >= & in after arg0, not "="'],
  ['read: arg0 == ', 'expected a constant, not the end of the line'],
  ['read: arg0 == 09', '"09" is not a number'],
  ['read: arg0 == 1x', '"1x" is not a number'],
  ['read: arg0 == 0x10000000000000000', '"0x10000000000000000" does not fit in 64 bits'],
  ['read: arg0 == -9223372036854775809', '"-9223372036854775809" does not fit in 64 bits'],
  ['read: arg0 == (1', 'expected ) after the constant in parentheses, not the end of the line'],
  [`read: arg0 == ${'('.repeat(20)}`, 'a constant is nested deeper than 16'],
  ['read: arg0 == 1 &&', 'expected arg0 to arg5, not the end of the line'],
  ['read: arg0 == 1; EPERM', 'expected return after ;, not "EPERM"'],
  ['read: (arg0 == 1)', 'expected 1, return or arg0 to arg5, not "("'],
  ['{read, write}: 1', 'expected a system call, not "{"'],
  ['4294967296: 1', '"4294967296" is no system call'],
  ['@include', '@include needs a file'],
  ['@default kill', '@default is not supported: whoever applies a policy chooses it'],
  ['@denylist x', 'unknown directive "@denylist": there are @include and @frequency'],
  ['\x1b[2J: 1', 'expected a system call, not "\\u001b"'],
] as const) {
  test(`refuses ${JSON.stringify(text)}`, () => {
    assert.deepEqual(mistakes(text), [`p:1: ${message}`]);
  });
}

test('reports the mistakes of all lines, each where it stands, and keeps the statements without', () => {
  const text = 'read: 2\nwrite: 1\nopen: arg0 == 1 || \\\n  arg9 == 2\n@unknown x';
  assert.deepEqual(
    mistakes(text).map((mistake) => mistake.split(': ')[0]),
    ['p:1', 'p:4', 'p:5'],
  );
  assert.equal(parsePolicy(text, 'p').statements.length, 1);
});

test('refuses a text that is too long without parsing it', () => {
  assert.deepEqual(mistakes('#'.repeat(300_000)), ['p:0: the policy has 300000 characters, more than 262144']);
});
