import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { GuestFilesError } from './guest-error.ts';
import type { GuestKernel } from './kernel.ts';
import { dependenciesOf, modulesInOrder } from './kernel-modules.ts';

const module = (depends: string): Buffer => Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`, 'latin1');

function kernelWith(t: TestContext, files: Readonly<Record<string, string>>): GuestKernel {
  const modules = mkdtempSync(join(tmpdir(), 'kernel-modules-'));
  t.after(() => rmSync(modules, { recursive: true }));
  mkdirSync(join(modules, 'kernel'));
  for (const [file, depends] of Object.entries(files)) writeFileSync(join(modules, 'kernel', file), module(depends));
  return { image: '', release: '6.1.0', modules };
}

test('modules come behind what they depend on, each once, whichever of dash and underscore is used', (t) => {
  const kernel = kernelWith(t, {
    'virtio_blk.ko': 'virtio,virtio-ring',
    'virtio-ring.ko': '',
    'virtio.ko': 'virtio_ring',
    'other.ko': 'missing',
  });
  const names = modulesInOrder(kernel, ['virtio_blk', 'virtio']).map(({ name }) => name);
  assert.deepEqual(names, ['virtio_ring', 'virtio', 'virtio_blk']);
});

test('a module that the kernel has not, named or needed, is an error with its name', (t) => {
  const kernel = kernelWith(t, { 'other.ko': 'missing' });
  assert.throws(() => modulesInOrder(kernel, ['absent']), new GuestFilesError("kernel 6.1.0 has no module 'absent'"));
  assert.throws(() => modulesInOrder(kernel, ['other']), new GuestFilesError("kernel 6.1.0 has no module 'missing'"));
});

test('a file without a list of dependencies has none, and one that is cut off is read to its end', () => {
  assert.deepEqual(dependenciesOf(Buffer.from('nothing')), []);
  assert.deepEqual(dependenciesOf(module('')), []);
  assert.deepEqual(dependenciesOf(Buffer.from('\0depends=a,b')), ['a', 'b']);
});
