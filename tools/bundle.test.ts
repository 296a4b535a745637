import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Bundler, REGISTRY, REGISTRY_SOURCE } from './bundle.ts';

const SOURCES: Readonly<Record<string, string>> = {
  'a/main.ts': `import { posix as paths } from 'node:path';
import { type Kind, made as count } from '#b/shared.ts';
import { meta } from '../b/again.ts';
export type { Kind };
export const first: number = count();
export async function load(): Promise<number> {
  return (await import('#b/late.ts')).value;
}
export { meta, paths as posix };
`,
  'b/shared.ts': `export interface Kind {}
let calls = 0;
export function made(): number {
  return ++calls;
}
`,
  'b/again.ts': `export { made as again } from './shared.ts';
export const meta = import.meta.url;
`,
  'b/late.ts': `import { again } from './again.ts';
import { other } from './other.ts';
export const value = again() + other;
`,
  'b/other.ts': `export const other = await Promise.resolve(100);
`,
};

const read = (sources: Readonly<Record<string, string>>) => (id: string) => {
  const source = sources[id];
  assert.ok(source !== undefined, id);
  return source;
};

describe('a bundle', () => {
  test('has what its entry imports, exports what that exports, and shares modules with those that it loads later', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'crosvm-bundle-'));
    try {
      const bundler = new Bundler(['a/main.ts'], read({ ...SOURCES, 'b/other.ts': 'export const other = 100;\n' }));
      assert.deepEqual(bundler.entries(), ['a/main.ts', 'b/late.ts']);
      writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
      writeFileSync(join(folder, REGISTRY), REGISTRY_SOURCE);
      for (const entry of bundler.entries()) {
        const file = join(folder, entry.replace(/ts$/, 'js'));
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, bundler.bundle(entry));
      }
      const main = await import(pathToFileURL(join(folder, 'a/main.js')).href);
      assert.equal(main.first, 1);
      assert.equal(main.meta, pathToFileURL(join(folder, 'b/again.js')).href);
      assert.equal(main.posix.join('x', 'y'), 'x/y');
      assert.equal(await main.load(), 102);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('leaves out what is there whenever it is loaded', () => {
    const text = new Bundler(['a/main.ts'], read(SOURCES)).bundle('b/late.ts');
    assert.doesNotMatch(text, /^modules\["b\/shared\.ts"\] \?\?=/m);
    assert.match(text, /^modules\["b\/other\.ts"\] \?\?= await /m);
  });

  for (const { what, sources, message } of [
    {
      what: 'a cycle of imports',
      sources: { 'a.ts': "import { b } from './b.ts';\n", 'b.ts': "import { a } from './a.ts';\n" },
      message: /imports in a cycle: a\.ts → b\.ts → a\.ts/,
    },
    { what: 'an exported variable', sources: { 'a.ts': 'export let a = 1;\n' }, message: /no form for: export let a/ },
    { what: 'a nameless export', sources: { 'a.ts': 'export default 1;\n' }, message: /no form for: export default/ },
  ]) {
    test(`is not made of ${what}`, () => {
      assert.throws(() => new Bundler(['a.ts'], read(sources as Record<string, string>)).bundle('a.ts'), message);
    });
  }
});
