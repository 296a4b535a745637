import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { concatenate, installedDependencies } from './image.ts';

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'lab-image-'));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

function install(root: string, path: string, manifest: object): void {
  mkdirSync(join(root, path), { recursive: true });
  writeFileSync(join(root, path, 'package.json'), JSON.stringify(manifest));
}

test('the lab gets what the program needs, for this system, and no tools of development', (context) => {
  const root = folder(context);
  install(root, '.', { dependencies: { ffi: '1' }, devDependencies: { compiler: '1', 'fast-check': '1' } });
  install(root, 'node_modules/ffi', { optionalDependencies: { '@ffi/this': '1', '@ffi/other': '1' } });
  install(root, 'node_modules/@ffi/this', { dependencies: { ffi: '1' } });
  install(root, 'node_modules/fast-check', {});
  install(root, 'node_modules/compiler', {});
  const found = installedDependencies(root);
  assert.deepEqual(found, ['node_modules/ffi', 'node_modules/@ffi/this', 'node_modules/fast-check']);
});

test('archives are put one behind another, never over what is there', (context) => {
  const root = folder(context);
  const [one, two, all] = [join(root, 'one'), join(root, 'two'), join(root, 'all')];
  writeFileSync(one, 'first');
  writeFileSync(two, 'second');
  concatenate([one, two], all);
  assert.equal(readFileSync(all, 'utf8'), 'firstsecond');
  assert.throws(() => concatenate([one], all), { code: 'EEXIST' });
});
