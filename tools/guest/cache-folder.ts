/** The folder that keeps what was fetched and built. Entries appear by rename, whole or not at all. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';

const TEMPORARY = /^tmp-(\d+)-[0-9a-f]+$/;

export interface CacheFolder {
  readonly path: string;
}

/** `$CROSVM_GUEST_CACHE`, else `.cache/guest` in this checkout. */
export function defaultCachePath(): string {
  const override = process.env['CROSVM_GUEST_CACHE'];
  if (override?.startsWith('~/')) return join(homedir(), override.slice(2));
  if (override !== undefined && override !== '') return resolve(override);
  return resolve(import.meta.dirname, '../../.cache/guest');
}

/** Creates the folder where it is missing, and removes what runs that died left behind. */
export function openCache(path = defaultCachePath()): CacheFolder {
  mkdirSync(path, { recursive: true });
  for (const name of readdirSync(path)) {
    const owner = TEMPORARY.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`))
      rmSync(join(path, name), { recursive: true, force: true });
  }
  return { path };
}

/** A fresh path inside the cache that belongs to this process. Nothing is created. */
export function temporaryPath(cache: CacheFolder): string {
  return join(cache.path, `tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
}

/**
 * Returns the cached folder or file `name`; where it is missing, `fill` makes it at a temporary path first. Two
 * processes may fill at the same time: the first to end wins, the other's work is dropped.
 */
export async function cached(
  cache: CacheFolder,
  name: string,
  fill: (temporary: string) => void | Promise<void>,
): Promise<string> {
  const path = join(cache.path, name);
  if (existsSync(path)) return path;
  const temporary = temporaryPath(cache);
  try {
    await fill(temporary);
    mkdirSync(dirname(path), { recursive: true });
    publish(temporary, path);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
  return path;
}

function publish(temporary: string, path: string): void {
  try {
    renameSync(temporary, path);
  } catch (error) {
    // A folder cannot be renamed over one with content: another process was first.
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error;
  }
}

/** Writes a small file so that a reader sees the old text or the new. */
export function writeAtomically(cache: CacheFolder, name: string, text: string): void {
  const temporary = temporaryPath(cache);
  writeFileSync(temporary, text);
  renameSync(temporary, join(cache.path, name));
}

/** Milliseconds since the entry was last written; infinite where there is none. */
export function ageMs(path: string): number {
  const status = statSync(path, { throwIfNoEntry: false });
  return status ? Date.now() - status.mtimeMs : Number.POSITIVE_INFINITY;
}
