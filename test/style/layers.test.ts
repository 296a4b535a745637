import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { LAYERS } from '../../tools/layers.ts';

const IMPORT = /(?:from|import)\s*\(?\s*'([^']+)'/g;
const layerNames: readonly string[] = LAYERS;

/** Every import of every source, and what is wrong with it. */
function violations(path: string, source: string): string[] {
  const layer = path.split('/')[1] ?? '';
  const found: string[] = [];
  for (const [, specifier = ''] of source.matchAll(IMPORT)) {
    if (/^#[a-z]/.test(specifier)) {
      const target = specifier.slice(1).split('/')[0] ?? '';
      if (layerNames.indexOf(target) < 0) found.push(`${path}: ${specifier} names no layer`);
      else if (layerNames.indexOf(target) >= layerNames.indexOf(layer))
        found.push(`${path}: ${layer} must not import ${specifier}`);
    } else if (specifier.startsWith('.')) {
      const url = new URL(specifier, `file:///${path}`).pathname.slice(1);
      if (url.split('/')[1] !== layer) found.push(`${path}: ${specifier} leaves its layer: write #layer/file.ts`);
    } else if (specifier === 'koffi' && layer !== 'sys') found.push(`${path}: koffi belongs to sys alone`);
  }
  return found;
}

test('every import in src points to an earlier layer, by its # name', () => {
  const wrong: string[] = [];
  for (const path of globSync('src/**/*.ts')) {
    if (path.split('/').length > 2) wrong.push(...violations(path, readFileSync(path, 'utf8')));
  }
  assert.deepEqual(wrong, []);
});

test('the checker finds an upward import, a sideways relative import and a foreign koffi', () => {
  assert.equal(violations('src/util/a.ts', "import { x } from '#cpu/x.ts';").length, 1);
  assert.equal(violations('src/util/a.ts', "import type { x } from '../sys/x.ts';").length, 1);
  assert.equal(violations('src/cpu/a.ts', "import koffi from 'koffi';").length, 1);
  assert.equal(violations('src/cpu/a.ts', "import { x } from '#wasm/x.ts';").length, 0);
});

test('package.json maps every layer', () => {
  const { imports } = JSON.parse(readFileSync('package.json', 'utf8')) as { imports: Record<string, string> };
  assert.deepEqual(
    Object.keys(imports),
    LAYERS.map((layer) => `#${layer}/*`),
  );
});

test('no source is longer than 500 lines, tables, generated files and tests aside', () => {
  const long = globSync('{src,tools,fuzz,bench}/**/*.ts').filter(
    (path) => !/(table|generated|\.test\.ts$)/.test(path) && readFileSync(path, 'utf8').split('\n').length > 501,
  );
  assert.deepEqual(long, []);
});
