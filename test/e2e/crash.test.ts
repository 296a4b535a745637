/**
 * A machine that is killed while its guest writes: what the guest said to be on its disks is there. It shows that nothing that
 * was flushed waits in a process; that the host's kernel keeps its word is not shown, for the host goes on.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { seeded } from '#disk/qcow2/testing/scenario.ts';
import { kill, Signal } from '#sys/signal.ts';
import { writeScriptArchive } from '../../tools/guest/initramfs.ts';
import { missingProgram } from '../host-needs.ts';
import { childrenOfThreads, runs } from '../integration/jail/observe.ts';
import {
  AREA_BLOCKS,
  BLOCK_BYTES,
  blockOf,
  blockProblems,
  fileOf,
  fileProblems,
  type Life,
  operationOf,
  UNTOLD_MAX,
} from './crash-record.ts';
import { busyboxImage, kernelModules, MODULE_PREFIX, skipWithoutApt, vmlinuz } from './guest-files.ts';
import { TestVm } from './test-vm.ts';

const PROGRAM = 'etc/crosvm/crash';
const FILE_SYSTEM_MIB = 32;
const DELAY_MAX_MS = 3000;
const BOOT = { timeoutMs: 120_000 };
const ROUNDS = [[], ['--disable-sandbox'], []] as const;

interface Disk {
  /** Where the guest writes: the device, or the folder that it is mounted at. */
  readonly place: string;
  readonly holds: 'blocks' | 'files';
  readonly format: 'raw' | 'qcow2';
}

const DISKS: readonly Disk[] = [
  { place: '/dev/vda', holds: 'blocks', format: 'raw' },
  { place: '/dev/vdb', holds: 'blocks', format: 'qcow2' },
  { place: '/tmp/vdc', holds: 'files', format: 'raw' },
  { place: '/tmp/vdd', holds: 'files', format: 'qcow2' },
];

