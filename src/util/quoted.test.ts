import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { quoted } from './quoted.ts';

describe('quoted', () => {
  test('leaves nothing that a terminal acts upon', () => {
    const dangerous = '\x1b[31m\n\r\x7f\u009b\u2028\u202e';
    assert.equal(quoted(dangerous), '"\\u001b[31m\\n\\r\\u007f\\u009b\\u2028\\u202e"');
  });

  test('bounds the length', () => {
    assert.ok(quoted('x'.repeat(10_000)).length < 130);
  });
});
