import assert from 'node:assert/strict';
import { CommandLine, CommandLineError } from '#kernel/command-line.ts';
import type { Random } from '../random.ts';
import { inputTarget } from '../target.ts';

interface Input {
  readonly maxBytes: number;
  readonly parts: readonly (string | readonly [key: string, value: string])[];
}

const ALPHABETS = ['abc=,.-"\' ', ' ', '\0\n\r\t\x7f', 'äß€\u{1f600}\ud800\udc00\u2028'] as const;

function text(random: Random): string {
  const length = random.oneIn(10) ? random.below(3000) : random.below(20);
  // Most texts are of the first alphabet alone, so that valid lines of some length come up.
  const alphabets = random.oneIn(4) ? ALPHABETS : ALPHABETS.slice(0, 1);
  return Array.from({ length }, () => random.pick([...random.pick(alphabets)])).join('');
}

function check({ maxBytes, parts }: Input): void {
  const line = new CommandLine(maxBytes);
  for (const part of parts) {
    const before = line.toString();
    try {
      if (typeof part === 'string') line.append(part);
      else line.set(part[0], part[1]);
      assert.ok(line.toString().startsWith(before));
    } catch (error) {
      if (!(error instanceof CommandLineError)) throw error;
      assert.match(error.message, /^[\x20-\x7e]+$/);
      assert.equal(line.toString(), before);
    }
    const bytes = line.encode();
    assert.ok(line.lengthBytes <= maxBytes);
    assert.equal(bytes.length, line.lengthBytes + 1);
    assert.equal(bytes.at(-1), 0);
    assert.ok(bytes.subarray(0, -1).every((byte) => byte >= 0x20 && byte <= 0x7e));
  }
}

export const target = inputTarget<Input>({
  name: 'cmdline',
  generate: (random) => ({
    maxBytes: random.pick([0, 1, 255, 2047]),
    parts: Array.from({ length: random.between(1, 8) }, () =>
      random.oneIn(3) ? ([text(random), text(random)] as const) : text(random),
    ),
  }),
  check,
  show: (input) => JSON.stringify(input),
  *shrink({ maxBytes, parts }) {
    for (let i = 0; i < parts.length; i++) yield { maxBytes, parts: parts.toSpliced(i, 1) };
  },
});
