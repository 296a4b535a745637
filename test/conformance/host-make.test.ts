import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CaseResult, TestCase } from './case.ts';
import { isOfTheMake } from './host-make.ts';

const none = { exception: null } as CaseResult;
const outcomeOf = (mnemonic: string, code: readonly number[]) => ({
  testCase: { mnemonic, code: Uint8Array.from(code), bits: 64 } as unknown as TestCase,
  expected: none,
  actual: none,
});
const PUSH = outcomeOf('PUSH_SREG', [0x06]);
const SLOT = '[0x70101149]: expected 0x0, got unchanged';

test('a difference of a make counts on hosts of that make alone', () => {
  assert.equal(isOfTheMake('amd', PUSH, [SLOT]), true);
  assert.equal(isOfTheMake('other', PUSH, [SLOT]), false);
});

test('a difference that is more than that of the make counts everywhere', () => {
  assert.equal(isOfTheMake('amd', PUSH, [SLOT, 'rsp: expected 0x8, got 0x0']), false);
  assert.equal(isOfTheMake('amd', outcomeOf('PUSH', [0x50]), [SLOT]), false);
  const prefetch = ['expected exception 6 error 0x0 address 0x0, got no exception', 'rip: expected 0x1, got 0x4'];
  assert.equal(isOfTheMake('amd', outcomeOf('NOP', [0x0f, 0x0d, 0xf4]), prefetch), true);
  assert.equal(isOfTheMake('amd', outcomeOf('NOP', [0x0f, 0x1f, 0xf4]), prefetch), false);
});
