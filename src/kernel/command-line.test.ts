import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CommandLine } from './command-line.ts';

test('parts are joined by one blank, in order', () => {
  const line = new CommandLine(100);
  line.append('reboot=k panic=-1');
  line.append('');
  line.set('console', 'ttyS0');
  assert.equal(line.toString(), 'reboot=k panic=-1 console=ttyS0');
  assert.equal(line.lengthBytes, 31);
});

test('the bytes end with NUL', () => {
  const line = new CommandLine(100);
  assert.deepEqual([...line.encode()], [0]);
  line.append('ab');
  assert.deepEqual([...line.encode()], [0x61, 0x62, 0]);
});

test('a value with blanks is quoted', () => {
  const line = new CommandLine(100);
  line.set('dyndbg', 'file a.c +p');
  assert.equal(line.toString(), 'dyndbg="file a.c +p"');
});

test('a line of exactly the limit is taken, one byte more is refused and changes nothing', () => {
  const line = new CommandLine(10);
  line.append('1234');
  assert.throws(() => line.append('678901'), {
    name: 'CommandLineError',
    code: 'CMDLINE_TOO_LONG',
    message: 'kernel command line: 11 bytes; the kernel takes at most 10',
  });
  line.append('67890');
  assert.equal(line.toString(), '1234 67890');
});

for (const [what, text, shown] of [
  ['NUL', 'a\0b', 'U+0000 at position 1'],
  ['a line feed', 'ab\n', 'U+000A at position 2'],
  ['a carriage return', '\r', 'U+000D at position 0'],
  ['a tab', 'a\tb', 'U+0009 at position 1'],
  ['DEL', '\x7f', 'U+007F at position 0'],
  ['a letter that is not ASCII', 'ä', 'U+00E4 at position 0'],
  ['a character outside the basic plane', 'a😀', 'U+1F600 at position 1'],
  ['a lone surrogate', 'a\ud800', 'U+D800 at position 1'],
] as const) {
  test(`${what} is refused and named`, () => {
    const line = new CommandLine(100);
    assert.throws(() => line.append(text), {
      code: 'CMDLINE_INVALID_CHARACTER',
      message: `kernel command line: character ${shown}: only printable ASCII is allowed`,
    });
    assert.equal(line.toString(), '');
  });
}

test('a parameter name with a blank, an equals sign or nothing is refused', () => {
  for (const key of ['', 'a b', 'a=b', '"a']) {
    assert.throws(() => new CommandLine(100).set(key, '1'), { code: 'CMDLINE_INVALID_KEY' });
  }
});

test('a parameter name that is not ASCII is refused', () => {
  assert.throws(() => new CommandLine(100).set('a\u2028', '1'), { code: 'CMDLINE_INVALID_CHARACTER' });
});

test('a quotation mark in a value is refused', () => {
  assert.throws(() => new CommandLine(100).set('a', 'x"y'), { code: 'CMDLINE_INVALID_CHARACTER' });
});
