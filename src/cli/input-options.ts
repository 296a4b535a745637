import { INPUT_KINDS, type InputKind } from '#devices/virtio/input/input-table.ts';
import { DEFAULT_TOUCH_SIZE, hasSurface, type InputConfig } from '#vmm/input-config.ts';
import { type KeyReader, readStructuredOption, readText } from './structured-option.ts';

export interface ParsedInputOption {
  /** Absent when a problem kept it from being made. */
  readonly input?: InputConfig;
  readonly problems: readonly string[];
}

interface Draft {
  path?: string;
  width?: number;
  height?: number;
}

/** `KIND[KEY=VALUE,…]`. */
const FORM = /^([a-z-]+)\[(.*)\]$/s;
/** `PATH:WIDTH:HEIGHT`, of the old options; a path may have colons. */
const OLD_SIZE = /^(.*):([0-9]{1,10}):([0-9]{1,10})$/s;

const path: KeyReader<Draft> = (draft, value) => readText(value, (text) => (draft.path = text));
const PLAIN = new Map<string, KeyReader<Draft>>([['path', path]]);
const SURFACE = new Map<string, KeyReader<Draft>>([
  ['path', path],
  ['width', (draft, value) => readSize(value, (width) => (draft.width = width))],
  ['height', (draft, value) => readSize(value, (height) => (draft.height = height))],
]);

function readSize(value: string | undefined, set: (size: number) => void): string | undefined {
  if (value === undefined || !/^[0-9]{1,10}$/.test(value)) return 'must be a whole number';
  set(Number(value));
  return undefined;
}

/** The value of one `--input`: `KIND[path=PATH]`, with `width=` and `height=` for a surface. Never throws. */
export function parseInputOption(text: string): ParsedInputOption {
  const [, name, keys = ''] = FORM.exec(text) ?? [];
  const kind = INPUT_KINDS.find((each) => each === name);
  if (kind === undefined) return { problems: [`must be KIND[path=PATH], KIND one of ${INPUT_KINDS.join(', ')}`] };
  const draft: Draft = {};
  const problems = readStructuredOption(keys, draft, { readers: hasSurface(kind) ? SURFACE : PLAIN, first: 'path' });
  return problems.length > 0 ? { problems } : { input: configOf(kind, draft), problems };
}

/** The value of crosvm's options of 2020, such as `--keyboard`: `PATH`, and for a surface `PATH[:WIDTH:HEIGHT]`. Never throws. */
export function parseOldInputOption(kind: InputKind, text: string): ParsedInputOption {
  if (text === '') return { problems: ['needs a path'] };
  const [, name = '', width, height] = (hasSurface(kind) && OLD_SIZE.exec(text)) || [];
  const draft: Draft =
    width === undefined ? { path: text } : { path: name, width: Number(width), height: Number(height) };
  return { input: configOf(kind, draft), problems: [] };
}

function configOf(kind: InputKind, draft: Draft): InputConfig {
  const { width = DEFAULT_TOUCH_SIZE.width, height = DEFAULT_TOUCH_SIZE.height } = draft;
  return { kind, path: draft.path ?? '', ...(hasSurface(kind) && { size: { width, height } }) };
}
