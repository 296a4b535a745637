import type { PmemConfig } from '#vmm/pmem-config.ts';
import { type KeyReader, readBoolean, readStructuredOption, readText } from './structured-option.ts';

export interface ParsedPmemOption {
  /** Absent when a problem kept it from being made. */
  readonly pmem?: PmemConfig;
  readonly problems: readonly string[];
}

type Draft = { -readonly [K in keyof PmemConfig]: PmemConfig[K] };

const readers = new Map<string, KeyReader<Draft>>([
  ['path', (draft, value) => readText(value, (path) => (draft.path = path))],
  ['ro', (draft, value) => readBoolean(value, (readOnly) => (draft.readOnly = readOnly))],
  ['root', (draft, value) => readBoolean(value, (root) => (draft.root = root))],
]);

export const PMEM_KEYS: readonly string[] = [...readers.keys()];

/** The value of one `--pmem`: `[path=]PATH[,ro][,root]`. Never throws. */
export function parsePmemOption(text: string): ParsedPmemOption {
  const draft: Draft = { path: '', readOnly: false, root: false };
  const problems = readStructuredOption(text, draft, { readers, first: 'path' });
  return problems.length > 0 ? { problems } : { pmem: draft, problems };
}
