import { readFileSync } from 'node:fs';
import { packageFile } from '#util/package-files.ts';

let version: string | undefined;

/** The one place where the version stands is package.json. It is read once: a machine's main process can open nothing later. */
export function packageVersion(): string {
  version ??= readVersion();
  return version;
}

function readVersion(): string {
  const text = readFileSync(packageFile('package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