function command(program: string, ...argv: string[]): string {
  return execFileSync(program, argv, { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Clusters of one block, so that the tables of the image change all the time. */
function createImage(path: string, { holds, format }: Disk): void {
  const raw = `${path}.raw`;
  if (holds === 'blocks') writeFileSync(raw, new Uint8Array(AREA_BLOCKS * BLOCK_BYTES));
  else command('mke2fs', '-q', '-F', '-t', 'ext4', '-b', String(BLOCK_BYTES), raw, `${FILE_SYSTEM_MIB}M`);
  command('qemu-img', 'convert', '-O', format, ...(format === 'raw' ? [] : ['-o', 'cluster_size=4k']), raw, path);
}

/** The disk's content in a file of its own; the image stays as the crash has left it. */
function contentOf(path: string, { format }: Disk): string {
  const copy = `${path}.copy`;
  if (format === 'raw') copyFileSync(path, copy);
  else {
    const { status, stdout, stderr } = spawnSync('qemu-img', ['check', path], { encoding: 'utf8' });
    // 3: clusters that nobody uses, as after a crash.
    assert.ok(status === 0 || status === 3, `qemu-img check: ${status} ${stdout}${stderr}`);
    command('qemu-img', 'convert', '-f', format, '-O', 'raw', path, copy);
  }
  return copy;
}

function filesOf(fileSystem: string): Map<string, Buffer> {
  const { status, stdout } = spawnSync('e2fsck', ['-fy', fileSystem], { encoding: 'utf8' });
  assert.ok(status === 0 || status === 1, `e2fsck: ${status} ${stdout}`);
  command('e2fsck', '-fn', fileSystem);
  const folder = `${fileSystem}.files`;
  mkdirSync(folder);
  command('debugfs', '-R', `rdump / ${folder}`, fileSystem);
  const names = readdirSync(folder).filter((name) => name !== 'lost+found');
  const files = new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
  rmSync(folder, { recursive: true });
  return files;
}

function problemsOf(path: string, disk: Disk, { seed, lives }: { seed: number; lives: readonly Life[] }): string[] {
  const copy = contentOf(path, disk);
  if (disk.holds === 'blocks') return blockProblems(readFileSync(copy), seed, lives);
  return fileProblems(filesOf(copy), seed, lives);
}

/** Mounting recovers the file system as a guest does after a crash. */
function script(seed: number, firsts: readonly number[]): string {
  const start = (disk: Disk, index: number): string =>
    `/${PROGRAM} ${disk.holds} ${disk.place} ${seed} ${firsts[index]} &`;
  return `
for module in /${MODULE_PREFIX}*; do insmod $module || echo "no $module"; done
mkdir /tmp/vdc /tmp/vdd
mount -t ext4 /dev/vdc /tmp/vdc && mount -t ext4 /dev/vdd /tmp/vdd || echo "not mounted"
${DISKS.map(start).join('\n')}
wait
`;
}

/** Kills a process and all below it, in any order, and returns when none runs. */
async function killTree(root: number, random: (limit: number) => number): Promise<void> {
  const below = (pid: number): number[] => [pid, ...childrenOfThreads(pid).flatMap(below)];
  const pids = below(root);
  const order = pids.map((pid) => ({ pid, rank: random(2 ** 20) })).toSorted((a, b) => a.rank - b.rank);
  for (const { pid } of order) kill(pid, Signal.SIGKILL);
  while (pids.some(runs)) await setTimeout(10);
}

/** The last operation that each disk has according to the guest, from whole lines. */
function durableOn(console: string, { place }: Disk): number | undefined {
  const lines = [...console.matchAll(/^durable (\S+) (\d+)\r?\n/gm)].filter(([, where]) => where === place);
  return lines.length === 0 ? undefined : Number(lines.at(-1)?.[2]);
}

const skip =
  skipWithoutApt ||
  (spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler (cc)') ||
  missingProgram('qemu-img', 'qemu-utils') ||
  (spawnSync('mke2fs', ['-V']).error === undefined ? false : 'mke2fs is missing: apt-get install e2fsprogs');

test('what the guest has flushed outlives SIGKILL of all processes, on raw and qcow2, with and without ext4', {
  skip,
  timeout: 400_000,
}, async (t) => {
  const seed = Number(process.env['CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`CRASH_SEED=${seed}`);
  const random = seeded(seed);
  const folder = mkdtempSync(join(tmpdir(), 'crosvm-crash-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const program = join(folder, 'program');
  command('cc', '-O1', '-static', '-o', program, join(import.meta.dirname, 'crash.c'));
  const programs = { ...(await kernelModules(['virtio_pci', 'virtio_blk'])), [PROGRAM]: readFileSync(program) };
  const disks = DISKS.map((disk, index) => ({ disk, path: join(folder, `disk${index}`), lives: [] as Life[] }));
  for (const { disk, path } of disks) createImage(path, disk);
  for (const [round, options] of ROUNDS.entries()) {
    const archive = join(folder, `script${round}.cpio`);
    const firsts = disks.map(({ lives }) => nextFirst(lives.at(-1)));
    writeScriptArchive(archive, script(seed, firsts), { programs });
    const blocks = disks.map(({ disk, path }) => `--block=${path},format=${disk.format}`);
    const initrds = [await busyboxImage(), archive];
    await using vm = new TestVm({ kernel: await vmlinuz(), initrds, options: [...blocks, ...options] });
    for (const { place } of DISKS) await waitUntilDurable(vm, place);
    const delayMs = random(DELAY_MAX_MS);
    await setTimeout(delayMs);
    await killTree(vm.pid, random);
    assert.deepEqual(await vm.waitForExit(BOOT), { status: null, signal: 'SIGKILL' }, vm.errors);
    for (const [index, { disk, lives, path }] of disks.entries()) {
      lives.push({ first: firsts[index] as number, durable: durableOn(vm.console, disk) });
      const problems = problemsOf(path, disk, { seed, lives });
      assert.deepEqual(problems, [], `${disk.place}, ${disk.format}, ${JSON.stringify(lives)}\n${vm.console}`);
    }
    const done = disks.map(({ lives }) => (lives.at(-1)?.durable ?? 0) - (lives.at(-1)?.first ?? 0));
    t.diagnostic(`killed ${delayMs} ms after the first flushes; operations by then: ${done.join(', ')}`);
  }
});

const nextFirst = (life: Life | undefined): number =>
  life === undefined ? 0 : (life.durable ?? life.first) + UNTOLD_MAX;

/** `waitFor` goes on from its last match, and the disks take turns in any order. */
async function waitUntilDurable(vm: TestVm, place: string): Promise<void> {
  if (!vm.console.includes(`durable ${place} `)) await vm.waitFor(new RegExp(`^durable ${place} `, 'm'), BOOT);
}

describe('the judge of crashes', () => {
  const SEED = 7;
  const lives: readonly Life[] = [{ first: 0, durable: 40 }];

  /** A disk with the operations up to `last` that `wanted` takes. */
  function diskAfter(last: number, wanted: (operation: number) => boolean = () => true): Buffer {
    const content = Buffer.alloc(AREA_BLOCKS * BLOCK_BYTES);
    for (let operation = 0; operation <= last; operation++) {
      const { kind, first, count } = operationOf(SEED, operation);
      if (!wanted(operation)) continue;
      for (let index = first; index < first + count; index++) {
        if (kind === 'write') blockOf(SEED, operation, index).copy(content, index * BLOCK_BYTES);
        else content.fill(0, index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      }
    }
    return content;
  }
  const lastWrite = Array.from({ length: 41 }, (_, at) => 40 - at).find((at) => operationOf(SEED, at).kind === 'write');

  test('takes what is durable, and whatever of the rest is there', () => {
    for (const last of [40, 41, 55]) assert.deepEqual(blockProblems(diskAfter(last), SEED, lives), []);
    assert.deepEqual(
      blockProblems(
        diskAfter(60, (operation) => operation <= 40 || operation % 2 === 0),
        SEED,
        lives,
      ),
      [],
    );
  });

  test('finds a write that is lost, a block that is torn and a disk that is cut', () => {
    assert.notEqual(
      blockProblems(
        diskAfter(40, (operation) => operation !== lastWrite),
        SEED,
        lives,
      ).length,
      0,
    );
    assert.notEqual(blockProblems(diskAfter(20), SEED, lives).length, 0);
    const torn = diskAfter(40);
    const at = operationOf(SEED, lastWrite ?? 0).first * BLOCK_BYTES;
    torn.fill(0, at + BLOCK_BYTES - 512, at + BLOCK_BYTES);
    assert.deepEqual(blockProblems(torn, SEED, lives).length, 1);
    assert.deepEqual(blockProblems(diskAfter(40).subarray(1), SEED, lives), ['the disk has 8388607 bytes']);
  });

  test('finds files that are lost or not whole', () => {
    const files = new Map(Array.from({ length: 16 }, (_, age) => [String(40 - age), fileOf(SEED, 40 - age)]));
    assert.deepEqual(fileProblems(files, SEED, lives), []);
    const cut = new Map(files).set('38', (files.get('38') as Buffer).subarray(1));
    assert.deepEqual(fileProblems(cut, SEED, lives), ['file 38 is not whole']);
    const less = new Map(files);
    less.delete('40');
    assert.deepEqual(fileProblems(less, SEED, lives), ['file 40 is lost']);
  });
});
