import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { skipWithoutApt, userSpaceFolder, userSpaceImage, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const SCRIPT = join(import.meta.dirname, 'user-space.sh');
const BEGIN = 'user space begins';
const END = 'user space ends';

/** The script's output by the same programs on the host: its own loader and libraries, from the same packages. */
async function onHost(): Promise<string> {
  const root = await userSpaceFolder();
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-user-space-'));
  try {
    const path = join(folder, 'script.sh');
    writeFileSync(path, readFileSync(SCRIPT));
    const environment = {
      PATH: `${root}/usr/bin`,
      LANG: 'C.UTF-8',
      LD_LIBRARY_PATH: [`${root}/usr/lib/x86_64-linux-gnu`, `${root}/lib/x86_64-linux-gnu`].join(':'),
      PYTHONHOME: `${root}/usr`,
      PERL5LIB: [`${root}/usr/lib/x86_64-linux-gnu/perl-base`].join(':'),
      OPENSSL_CONF: '/dev/null',
    };
    const { status, stdout, stderr } = spawnSync(`${root}/usr/bin/bash`, [path], { env: environment, cwd: folder });
    assert.equal(status, 0, `the script failed on the host: ${stderr}`);
    return stdout.toString();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The same in a guest, between two lines of its console. */
async function inGuest(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-user-space-'));
  try {
    const archive = join(folder, 'script.cpio');
    const body = readFileSync(SCRIPT, 'utf8');
    writeScriptArchive(
      archive,
      `echo '${BEGIN}'\nexport OPENSSL_CONF=/dev/null\nbash <<'EOS' 2>&1\n${body}\nEOS\necho '${END}'\n`,
    );
    const initrds = [await userSpaceImage(), archive];
    await using vm = new TestVm({ kernel: await vmlinuz(), initrds, memoryMib: 512 });
    const [, output] = await vm.waitFor(new RegExp(`${BEGIN}\\r?\\n([^]*)${END}`), { timeoutMs: 240_000 });
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 20_000 }), { status: EXIT_CODES['power-off'], signal: null });
    return (output ?? '').replaceAll('\r\n', '\n');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("Debian's bash, python3, perl, awk, gzip and openssl print what they print on the host", {
  skip: skipWithoutApt,
}, async () => {
  const expected = await onHost();
  assert.ok(expected.split('\n').length > 40, 'the script prints something');
  assert.equal(await inGuest(), expected);
});
