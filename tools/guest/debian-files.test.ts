import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEBIAN_PACKAGES, DEBIAN_SUITE, debianFiles, debianMasks } from './debian-files.ts';

test('paths of files and masks are relative, below /etc, and no path is both', () => {
  const paths = [...Object.keys(debianFiles()), ...debianMasks()];
  assert.deepEqual(
    paths.filter((path) => !/^etc\/[\w.@/-]+$/.test(path) || path.includes('..')),
    [],
  );
  assert.equal(new Set(paths).size, paths.length);
});

test('text files end with a newline, and name the release', () => {
  const files = debianFiles();
  assert.deepEqual(
    Object.entries(files).filter(([, text]) => !text.endsWith('\n')),
    [],
  );
  const releases = files['etc/apt/sources.list']?.match(/ \S+ main$/gm);
  assert.deepEqual(
    releases,
    ['', '-updates', '-security'].map((update) => ` ${DEBIAN_SUITE}${update} main`),
  );
});

test('the login on the serial port waits for no device', () => {
  assert.doesNotMatch(debianFiles()['etc/systemd/system/serial-getty@.service'] ?? '', /dev-%i\.device/);
  assert.ok(!debianMasks().some((path) => path.includes('serial-getty')));
});

test('packages are named once', () => {
  assert.equal(new Set(DEBIAN_PACKAGES).size, DEBIAN_PACKAGES.length);
});
