import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { EscapeFilter } from './escape-filter.ts';

function pushAll(...chunks: string[]) {
  const filter = new EscapeFilter(64);
  let text = '';
  for (const chunk of chunks) {
    const { bytes, leave } = filter.push(Buffer.from(chunk, 'latin1'));
    text += Buffer.from(bytes).toString('latin1');
    if (leave) return { text, leave };
  }
  return { text, leave: false };
}

describe('EscapeFilter', () => {
  test('ordinary bytes pass unchanged, Ctrl-C among them', () => {
    assert.deepEqual(pushAll('ls\r\x03\xff\x00'), { text: 'ls\r\x03\xff\x00', leave: false });
  });

  test('Ctrl-A x leaves and drops what follows', () => {
    assert.deepEqual(pushAll('ab\x01xcd'), { text: 'ab', leave: true });
  });

  test('Ctrl-A X leaves, so that a locked shift key does not trap the user', () => {
    assert.deepEqual(pushAll('\x01X'), { text: '', leave: true });
  });

  test('Ctrl-A Ctrl-A sends one Ctrl-A, and a following x is an x', () => {
    assert.deepEqual(pushAll('\x01\x01x'), { text: '\x01x', leave: false });
  });

  test('Ctrl-A and another key sends both', () => {
    assert.deepEqual(pushAll('\x01c'), { text: '\x01c', leave: false });
  });

  test('a sequence split over two chunks is recognised', () => {
    assert.deepEqual(pushAll('a\x01', 'xb'), { text: 'a', leave: true });
  });

  test('a lone Ctrl-A at the end of the input waits', () => {
    const filter = new EscapeFilter(4);
    assert.equal(filter.push(Buffer.from('a\x01')).bytes.length, 1);
    assert.equal(filter.pending, true);
  });

  test('a chunk as large as the capacity that follows a Ctrl-A fits', () => {
    const filter = new EscapeFilter(4);
    filter.push(Buffer.from('\x01'));
    assert.deepEqual([...filter.push(Buffer.from('abcd')).bytes], [1, 0x61, 0x62, 0x63, 0x64]);
  });

  test('a chunk larger than the capacity is refused', () => {
    assert.throws(() => new EscapeFilter(4).push(new Uint8Array(5)), RangeError);
  });

  test('the result does not depend on how the input is cut into chunks', () => {
    const bytes = fc.array(fc.constantFrom('\x01', 'x', 'a', '\xff'), { maxLength: 40 });
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 7 }), (input, step) => {
        const text = input.join('');
        const chunks: string[] = [];
        for (let at = 0; at < text.length; at += step) chunks.push(text.slice(at, at + step));
        assert.deepEqual(pushAll(...chunks), pushAll(text));
      }),
    );
  });
});
