import type { VsockConfig } from '#vmm/config.ts';
import { type KeyReader, readStructuredOption, readText } from './structured-option.ts';

export interface ParsedVsockOption {
  /** Absent when a problem kept it from being made. */
  readonly vsock?: VsockConfig;
  readonly problems: readonly string[];
}

type Draft = { -readonly [K in keyof VsockConfig]: VsockConfig[K] };

const readers = new Map<string, KeyReader<Draft>>([
  [
    'cid',
    (draft, value) => {
      if (value === undefined || !/^[0-9]{1,10}$/.test(value)) return 'must be a whole number';
      draft.cid = Number(value);
      return undefined;
    },
  ],
  ['socket', (draft, value) => readText(value, (path) => (draft.socketPath = path))],
]);

export const VSOCK_KEYS: readonly string[] = [...readers.keys()];

/** The value of `--vsock`: `[cid=]N,socket=PATH`. Never throws. */
export function parseVsockOption(text: string): ParsedVsockOption {
  const draft: Draft = { cid: 0, socketPath: '' };
  const problems = readStructuredOption(text, draft, { readers, first: 'cid' });
  if (problems.length === 0 && draft.socketPath === '') problems.push('socket=… is missing');
  return problems.length > 0 ? { problems } : { vsock: draft, problems };
}
