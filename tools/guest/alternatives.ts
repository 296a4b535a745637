import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Alternative {
  /** Path of the generic name (`usr/bin/awk`), without a leading slash. */
  readonly link: string;
  /** Path of the program behind it (`usr/bin/gawk`). */
  readonly target: string;
}

/** The symlinks that the package's installation would have asked update-alternatives for. */
export function alternatives({ control }: { readonly control: string }): Alternative[] {
  const path = join(control, 'postinst');
  return existsSync(path) ? parseAlternatives(readFileSync(path, 'utf8')) : [];
}

/** Reads the calls of update-alternatives in a postinst script whose words are all literal. */
export function parseAlternatives(script: string): Alternative[] {
  const found: Alternative[] = [];
  for (const line of script.replaceAll(/\\\n/g, ' ').split('\n')) {
    if (!/^\s*update-alternatives\s/.test(line)) continue;
    for (const [, link, target] of line.matchAll(/--(?:install|slave)\s+\/([\w.+/-]+)\s+[\w.+-]+\s+\/([\w.+/-]+)/g)) {
      if (link !== undefined && target !== undefined) found.push({ link, target });
    }
  }
  return found;
}
