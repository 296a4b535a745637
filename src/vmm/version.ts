import { readFileSync } from 'node:fs';

let version: string | undefined;

/** The one place where the version stands is package.json. It is read once: a machine's main process can open nothing later. */
export function packageVersion(): string {
  version ??= readVersion();
  return version;
}

function readVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
