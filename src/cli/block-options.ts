import { DISK_QUEUES, type DiskConfig, type DiskOption } from '#vmm/disk-config.ts';
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

const readBlockSize: KeyReader<Draft> = (draft, value) => {
  const size = BLOCK_SIZES.find((candidate) => String(candidate) === value);
  if (size === undefined) return `must be one of ${BLOCK_SIZES.join(', ')}`;
  draft.blockSizeBytes = size;
  return undefined;
};

const readQueues: KeyReader<Draft> = (draft, value) => {
  const count = value !== undefined && /^\d{1,2}$/.test(value) ? Number(value) : 0;
  if (count < DISK_QUEUES.min || count > DISK_QUEUES.max) return `must be ${DISK_QUEUES.min} to ${DISK_QUEUES.max}`;
  draft.queueCount = count;
  return undefined;
};

/** What all options of disks know. */
const common: readonly (readonly [string, KeyReader<Draft>])[] = [
  ['path', (draft, value) => readText(value, (path) => (draft.path = path))],
  ['format', (draft, value) => readChoice(FORMATS, value, (format) => (draft.format = format))],
  ['sparse', (draft, value) => readBoolean(value, (sparse) => (draft.sparse = sparse))],
];

const blockReaders = new Map<string, KeyReader<Draft>>([
  ...common,
  ['ro', (draft, value) => readBoolean(value, (readOnly) => (draft.readOnly = readOnly))],
  ['root', (draft, value) => readBoolean(value, (root) => (draft.root = root))],
  ['block-size', readBlockSize],
  [
    'id',
    (draft, value) => {
      if (value === undefined || !ID.test(value)) return 'must be at most 20 printable ASCII characters';
      draft.id = value;
      return undefined;
    },
  ],
  ['lock', (draft, value) => readBoolean(value, (lock) => (draft.lock = lock))],
  ['num-queues', readQueues],
]);

/** crosvm's older options have their keys with underscores. */
const diskReaders = new Map<string, KeyReader<Draft>>([...common, ['block_size', readBlockSize]]);

export const BLOCK_KEYS: readonly string[] = [...blockReaders.keys()];
export const DISK_KEYS: readonly string[] = [...diskReaders.keys()];

const MEANINGS: Readonly<Record<DiskOption, Pick<DiskConfig, 'readOnly' | 'root'>>> = {
  '--block': { readOnly: false, root: false },
  '--disk': { readOnly: true, root: false },
  '--rwdisk': { readOnly: false, root: false },
  '--root': { readOnly: true, root: true },
  '--rwroot': { readOnly: false, root: true },
};

/**
 * The value of one option of a disk: `[path=]PATH` and keys, those of BLOCK_KEYS for `--block`, of DISK_KEYS for the others,
 * whose names say whether the disk can be written and is the root. Never throws.
 */
export function parseDiskOption(option: DiskOption, text: string): ParsedBlockOption {
  const draft: Draft = {
    option,
    path: '',
    format: undefined,
    ...MEANINGS[option],
    sparse: true,
    blockSizeBytes: 512,
    id: '',
    lock: true,
    queueCount: DISK_QUEUES.default,
  };
  const readers = option === '--block' ? blockReaders : diskReaders;
  const problems = readStructuredOption(text, draft, { readers, first: 'path' });
  return problems.length > 0 ? { problems } : { disk: draft, problems };
}
