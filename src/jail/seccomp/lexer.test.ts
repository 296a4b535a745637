import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logicalLines } from './lexer.ts';

/** Each logical line as its tokens' texts, without the end, and the physical lines that they stand in. */
function lexed(text: string): unknown[] {
  return logicalLines(text).map((line) => {
    if (line.kind !== 'tokens') return line;
    const tokens = line.tokens.slice(0, -1);
    return [tokens.map((token) => token.text).join(' '), [...new Set(tokens.map((token) => token.line))]];
  });
}

test('tokens need no blanks, and the longest operator wins', () => {
  assert.deepEqual(lexed('mmap:arg2>=0x10&&arg3&~(A|B)||arg0!=-1;return EPERM'), [
    ['mmap : arg2 >= 0x10 && arg3 & ~ ( A | B ) || arg0 != -1 ; return EPERM', [1]],
  ]);
});

test('comments and empty lines leave nothing', () => {
  assert.deepEqual(lexed('# a comment\n\n \t\nread: 1 # allowed\r\n#'), [['read : 1', [4]]]);
});

test('a backslash at the end continues a line, and tokens keep their own line', () => {
  assert.deepEqual(lexed('read: arg0 == 1 || \\\n  arg0 == 2 \\  \n|| arg0 == 3\nwrite: 1'), [
    ['read : arg0 == 1 || arg0 == 2 || arg0 == 3', [1, 2, 3]],
    ['write : 1', [4]],
  ]);
});

test('a directive takes the rest of its line', () => {
  assert.deepEqual(lexed('@include a file.policy # the common one\n  @frequency\t./x'), [
    { kind: 'directive', name: 'include', argument: 'a file.policy', line: 1 },
    { kind: 'directive', name: 'frequency', argument: './x', line: 2 },
  ]);
});

test('backslashes that continue nothing are mistakes', () => {
  const messages = (text: string) => logicalLines(text).filter((line) => line.kind === 'mistake');
  assert.match(messages('# comment \\\nread: 1')[0]?.message ?? '', /^a comment ends in a backslash/);
  assert.match(messages('read: 1 # comment \\\nwrite: 1')[0]?.message ?? '', /^a comment ends in a backslash/);
  assert.match(messages('@include a \\\nb')[0]?.message ?? '', /^a directive is one line/);
  assert.match(messages('read: 1 \\')[0]?.message ?? '', /^the last line ends in a backslash/);
});

test('characters of no token are tokens of their own, surrogates and all', () => {
  const [line] = logicalLines('a: {\u{1f600}\ud800}');
  assert.ok(line?.kind === 'tokens');
  assert.deepEqual(
    line.tokens.filter(({ kind }) => kind === 'other').map(({ text }) => text),
    ['{', '\u{1f600}', '\ud800', '}'],
  );
});
