import {
  quoted,
  SERIAL_HARDWARE,
  SERIAL_NUM,
  SERIAL_TYPES,
  type SerialConfig,
  type SerialHardware,
  type SerialType,
} from '#vmm/config.ts';
import { type KeyValue, parseKeyValues } from './key-values.ts';

export interface ParsedSerialOption {
  /** Absent when a problem kept it from being made. */
  readonly port?: SerialConfig;
  readonly problems: readonly string[];
}

interface Draft {
  hardware: SerialHardware;
  num: number;
  type: SerialType | undefined;
  path: string | undefined;
  console: boolean;
  stdin: boolean;
}

/** Sets one field, or says what is wrong with the value; `undefined` is a bare key. */
type KeyReader = (draft: Draft, value: string | undefined) => string | undefined;

const keys: Readonly<Record<keyof Draft, KeyReader>> = {
  type: (draft, value) => choose(SERIAL_TYPES, value, (type) => (draft.type = type)),
  hardware: (draft, value) => choose(SERIAL_HARDWARE, value, (hardware) => (draft.hardware = hardware)),
  num: (draft, value) => {
    const { min, max } = SERIAL_NUM;
    if (value === undefined || !/^[0-9]$/.test(value) || +value < min || +value > max)
      return `must be ${min} to ${max}`;
    draft.num = +value;
    return undefined;
  },
  path: (draft, value) => {
    if (value === undefined || value === '') return 'needs a value';
    draft.path = value;
    return undefined;
  },
  console: (draft, value) => readBoolean(value, (console) => (draft.console = console)),
  stdin: (draft, value) => readBoolean(value, (stdin) => (draft.stdin = stdin)),
};

const keyReaders = new Map<string, KeyReader>(Object.entries(keys));

export const SERIAL_KEYS: readonly string[] = [...keyReaders.keys()];

/**
 * The value of one `--serial`: `type=…,num=…,path=…,console=…,stdin=…,hardware=…` in any order; `type=` may be left out
 * of a first `type=…`. Never throws. What concerns several ports, or files, is for `configMistakes` to say.
 */
export function parseSerialOption(text: string): ParsedSerialOption {
  const parsed = parseKeyValues(text);
  const problems = [...parsed.problems];
  const draft: Draft = {
    hardware: 'serial',
    num: SERIAL_NUM.min,
    type: undefined,
    path: undefined,
    console: false,
    stdin: false,
  };
  const seen = new Set<string>();
  for (const [index, pair] of parsed.pairs.entries()) {
    const { key, value } = index === 0 ? withTypeKey(pair) : pair;
    const read = keyReaders.get(key);
    if (read === undefined) {
      problems.push(`unknown key ${quoted(key)}; the keys are ${SERIAL_KEYS.join(', ')}`);
    } else if (seen.has(key)) {
      problems.push(`key ${key} is given twice`);
    } else {
      const problem = read(draft, value);
      if (problem !== undefined) problems.push(`${key}${value === undefined ? '' : `=${quoted(value)}`}: ${problem}`);
    }
    seen.add(key);
  }
  if (!seen.has('type') && parsed.problems.length === 0) problems.push('type=… is missing');
  const { type, path, ...rest } = draft;
  if (problems.length > 0 || type === undefined) return { problems };
  return { port: path === undefined ? { ...rest, type } : { ...rest, type, path }, problems };
}

/** crosvm lets the first key's name be left out. */
function withTypeKey(pair: KeyValue): KeyValue {
  const isType = pair.value === undefined && !keyReaders.has(pair.key);
  return isType ? { key: 'type', value: pair.key } : pair;
}

function choose<T extends string>(
  choices: readonly T[],
  value: string | undefined,
  set: (choice: T) => void,
): string | undefined {
  const choice = choices.find((candidate) => candidate === value);
  if (choice === undefined) return `must be one of ${choices.join(', ')}`;
  set(choice);
  return undefined;
}

function readBoolean(value: string | undefined, set: (value: boolean) => void): string | undefined {
  if (value !== undefined && value !== 'true' && value !== 'false') return 'must be true or false';
  set(value !== 'false');
  return undefined;
}
