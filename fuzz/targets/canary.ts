import assert from 'node:assert/strict';
import { inputTarget, showBytes, shrinkBytes } from '../target.ts';

/** Reads a length byte and that many bytes after it; forgets that the input may end earlier when the length is large. */
function parseWithBug(input: Uint8Array): number[] {
  const length = input[0] ?? 0;
  if (length < 200 && length > input.length - 1) return [];
  return Array.from({ length }, (_, i) => input[1 + i] as number);
}

/** Deliberately wrong: a run of it must fail, else the fuzzers find nothing. */
export const target = inputTarget<Uint8Array>({
  name: 'canary',
  generate: (random) => random.bytes(random.below(64)),
  check: (input) => assert.ok(parseWithBug(input).every((byte) => byte !== undefined)),
  show: showBytes,
  shrink: shrinkBytes,
});
