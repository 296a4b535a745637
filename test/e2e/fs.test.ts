/** Directories of the host in Debian's kernel, by its virtiofs, with the jail and without. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const limit = { timeout: 240_000 };
const MODULES = ['virtio_pci', 'virtiofs'];
const PROGRAM = 'etc/crosvm/fs';
const LARGE_BYTES = 3_000_001;
const MANY = 2000;

const SCRIPT = `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
mkdir /mnt/rw /mnt/ro /mnt/mapped
mount -t virtiofs shared /mnt/rw; echo "mounted $?"
mount -t virtiofs fixed /mnt/ro; echo "fixed $?"
cd /mnt/rw
echo "large $(sha256sum < large | cut -d' ' -f1)"
cp large copied; sync copied; echo "copied $(sha256sum < copied | cut -d' ' -f1)"
dd if=/dev/zero of=copied bs=1000 seek=7 count=1 conv=notrunc 2>/dev/null; truncate -s 9000 copied
echo "many $(ls many | wc -l) $(ls many | sort | sha256sum | cut -d' ' -f1)"
mkdir small; for i in $(seq 100); do echo $i > small/$i; done; echo "small $(cat small/* | sort -n | sha256sum | cut -d' ' -f1)"
mkdir dir; echo text > dir/a; mv dir/a dir/b; ln dir/b hard; ln -s dir/b soft
echo "links $(stat -c %h hard) $(readlink soft) $(cat soft)"
mv -T dir moved; echo "moved $(ls moved) $(cat soft 2>&1 | tail -c 26)"
chmod 640 hard; chmod 1775 moved; touch -d @1000000000 hard; echo "mode $(stat -c '%a %u %g %Y' hard moved/b | uniq | wc -l) $(stat -c '%a %u %g %Y' hard)"
exec 5<>gone; echo "open" >&5; rm gone; echo "still" >&5; echo "gone $(ls gone 2>/dev/null | wc -l) $(cat /proc/self/fd/5 | tr '\\n' ' ')"; exec 5>&-
echo "outside $(cat outside | head -c 5) $(readlink outside) $(cat above/etc/hostname)"
/${PROGRAM}
echo back > from-guest
if mount -t virtiofs mapped /mnt/mapped; then
  cd /mnt/mapped; chmod 777 .; echo "owner $(stat -c '%u %g' theirs)"; echo more >> theirs
  su -s /bin/sh nobody -c 'echo mine > mine; echo x >> theirs'; chown 7:8 theirs; cd /
fi
cat /mnt/ro/file; echo x > /mnt/ro/file; echo "write $?"; rm /mnt/ro/file; echo "remove $?"
cd /; umount /mnt/rw && mount -t virtiofs shared /mnt/rw; echo "again $(cat /mnt/rw/from-guest)"
echo "host writes"; read answer </dev/console; sleep 1.5; echo "seen $(cat /mnt/rw/from-host)"
`;

const skipWithoutCompiler = spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)';

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-fs-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const sumOf = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const lines = (texts: readonly string[]): string => texts.map((text) => `${text}\n`).join('');

/** What the host has before the machine starts. */
function fill(shared: string, fixed: string): { readonly large: Uint8Array; readonly names: readonly string[] } {
  for (const folder of [shared, fixed, join(shared, 'many')]) mkdirSync(folder);
  const large = randomBytes(LARGE_BYTES);
  writeFileSync(join(shared, 'large'), large);
  const names = Array.from({ length: MANY }, (_, at) => `file-${'x'.repeat(at % 50)}-${at}`);
  for (const name of names) writeFileSync(join(shared, 'many', name), '');
  // To the guest its own file and root: the device follows neither.
  symlinkSync('/etc/passwd', join(shared, 'outside'));
  symlinkSync('/', join(shared, 'above'));
  writeFileSync(join(fixed, 'file'), 'fixed\n');
  return { large, names };
}

