/** Programs of 32 bits on the 64-bit kernel: compatibility mode as Linux's IA32 emulation uses it. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EXIT_CODES } from '#vmm/exit-codes.ts';
import { SUITES, type Suite } from '../../tools/guest/apt.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { busybox, busyboxImage, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const SCRIPT = join(import.meta.dirname, 'i386.sh');
const SOURCE = join(import.meta.dirname, 'i386.c');
/** What the program printed on an Intel processor under Linux 6.18. */
const PRINTED = join(import.meta.dirname, 'i386.txt');
const COMPILER_FLAGS =
  '-m32 -O1 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -msse2 -mfpmath=sse -nostdlib -static -no-pie';
const BEGIN = 'program begins';
const END = 'program ends';

/** Gives `use` a folder that is there as long as it runs. */
async function withFolder<T>(use: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-i386-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** What a command prints in the guest, which has these programs in its root. */
function inGuest(
  command: string,
  { suite = 'bookworm', programs }: { suite?: Suite; programs: Readonly<Record<string, Uint8Array>> },
): Promise<string> {
  return withFolder(async (folder) => {
    const archive = join(folder, 'script.cpio');
    writeScriptArchive(archive, `echo '${BEGIN}'\n${command}\necho '${END}'\n`, { programs });
    await using vm = new TestVm({ kernel: await vmlinuz(suite), initrds: [await busyboxImage(), archive] });
    const [, output] = await vm.waitFor(new RegExp(`${BEGIN}\\r?\\n([^]*)${END}`), { timeoutMs: 240_000 });
    assert.deepEqual(await vm.waitForExit({ timeoutMs: 20_000 }), { status: EXIT_CODES['power-off'], signal: null });
    return (output ?? '').replaceAll('\r\n', '\n');
  });
}

/** The script's output on the host: by the busybox of 32 bits where the host runs it, else by that of 64 bits. */
async function onHost(): Promise<string> {
  const small = await busybox('i386');
  const program = spawnSync(small, ['true']).status === 0 ? small : await busybox('amd64');
  const { status, stdout } = spawnSync(program, ['sh', SCRIPT], { env: { BUSYBOX: program } });
  assert.equal(status, 0, 'the script ends on the host');
  return stdout.toString();
}

test("Debian's i386 busybox prints what it prints on the host", { skip: skipWithoutApt }, async () => {
  const expected = await onHost();
  assert.ok(expected.split('\n').length > 100, 'the script prints something');
  const programs = { busybox32: readFileSync(await busybox('i386')), 'i386.sh': readFileSync(SCRIPT) };
  assert.equal(await inGuest('BUSYBOX=/busybox32 /busybox32 sh /i386.sh 2>/dev/null', { programs }), expected);
});

/** The program's bytes; undefined where the machine has no compiler that can make it. */
const program = await withFolder((folder) => {
  const path = join(folder, 'program');
  const { status } = spawnSync('cc', [...COMPILER_FLAGS.split(' '), '-o', path, SOURCE]);
  return status === 0 ? readFileSync(path) : undefined;
});
const skipWithoutCompiler = program === undefined && 'there is no C compiler (cc -m32) on this machine';

for (const suite of SUITES) {
  test(`system calls, segments, signals and legacy instructions of 32-bit code under the kernel of ${suite}`, {
    skip: skipWithoutApt || skipWithoutCompiler,
  }, async () => {
    const programs = { program: program as Uint8Array };
    const output = await inGuest('/program entry; /program', { suite, programs });
    assert.equal(output, `sysenter\n${readFileSync(PRINTED, 'latin1')}`);
  });
}
