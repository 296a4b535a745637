/** What the structured options share: `key=value,key=value` into a draft, with everything that is wrong. */
import { quoted } from '#util/quoted.ts';
import { parseKeyValues } from './key-values.ts';

/** Sets one field, or says what is wrong with the value; `undefined` is a bare key. */
export type KeyReader<Draft> = (draft: Draft, value: string | undefined) => string | undefined;

export interface StructuredOption<Draft> {
  readonly readers: ReadonlyMap<string, KeyReader<Draft>>;
  /** crosvm lets the first key's name be left out: this is that key, which must be given. Absent: every key is named. */
  readonly first?: string;
  /** Keys that may be given more than once. */
  readonly repeatable?: readonly string[];
}

/** Fills the draft from the option's text. Returns the problems; never throws. */
export function readStructuredOption<Draft>(text: string, draft: Draft, option: StructuredOption<Draft>): string[] {
  const { readers, first, repeatable = [] } = option;
  const parsed = parseKeyValues(text);
  const problems = [...parsed.problems];
  const seen = new Set<string>();
  for (const [index, pair] of parsed.pairs.entries()) {
    const isUnnamed = index === 0 && pair.value === undefined && !readers.has(pair.key);
    const { key, value } = isUnnamed && first !== undefined ? { key: first, value: pair.key } : pair;
    const read = readers.get(key);
    if (read === undefined) {
      problems.push(`unknown key ${quoted(key)}; the keys are ${[...readers.keys()].join(', ')}`);
    } else if (seen.has(key) && !repeatable.includes(key)) {
      problems.push(`key ${key} is given twice`);
    } else {
      const problem = read(draft, value);
      if (problem !== undefined) problems.push(`${key}${value === undefined ? '' : `=${quoted(value)}`}: ${problem}`);
    }
    seen.add(key);
  }
  if (first !== undefined && !seen.has(first) && parsed.problems.length === 0) problems.push(`${first}=… is missing`);
  return problems;
}

/** For text that must be there. */
export function readText(value: string | undefined, set: (text: string) => void): string | undefined {
  if (value === undefined || value === '') return 'needs a value';
  set(value);
  return undefined;
}

/** A bare key means true. */
export function readBoolean(value: string | undefined, set: (value: boolean) => void): string | undefined {
  if (value !== undefined && value !== 'true' && value !== 'false') return 'must be true or false';
  set(value !== 'false');
  return undefined;
}

export function readChoice<T extends string>(
  choices: readonly T[],
  value: string | undefined,
  set: (choice: T) => void,
): string | undefined {
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) return `must be one of ${choices.join(', ')}`;
  set(choice);
  return undefined;
}
