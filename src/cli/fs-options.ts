import { CACHE_POLICIES } from '#devices/virtio/fs/context.ts';
import type { IdMap } from '#jail/jail-config.ts';
import { quoted } from '#util/quoted.ts';
import type { SharedDirConfig } from '#vmm/fs-config.ts';
import { type KeyReader, readBoolean, readChoice } from './structured-option.ts';

export interface ParsedSharedDirOption {
  /** Absent when a problem kept it from being made. */
  readonly sharedDir?: SharedDirConfig;
  readonly problems: readonly string[];
}

type Draft = { -readonly [K in keyof SharedDirConfig]: SharedDirConfig[K] };

const ID_RANGE = /^ ?([0-9]{1,10}) ([0-9]{1,10}) ([0-9]{1,10})$/;
/** crosvm's own default, in seconds. */
const DEFAULT_TIMEOUT_SECONDS = 5;

const readers = new Map<string, KeyReader<Draft>>([
  [
    'type',
    (_draft, value) => {
      if (value === 'fs') return undefined;
      return value === 'p9' ? 'is not supported: type=fs, which is the default, is virtio-fs' : 'must be fs';
    },
  ],
  ['uidmap', (draft, value) => readIdMap(value, (map) => (draft.uidMap = map))],
  ['gidmap', (draft, value) => readIdMap(value, (map) => (draft.gidMap = map))],
  ['cache', (draft, value) => readChoice(CACHE_POLICIES, value, (cache) => (draft.cache = cache))],
  [
    'timeout',
    (draft, value) => {
      if (value === undefined || !/^[0-9]{1,10}$/.test(value)) return 'must be a whole number of seconds';
      draft.timeoutSeconds = Number(value);
      return undefined;
    },
  ],
  ['writeback', (draft, value) => readBoolean(value, (writeback) => (draft.writeback = writeback))],
  ['ro', (draft, value) => readBoolean(value, (readOnly) => (draft.readOnly = readOnly))],
]);

export const SHARED_DIR_KEYS: readonly string[] = [...readers.keys()];

/** The value of one `--shared-dir`: `PATH:TAG[:key=value]…`, as crosvm has it: a path has no colon. Never throws. */
export function parseSharedDirOption(text: string): ParsedSharedDirOption {
  const [path = '', tag = '', ...pairs] = text.split(':');
  const draft: Draft = {
    path,
    tag,
    readOnly: false,
    cache: 'auto',
    timeoutSeconds: DEFAULT_TIMEOUT_SECONDS,
    writeback: false,
    uidMap: undefined,
    gidMap: undefined,
  };
  const problems: string[] = [];
  const seen = new Set<string>();
  for (const pair of pairs) {
    const equals = pair.indexOf('=');
    const key = equals < 0 ? pair : pair.slice(0, equals);
    const value = equals < 0 ? undefined : pair.slice(equals + 1);
    const problem = seen.has(key) ? 'is given twice' : readPair(draft, key, value);
    if (problem !== undefined) problems.push(`${nameOf(key, value)}: ${problem}`);
    seen.add(key);
  }
  return problems.length > 0 ? { problems } : { sharedDir: draft, problems };
}

/** `GUEST HOST COUNT`, several with commas between, as crosvm has it. */
function readIdMap(value: string | undefined, set: (map: readonly IdMap[]) => void): string | undefined {
  const ranges = (value ?? '').split(',').map((text) => ID_RANGE.exec(text)?.slice(1).map(Number) ?? []);
  const map = ranges.flatMap(([inside, outside, count]) =>
    inside === undefined || outside === undefined || count === undefined ? [] : [{ inside, outside, count }],
  );
  if (map.length < ranges.length) return 'must be GUEST HOST COUNT, with commas between several';
  set(map);
  return undefined;
}

function readPair(draft: Draft, key: string, value: string | undefined): string | undefined {
  const read = readers.get(key);
  return read === undefined ? `is no key; the keys are ${SHARED_DIR_KEYS.join(', ')}` : read(draft, value);
}

function nameOf(key: string, value: string | undefined): string {
  if (!readers.has(key)) return quoted(key);
  return value === undefined ? key : `${key}=${quoted(value)}`;
}
