import type { DiskConfig } from '#vmm/config.ts';
import { type KeyReader, readBoolean, readChoice, readStructuredOption, readText } from './structured-option.ts';

export interface ParsedBlockOption {
  /** Absent when a problem kept it from being made. */
  readonly disk?: DiskConfig;
  readonly problems: readonly string[];
}

type Draft = { -readonly [K in keyof DiskConfig]: DiskConfig[K] };

const FORMATS = ['raw', 'qcow2'] as const;
const BLOCK_SIZES = [512, 1024, 2048, 4096] as const;
/** VIRTIO 1.1 §5.2.6: what GET_ID can say. */
const ID = /^[\x20-\x7e]{0,20}$/;

const readers = new Map<string, KeyReader<Draft>>([
  ['path', (draft, value) => readText(value, (path) => (draft.path = path))],
  ['format', (draft, value) => readChoice(FORMATS, value, (format) => (draft.format = format))],
  ['ro', (draft, value) => readBoolean(value, (readOnly) => (draft.readOnly = readOnly))],
  ['root', (draft, value) => readBoolean(value, (root) => (draft.root = root))],
  ['sparse', (draft, value) => readBoolean(value, (sparse) => (draft.sparse = sparse))],
  [
    'block-size',
    (draft, value) => {
      const size = BLOCK_SIZES.find((candidate) => String(candidate) === value);
      if (size === undefined) return `must be one of ${BLOCK_SIZES.join(', ')}`;
      draft.blockSizeBytes = size;
      return undefined;
    },
  ],
  [
    'id',
    (draft, value) => {
      if (value === undefined || !ID.test(value)) return 'must be at most 20 printable ASCII characters';
      draft.id = value;
      return undefined;
    },
  ],
  ['lock', (draft, value) => readBoolean(value, (lock) => (draft.lock = lock))],
]);

export const BLOCK_KEYS: readonly string[] = [...readers.keys()];

/** The value of one `--block`: `[path=]PATH[,format=…][,ro][,root][,sparse=…][,block-size=…][,id=…][,lock=…]`. Never throws. */
export function parseBlockOption(text: string): ParsedBlockOption {
  const draft: Draft = {
    path: '',
    format: undefined,
    readOnly: false,
    root: false,
    sparse: true,
    blockSizeBytes: 512,
    id: '',
    lock: true,
  };
  const problems = readStructuredOption(text, draft, { readers, first: 'path' });
  return problems.length > 0 ? { problems } : { disk: draft, problems };
}
