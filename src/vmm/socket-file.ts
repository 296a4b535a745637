import { unlinkSync } from 'node:fs';

/**
 * Removes the file of a socket of ours at the end. Root that has dropped its capabilities may not do so in another user's folder: the file stays, and
 * who uses the path next finds that nobody listens there, and replaces it.
 */
export function removeSocketFile(path: string): void {
  try {
    unlinkSync(path);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM')))
      throw error;
  }
}
