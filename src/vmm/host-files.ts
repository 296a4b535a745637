import { accessSync, constants, statSync } from 'node:fs';

export type FileKind = 'file' | 'directory' | 'socket' | 'device' | 'pipe';

/** What the checks of a configuration ask about paths. Failures are the errors of node:fs, with `code` (ENOENT …). */
export interface HostFiles {
  stat(path: string): { readonly kind: FileKind; readonly sizeBytes: number };
  /** Throws when this process may not read the file. */
  assertReadable(path: string): void;
  /** Throws when this process may not write the file, or for a directory, create files in it. */
  assertWritable(path: string): void;
}

export const hostFiles: HostFiles = {
  stat(path) {
    const stats = statSync(path);
    return { kind: kindOf(stats), sizeBytes: stats.size };
  },
  assertReadable: (path) => accessSync(path, constants.R_OK),
  assertWritable: (path) => accessSync(path, constants.W_OK),
};

function kindOf(stats: ReturnType<typeof statSync> & object): FileKind {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'directory';
  if (stats.isSocket()) return 'socket';
  return stats.isFIFO() ? 'pipe' : 'device';
}
