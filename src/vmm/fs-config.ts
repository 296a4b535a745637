/** A shared directory as the user describes it: plain data, and what can be wrong with it. */
import { realpathSync } from 'node:fs';
import { TAG_BYTES } from '#devices/virtio/fs/constants.ts';
import type { CachePolicy } from '#devices/virtio/fs/context.ts';
import type { IdMap } from '#jail/jail-config.ts';
import { quoted } from '#util/quoted.ts';
import type { Mistake } from './config.ts';
import type { HostFiles } from './host-files.ts';

export interface SharedDirConfig {
  readonly path: string;
  /** What the guest mounts. */
  readonly tag: string;
  readonly readOnly: boolean;
  readonly cache: CachePolicy;
  /** How long the guest may trust what it was told of names and attributes. */
  readonly timeoutSeconds: number;
  /** The guest's kernel collects writes. */
  readonly writeback: boolean;
  /** Users and groups of the guest (inside) and of the host (outside); undefined: root is the user that runs crosvm, and the only one. */
  readonly uidMap: readonly IdMap[] | undefined;
  readonly gidMap: readonly IdMap[] | undefined;
}

/** They share the PCI bus with all other devices. */
const SHARED_DIRS_MAX = 4;
const ID_MAPS_MAX = 340;
const ID_END = 0xffff_ffff;
export const TIMEOUT_SECONDS_MAX = 0xffff_ffff;

/** What can be told before anything is started; `problemOf` makes words of a failed call on a path. */
export function sharedDirMistakes(
  dirs: readonly SharedDirConfig[],
  files: HostFiles,
  problemOf: (check: () => string | undefined) => string | undefined,
): Mistake[] {
  const messages = dirs.flatMap(({ path, tag, timeoutSeconds, uidMap, gidMap }) => [
    ...mapProblems('uidmap', uidMap),
    ...mapProblems('gidmap', gidMap),
    ...((uidMap === undefined) === (gidMap === undefined) ? [] : ['uidmap and gidmap go together']),
    ...tagProblems(tag),
    ...pathProblems(path, files, problemOf),
    ...(isTimeout(timeoutSeconds) ? [] : [`timeout=${timeoutSeconds}: must be 0 to ${TIMEOUT_SECONDS_MAX} seconds`]),
  ]);
  if (dirs.length > SHARED_DIRS_MAX) messages.push(`at most ${SHARED_DIRS_MAX} directories can be shared`);
  const tags = dirs.map(({ tag }) => tag);
  const repeated = new Set(tags.filter((tag, at) => tags.indexOf(tag) !== at));
  for (const tag of repeated) messages.push(`the tag ${quoted(tag)} is given twice`);
  return messages.map((message) => ({ option: '--shared-dir', message }));
}

function isTimeout(seconds: number): boolean {
  return Number.isInteger(seconds) && seconds >= 0 && seconds <= TIMEOUT_SECONDS_MAX;
}

/** user_namespaces(7): as many lines as the kernel takes, and numbers of 32 bits but the last. */
function mapProblems(key: string, map: readonly IdMap[] | undefined): string[] {
  if (map === undefined) return [];
  if (map.length === 0 || map.length > ID_MAPS_MAX) return [`${key}: 1 to ${ID_MAPS_MAX} ranges are possible`];
  const isRange = ({ inside, outside, count }: IdMap): boolean =>
    count > 0 && [inside, outside].every((id) => id + count <= ID_END);
  if (!map.every(isRange)) return [`${key}: a range must have at least one id, and none from ${ID_END} on`];
  return map.some(({ inside }) => inside === 0) ? [] : [`${key}: the guest's 0 must be in it`];
}

function tagProblems(tag: string): string[] {
  const sizeBytes = Buffer.byteLength(tag);
  if (sizeBytes === 0) return ['a tag is missing: PATH:TAG'];
  if (tag.includes('\0')) return [`tag ${quoted(tag)}: must not have a NUL`];
  return sizeBytes <= TAG_BYTES ? [] : [`tag ${quoted(tag)}: ${sizeBytes} bytes; it has at most ${TAG_BYTES}`];
}

function pathProblems(
  path: string,
  files: HostFiles,
  problemOf: (check: () => string | undefined) => string | undefined,
): string[] {
  if (path === '') return ['the path is missing: PATH:TAG'];
  const problem = problemOf(() => {
    const { kind } = files.stat(path);
    if (kind !== 'directory') return `is a ${kind}, not a directory`;
    files.assertReadable(path);
    return undefined;
  });
  return problem === undefined ? [] : [`${quoted(path)}: ${problem}`];
}

/** A directory's path without symbolic links, from the root on: a device's process has another working directory. */
export function resolvedFolder(path: string): string {
  return realpathSync(path);
}
