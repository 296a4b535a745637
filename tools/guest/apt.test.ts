import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAlternatives } from './alternatives.ts';
import { machineSuite, parseMirrors, parseSimulation } from './apt.ts';
import { packageFolderName } from './packages.ts';

const DEBIAN = 'http://deb.debian.org/debian';
const SECURITY = 'http://deb.debian.org/debian-security';

test('mirrors are read from sources in the one-line form', () => {
  const sources = [
    '# deb http://old.example/debian bookworm main',
    'deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ bookworm main',
    'deb https://mirror.example/debian-security bookworm-security main',
  ];
  assert.deepEqual(parseMirrors(sources.join('\n')), {
    main: 'https://mirror.example/debian',
    security: 'https://mirror.example/debian-security',
  });
});

test('mirrors are read from sources in the deb822 form, whatever else is listed', () => {
  const sources =
    'Types: deb\nURIs: https://other.example/node_20.x\n\nTypes: deb\nURIs: http://mirror.example/debian\n';
  assert.deepEqual(parseMirrors(sources), { main: 'http://mirror.example/debian', security: SECURITY });
});

test('a snapshot of the archive counts as a mirror', () => {
  const uri = 'http://snapshot.debian.org/archive/debian/20250520T000000Z';
  assert.equal(parseMirrors(`deb ${uri}/ bookworm main`).main, uri);
});

test("without sources Debian's own mirrors are used", () => {
  assert.deepEqual(parseMirrors(''), { main: DEBIAN, security: SECURITY });
});

test('a simulated installation gives names, versions and architectures', () => {
  const output = [
    'Reading package lists...',
    'Inst gcc-12-base (12.2.0-14+deb12u1 Debian:12.15/oldstable [amd64])',
    'Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64]) []',
    'Inst linux-base (4.12.1~deb12u1 Debian:12.15/oldstable, Debian-Security:12/oldstable-security [all])',
    'Conf libc6 (2.36-9+deb12u14 Debian:12.15/oldstable [amd64])',
  ];
  assert.deepEqual(parseSimulation(output.join('\n')), [
    { name: 'gcc-12-base', version: '12.2.0-14+deb12u1', architecture: 'amd64' },
    { name: 'libc6', version: '2.36-9+deb12u14', architecture: 'amd64' },
    { name: 'linux-base', version: '4.12.1~deb12u1', architecture: 'all' },
  ]);
});

test('the release of the machine is known for Debian 12 and 13 alone', () => {
  assert.equal(machineSuite('ID=debian\nVERSION_CODENAME=bookworm\n'), 'bookworm');
  assert.equal(machineSuite('VERSION_CODENAME=trixie\nID="debian"\n'), 'trixie');
  assert.equal(machineSuite('ID=debian\nVERSION_CODENAME=bullseye\n'), undefined);
  assert.equal(machineSuite('ID=ubuntu\nVERSION_CODENAME=noble\n'), undefined);
  assert.equal(machineSuite(''), undefined);
});

test("a package's folder is named as apt names its file", () => {
  const version = { name: 'gawk', version: '1:5.2.1-2', architecture: 'amd64' };
  assert.equal(packageFolderName(version), 'gawk_1%3a5.2.1-2_amd64');
});

test('alternatives with their slaves are read from an installation script', () => {
  const script = [
    'update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/gawk 10 \\',
    '  --slave /usr/bin/nawk nawk /usr/bin/gawk',
    'update-alternatives --install "$link" x "$path" 5',
    'echo update-alternatives --install /usr/bin/no no /usr/bin/not 1',
  ];
  assert.deepEqual(parseAlternatives(script.join('\n')), [
    { link: 'usr/bin/awk', target: 'usr/bin/gawk' },
    { link: 'usr/bin/nawk', target: 'usr/bin/gawk' },
  ]);
});
