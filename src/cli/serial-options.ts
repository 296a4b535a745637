import {
  SERIAL_HARDWARE,
  SERIAL_NUM,
  SERIAL_TYPES,
  type SerialConfig,
  type SerialHardware,
  type SerialType,
} from '#vmm/config.ts';
import { type KeyReader, readBoolean, readChoice, readStructuredOption, readText } from './structured-option.ts';

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

const keys: Readonly<Record<keyof Draft, KeyReader<Draft>>> = {
  type: (draft, value) => readChoice(SERIAL_TYPES, value, (type) => (draft.type = type)),
  hardware: (draft, value) => readChoice(SERIAL_HARDWARE, value, (hardware) => (draft.hardware = hardware)),
  num: (draft, value) => {
    const { min, max } = SERIAL_NUM;
    if (value === undefined || !/^[0-9]$/.test(value) || +value < min || +value > max)
      return `must be ${min} to ${max}`;
    draft.num = +value;
    return undefined;
  },
  path: (draft, value) => readText(value, (path) => (draft.path = path)),
  console: (draft, value) => readBoolean(value, (console) => (draft.console = console)),
  stdin: (draft, value) => readBoolean(value, (stdin) => (draft.stdin = stdin)),
};

const readers = new Map<string, KeyReader<Draft>>(Object.entries(keys));

export const SERIAL_KEYS: readonly string[] = [...readers.keys()];

/**
 * The value of one `--serial`: `type=…,num=…,path=…,console=…,stdin=…,hardware=…` in any order; `type=` may be left out
 * of a first `type=…`. Never throws. What concerns several ports, or files, is for `configMistakes` to say.
 */
export function parseSerialOption(text: string): ParsedSerialOption {
  const draft: Draft = {
    hardware: 'serial',
    num: SERIAL_NUM.min,
    type: undefined,
    path: undefined,
    console: false,
    stdin: false,
  };
  const problems = readStructuredOption(text, draft, { readers, first: 'type' });
  const { type, path, ...rest } = draft;
  if (problems.length > 0 || type === undefined) return { problems };
  return { port: path === undefined ? { ...rest, type } : { ...rest, type, path }, problems };
}
