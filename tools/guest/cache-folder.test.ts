import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type CacheFolder, cached, openCache } from './cache-folder.ts';

function temporaryCache(context: TestContext): CacheFolder {
  const path = mkdtempSync(join(tmpdir(), 'guest-cache-'));
  context.after(() => rmSync(path, { recursive: true }));
  return openCache(path);
}

test('an entry is made once and found again', async (context) => {
  const cache = temporaryCache(context);
  let fills = 0;
  const fill = (path: string): void => {
    fills++;
    writeFileSync(path, 'made');
  };
  const path = await cached(cache, 'sub/entry', fill);
  assert.equal(await cached(cache, 'sub/entry', fill), path);
  assert.equal(fills, 1);
  assert.equal(readFileSync(path, 'utf8'), 'made');
});

test('an entry whose making fails leaves nothing', async (context) => {
  const cache = temporaryCache(context);
  const fill = (path: string): void => {
    mkdirSync(path);
    throw new Error('half way');
  };
  await assert.rejects(cached(cache, 'entry', fill), /half way/);
  assert.deepEqual(readdirSync(cache.path), []);
});

test('of two that make the same folder at once, the first stays whole', async (context) => {
  const cache = temporaryCache(context);
  const maker = (text: string) => async (path: string) => {
    mkdirSync(path);
    await Promise.resolve();
    writeFileSync(join(path, 'file'), text);
  };
  const paths = await Promise.all([cached(cache, 'entry', maker('one')), cached(cache, 'entry', maker('two'))]);
  assert.equal(paths[0], paths[1]);
  assert.equal(readFileSync(join(paths[0], 'file'), 'utf8'), 'one');
  assert.deepEqual(readdirSync(cache.path), ['entry']);
});

test('what a dead process left is removed, what a living one makes is not', (context) => {
  const cache = temporaryCache(context);
  // Process numbers end at 2^22.
  const dead = join(cache.path, 'tmp-4194305-0123abcd');
  const living = join(cache.path, `tmp-${process.pid}-0123abcd`);
  mkdirSync(join(dead, 'sub'), { recursive: true });
  mkdirSync(living);
  openCache(cache.path);
  assert.equal(existsSync(dead), false);
  assert.equal(existsSync(living), true);
});