describe('virtio-fs', { skip: skipWithoutApt || skipWithoutCompiler }, () => {
  for (const { name, options } of [
    { name: 'in its jail', options: [] },
    { name: 'without a jail', options: ['--disable-sandbox'] },
  ]) {
    test(`a guest works in directories of the host, ${name}`, limit, async (t) => {
      const folder = temporaryFolder(t);
      const [shared, fixed] = [join(folder, 'shared'), join(folder, 'fixed')];
      const { large, names } = fill(shared, fixed);
      const archive = join(folder, 'script.cpio');
      const program = join(folder, 'program');
      execFileSync('cc', ['-O1', '-static', '-o', program, join(import.meta.dirname, 'fs.c')]);
      const programs = { ...(await kernelModules(MODULES)), [PROGRAM]: readFileSync(program) };
      writeScriptArchive(archive, SCRIPT, { programs });
      // Only root can map more than one user, and only into a jail.
      const isMapped = process.geteuid?.() === 0 && options.length === 0;
      const mapped = isMapped ? [shareMapped(join(folder, 'mapped'))] : [];
      await using vm = new TestVm({
        kernel: await vmlinuz(),
        initrds: [await busyboxImage(), archive],
        options: [
          `--shared-dir=${shared}:shared:timeout=1`,
          `--shared-dir=${fixed}:fixed:ro=true:cache=always`,
          ...mapped,
          ...options,
        ],
      });
      const output = (): string => `${vm.console.slice(-5000)}\n${vm.errors}`;
      await vm.waitFor(/^host writes/m, { timeoutMs: 180_000 });
      writeFileSync(join(shared, 'from-host'), 'news\n');
      vm.send('done\n');
      assert.deepEqual(await vm.waitForExit({ timeoutMs: 60_000 }), { status: 0, signal: null }, output());
      const said = (word: string): string | undefined => new RegExp(`^${word} (.*?)\\s*$`, 'm').exec(vm.console)?.[1];
      const sorted = lines(names.toSorted());
      const expected: Readonly<Record<string, string>> = {
        mounted: '0',
        fixed: '0',
        large: sumOf(large),
        copied: sumOf(large),
        many: `${MANY} ${sumOf(sorted)}`,
        small: sumOf(lines(Array.from({ length: 100 }, (_, at) => String(at + 1)))),
        links: '2 dir/b text',
        moved: 'b No such file or directory',
        mode: '1 640 0 0 1000000000',
        gone: '0 open still',
        outside: 'root: /etc/passwd crosvm',
        xattr: 'done value user.key 500 done ENODATA',
        refused: 'EOPNOTSUPP EPERM EPERM',
        hole: `${1 << 20} ${(1 << 20) + 1}`,
        allocate: `done ${4 << 20}`,
        statvfs: '1 255',
        exchange: 'done EEXIST done',
        range: '100',
        write: '1',
        remove: '1',
        again: 'back',
        seen: 'news',
      };
      for (const [word, text] of Object.entries(expected))
        assert.equal(said(word)?.slice(0, text.length), text, `${word}\n${output()}`);
      checkHost(shared, large);
      if (isMapped) checkMapped(join(folder, 'mapped'), said('owner'));
    });
  }
});

/** A directory of several owners, to whom the guest's users are mapped; what is shared. */
function shareMapped(path: string): string {
  mkdirSync(path);
  writeFileSync(join(path, 'theirs'), '', { mode: 0o600 });
  chownSync(path, 100_000, 100_000);
  chownSync(join(path, 'theirs'), 1000, 100_005);
  const map = '0 100000 1000,1000 1000 1,65534 165534 1';
  return `--shared-dir=${path}:mapped:uidmap=${map}:gidmap=${map}`;
}

/** The guest's root changes files of all in the map; its other users only their own, and what they make is theirs. */
function checkMapped(path: string, owner: string | undefined): void {
  assert.equal(owner, '1000 5');
  const ids = (name: string): number[] => [lstatSync(join(path, name)).uid, lstatSync(join(path, name)).gid];
  assert.deepEqual(
    [ids('theirs'), ids('mine')],
    [
      [100_007, 100_008],
      [165_534, 165_534],
    ],
  );
  assert.equal(readFileSync(join(path, 'theirs'), 'utf8'), 'more\n');
}

/** What the guest has done is there. */
function checkHost(shared: string, large: Uint8Array): void {
  const changed = Buffer.from(large.subarray(0, 9000));
  changed.fill(0, 7000, 8000);
  assert.ok(readFileSync(join(shared, 'copied')).equals(changed));
  assert.equal(readFileSync(join(shared, 'renamed'), 'utf8'), 'text\n');
  assert.equal(readlinkSync(join(shared, 'soft')), 'dir/b');
  assert.equal(lstatSync(join(shared, 'moved')).mode & 0o7777, 0o1775);
  assert.equal(lstatSync(join(shared, 'renamed')).uid, process.geteuid?.());
  assert.ok(lstatSync(join(shared, 'fifo')).isFIFO());
  assert.equal(readdirSync(join(shared, 'small')).length, 100);
  assert.ok(!readdirSync(shared).includes('gone'));
}
