import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { CpioEntry, CpioWriter } from './cpio.ts';
import { ImageTree } from './image-tree.ts';

function entriesOf(tree: ImageTree): Map<string, CpioEntry> {
  const entries: CpioEntry[] = [];
  const recorder: Pick<CpioWriter, 'add'> = { add: (entry) => entries.push(entry) };
  tree.writeTo(recorder as CpioWriter);
  return new Map(entries.map((entry) => [entry.path, entry]));
}

function hostFolder(context: TestContext, files: Record<string, string>): string {
  const folder = mkdtempSync(join(tmpdir(), 'image-tree-'));
  context.after(() => rmSync(folder, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

test('the folders above a file are made, and come before it', () => {
  const tree = new ImageTree();
  tree.file('etc/a/b', 'x');
  const paths = [...entriesOf(tree).keys()].filter((path) => path.startsWith('etc'));
  assert.deepEqual(paths, ['etc', 'etc/a', 'etc/a/b']);
});

test('files of /bin and /lib are kept under /usr, behind symlinks', (context) => {
  const tree = new ImageTree();
  tree.hostFolder(hostFolder(context, { 'bin/tool': 't', 'lib/x/lib.so': 'l', 'lib64/ld.so': 'd' }));
  const entries = entriesOf(tree);
  assert.deepEqual(entries.get('bin'), { kind: 'symlink', path: 'bin', target: 'usr/bin', mode: 0o777 });
  for (const path of ['usr/bin/tool', 'usr/lib/x/lib.so', 'usr/lib64/ld.so']) {
    assert.equal(entries.get(path)?.kind, 'file', path);
  }
  assert.equal(entries.has('bin/tool'), false);
});

test("a package's own links for the merged folders do not replace them", (context) => {
  const folder = hostFolder(context, { 'usr/bin/a': '' });
  symlinkSync('usr/bin', join(folder, 'bin'));
  const tree = new ImageTree();
  tree.file('bin/early', 'x');
  tree.hostFolder(folder);
  const entries = entriesOf(tree);
  assert.equal(entries.get('usr/bin')?.kind, 'directory');
  assert.ok(entries.has('usr/bin/a') && entries.has('usr/bin/early'));
});

test('modes, symlinks and contents of the host come over', (context) => {
  const folder = hostFolder(context, { 'usr/bin/su': 'program' });
  chmodSync(join(folder, 'usr/bin/su'), 0o4755);
  symlinkSync('su', join(folder, 'usr/bin/sudo'));
  const tree = new ImageTree();
  tree.hostFolder(folder);
  const program = entriesOf(tree).get('usr/bin/su');
  assert.equal(program?.mode, 0o4755);
  assert.equal(program?.kind === 'file' && Buffer.from(program.data).toString(), 'program');
  const link = entriesOf(tree).get('usr/bin/sudo');
  assert.equal(link?.kind === 'symlink' && link.target, 'su');
});

test('manuals and translations are left out', (context) => {
  const tree = new ImageTree();
  tree.hostFolder(hostFolder(context, { 'usr/share/man/man1/a.1': '', 'usr/share/doc/a': '', 'usr/share/a/b': '' }));
  const paths = [...entriesOf(tree).keys()].filter((path) => path.startsWith('usr/share'));
  assert.deepEqual(paths, ['usr/share', 'usr/share/a', 'usr/share/a/b']);
});
