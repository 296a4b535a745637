/** Loads the distribution kernels that lie in the guest cache: see `cacheFolder`. */
import assert from 'node:assert/strict';
import { existsSync, globSync } from 'node:fs';
import { test } from 'node:test';
import { loadKernel } from '#kernel/load-kernel.ts';
import { FakeRam } from '#kernel/testing/fake-ram.ts';

const MIB = 2 ** 20;
const cacheFolder = process.env['CROSVM_TEST_CACHE'] ?? new URL('../../.cache/guest/', import.meta.url).pathname;
const kernels = existsSync(cacheFolder) ? globSync('**/vmlinu[xz]*', { cwd: cacheFolder }).sort() : [];

function load(name: string, ramMib: number): ReturnType<typeof loadKernel> {
  return loadKernel(`${cacheFolder}/${name}`, new FakeRam({ guestAddress: 0, sizeBytes: ramMib * MIB }));
}

test('there is a real kernel to load', { skip: kernels.length > 0 ? false : `no kernel in ${cacheFolder}` }, () => {
  assert.ok(kernels.length > 0);
});

for (const name of kernels) {
  test(`${name}: the kernel is unpacked and placed at 16 MiB`, (context) => {
    const started = performance.now();
    const kernel = load(name, 256);
    context.diagnostic(`${kernel.protocol}, loaded in ${Math.round(performance.now() - started)} ms`);
    assert.notEqual(kernel.protocol, 'bzimage');
    assert.equal(kernel.kernelStart, 16 * MIB);
    assert.ok(kernel.entry >= kernel.kernelStart && kernel.entry < kernel.kernelStart + MIB);
    assert.ok(kernel.kernelEnd > 32 * MIB && kernel.kernelEnd < 128 * MIB);
  });

  test(`${name}: a machine whose RAM the kernel does not fit into is refused`, () => {
    assert.throws(() => load(name, 40), { name: 'KernelLoadError' });
  });
}
