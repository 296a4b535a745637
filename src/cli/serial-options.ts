import {
  numProblem,
  SERIAL_HARDWARE,
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
  earlycon: boolean;
  jail: boolean;
  name: string | undefined;
}

const keys: Readonly<Record<keyof Draft, KeyReader<Draft>>> = {
  type: (draft, value) => readChoice(SERIAL_TYPES, value, (type) => (draft.type = type)),
  hardware: (draft, value) => readChoice(SERIAL_HARDWARE, value, (hardware) => (draft.hardware = hardware)),
  num: (draft, value) => {
    if (value === undefined || !/^[1-9][0-9]?$/.test(value)) return 'must be a number from 1 on';
    draft.num = +value;
    return undefined;
  },
  path: (draft, value) => readText(value, (path) => (draft.path = path)),
  console: (draft, value) => readBoolean(value, (console) => (draft.console = console)),
  stdin: (draft, value) => readBoolean(value, (stdin) => (draft.stdin = stdin)),
  earlycon: (draft, value) => readBoolean(value, (earlycon) => (draft.earlycon = earlycon)),
  jail: (draft, value) => readBoolean(value, (jail) => (draft.jail = jail)),
  name: (draft, value) => readText(value, (name) => (draft.name = name)),
};

const readers = new Map<string, KeyReader<Draft>>(Object.entries(keys));

export const SERIAL_KEYS: readonly string[] = [...readers.keys()];

/**
 * The value of one `--serial`: `type=…,num=…,path=…,console=…,stdin=…,hardware=…,earlycon=…,jail=…,name=…` in any order; `type=` may be
 * left out of a first `type=…`. Never throws. What concerns several ports, or files, is for `configMistakes` to say.
 */
export function parseSerialOption(text: string): ParsedSerialOption {
  const draft: Draft = {
    hardware: 'serial',
    num: 1,
    type: undefined,
    path: undefined,
    console: false,
    stdin: false,
    earlycon: false,
    jail: false,
    name: undefined,
  };
  const problems = readStructuredOption(text, draft, { readers, first: 'type' });
  const { type, path, earlycon, jail, name, ...rest } = draft;
  const problem = numProblem(rest);
  if (problem !== undefined) problems.push(`num="${rest.num}": ${problem}`);
  if (problems.length > 0 || type === undefined) return { problems };
  const optional = {
    ...(path !== undefined && { path }),
    ...(earlycon && { earlycon }),
    ...(jail && { jail }),
    ...(name !== undefined && { name }),
  };
  return { port: { ...rest, type, ...optional }, problems };
}
