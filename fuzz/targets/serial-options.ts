import assert from 'node:assert/strict';
import { parseSerialOption, SERIAL_KEYS } from '#cli/serial-options.ts';
import { numProblem, SERIAL_HARDWARE, SERIAL_TYPES, type SerialConfig } from '#vmm/config.ts';
import type { Random } from '../random.ts';
import { inputTarget, shrinkText } from '../target.ts';

const WORDS = [
  ...SERIAL_KEYS,
  ...SERIAL_TYPES,
  ...SERIAL_HARDWARE,
  'true',
  'false',
  '/tmp/x',
  '__proto__',
  'constructor',
];
const PUNCTUATION = ['=', ',', '"', "'", '\\', ' ', '', '\x1b[2J', '\n', '\x9b', '\u202e', '\ud800', '€'];

function piece(random: Random): string {
  if (random.oneIn(3)) return random.pick(PUNCTUATION);
  if (random.oneIn(5)) return String(random.between(-2, 12));
  return random.pick(WORDS);
}

/** Most inputs are nearly right, so that the later checks are reached. */
function generate(random: Random): string {
  if (random.oneIn(4)) return Array.from({ length: random.below(24) }, () => piece(random)).join('');
  const parts = Array.from({ length: random.between(0, 6) }, () => {
    const value = random.oneIn(3) ? `"${piece(random)}${piece(random)}"` : piece(random);
    return `${random.pick(SERIAL_KEYS)}=${value}`;
  });
  return [`type=${random.pick(SERIAL_TYPES)}`, ...parts].join(',');
}

const inQuotes = (text: string): string => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;

/** The text that means this port and nothing else. */
function written(port: SerialConfig): string {
  const { path, name, ...plain } = port;
  const pairs = Object.entries(plain).map(([key, value]) => `${key}=${value}`);
  const texts = Object.entries({ path, name }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${inQuotes(value)}`],
  );
  return [...pairs, ...texts].join(',');
}

function check(input: string): void {
  const { port, problems } = parseSerialOption(input);
  assert.equal(port === undefined, problems.length > 0, 'either a port or a problem');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that there are none is what is checked
  for (const problem of problems) assert.doesNotMatch(problem, /[\x00-\x1f\x7f-\x9f\u2028-\u202e]/);
  if (port === undefined) return;
  assert.ok(SERIAL_TYPES.includes(port.type));
  assert.ok(SERIAL_HARDWARE.includes(port.hardware));
  assert.ok(numProblem(port) === undefined);
  assert.ok(port.path !== '' && port.name !== '');
  assert.deepEqual(parseSerialOption(written(port)), { port, problems: [] });
}

export const target = inputTarget<string>({
  name: 'serial-options',
  generate,
  check,
  show: JSON.stringify,
  shrink: shrinkText,
});
