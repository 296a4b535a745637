/**
 * npm run build: src/ to dist/ as JavaScript, for Node runs no TypeScript in installed packages. The sources have erasable
 * types only, so that taking them out is all there is to do; imports of `.ts` files become imports of `.js` files, and
 * `#layer/file.ts`, which names a source, a relative path.
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, relative, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');
const SOURCE = resolve(ROOT, 'src');
const DIST = resolve(ROOT, 'dist');
/** What only tests need. */
const EXCLUDED = ['**/*.test.ts', '**/testing.ts', '**/testing-*.ts', '**/testing/**', '**/vectors/**', '**/*.d.ts'];
const IMPORT = /((?:from|import)\s*\(?\s*)'(#|\.{1,2}\/)([^']+)\.ts'/g;

/** A source's JavaScript; `path` is its place below src/. */
export function toJavaScript(source: string, path: string): string {
  return stripTypeScriptTypes(source).replaceAll(IMPORT, (_, keyword: string, start: string, target: string) => {
    if (start !== '#') return `${keyword}'${start}${target}.js'`;
    const to = relative(dirname(path), `${target}.js`);
    return `${keyword}'${to.startsWith('.') ? to : `./${to}`}'`;
  });
}

function build(): void {
  rmSync(DIST, { recursive: true, force: true });
  for (const path of globSync('**/*.ts', { cwd: SOURCE, exclude: EXCLUDED })) {
    const file = resolve(DIST, path.replace(/\.ts$/, '.js'));
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, toJavaScript(readFileSync(resolve(SOURCE, path), 'utf8'), path));
  }
}

if (import.meta.main) build();
