/** qcow2 images against QEMU's own program. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { DiskFile } from '#disk/disk-file.ts';
import { type ChainOptions, diskOfChain, openChain } from '#disk/image-chain.ts';
import { createQcow2, type NewImage } from '#disk/qcow2/create.ts';
import { HostImageFile } from '#disk/qcow2/image-file.ts';
import { Qcow2Disk } from '#disk/qcow2/qcow2-disk.ts';
import { RequestBuffer } from '#disk/qcow2/testing/buffer.ts';
import { crashed, record, SECTOR, SECTORS } from '#disk/qcow2/testing/crash.ts';
import { seeded } from '#disk/qcow2/testing/scenario.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';
import { missingProgram } from '../../host-needs.ts';

const skip = missingProgram('qemu-img', 'qemu-utils');
const folder = mkdtempSync(join(tmpdir(), 'qcow2-'));
after(() => rmSync(folder, { recursive: true }));
const SIZE = 4 << 20;
let names = 0;

const place = (): string => join(folder, `image${names++}`);

function qemuImg(...argv: string[]): string {
  const { status, stdout, stderr } = spawnSync('qemu-img', argv, { encoding: 'utf8', cwd: folder, timeout: 60_000 });
  assert.equal(status, 0, `qemu-img ${argv.join(' ')}: ${stdout}${stderr}`);
  return stdout;
}

function openDisk(path: string, options: Partial<ChainOptions> = {}): DiskFile {
  const { readOnly = false } = options;
  const chain = openChain(path, { format: 'qcow2', readOnly, lock: true, ...options });
  return diskOfChain(
    chain.map(({ fd }) => fd),
    chain.map(({ format }) => format),
    readOnly,
  );
}

/** Bytes with runs, holes and what cannot be compressed. */
function content(seed: number, sizeBytes = SIZE): Uint8Array {
  const random = seeded(seed);
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; at += 1 + random(200_000)) {
    const end = Math.min(sizeBytes, at + random(100_000));
    if (random(2) === 0) bytes.fill(random(256), at, end);
    else for (let index = at; index < end; index++) bytes[index] = random(256);
  }
  return bytes;
}

function rawFile(bytes: Uint8Array): string {
  const path = place();
  writeFileSync(path, bytes);
  return path;
}

function change(disk: DiskFile, model: Uint8Array, seed: number): void {
  const random = seeded(seed);
  using buffer = new RequestBuffer(300_000);
  for (let step = 0; step < 150; step++) {
    const offset = random(model.length);
    const sizeBytes = 1 + random(Math.min(model.length - offset, 300_000));
    const kind = random(6);
    if (kind < 3) {
      const bytes = new Uint8Array(sizeBytes).fill(1 + random(255));
      buffer.write(disk, offset, bytes);
      model.set(bytes, offset);
    } else if (kind < 5) {
      disk.writeZeroes({ offset, sizeBytes }, kind === 3);
      model.fill(0, offset, offset + sizeBytes);
    } else {
      disk.discard({ offset, sizeBytes });
      model.set(buffer.read(disk, offset, sizeBytes), offset);
    }
  }
}

function assertReads(disk: DiskFile, model: Uint8Array): void {
  using buffer = new RequestBuffer(model.length);
  assert.equal(disk.lengthBytes, model.length);
  assert.ok(Buffer.from(buffer.read(disk, 0, model.length)).equals(model));
}

function assertSame(path: string, model: Uint8Array): void {
  qemuImg('check', '-f', 'qcow2', path);
  qemuImg('compare', '-f', 'qcow2', '-F', 'raw', path, rawFile(model));
}

describe('images that qemu-img made', { skip }, () => {
  for (const [name, options, compressed] of [
    ['version 2', 'compat=0.10', false],
    ['version 3', 'compat=1.1', false],
    ['small clusters', 'cluster_size=512', false],
    ['large clusters', 'cluster_size=2M', false],
    ['counts of 1 bit', 'refcount_bits=1', false],
    ['counts of 64 bits', 'refcount_bits=64', false],
    ['lazy counts', 'lazy_refcounts=on', false],
    ['space set aside', 'preallocation=metadata', false],
    ['deflate', 'cluster_size=65536', true],
    ['deflate, small clusters', 'cluster_size=4096', true],
    ['zstd', 'compression_type=zstd', true],
    ['version 2, deflate', 'compat=0.10', true],
  ] as const) {
    test(`${name}: read, written, and right for qemu-img`, () => {
      const model = content(names);
      const path = place();
      const flags = compressed ? ['-c'] : [];
      qemuImg('convert', ...flags, '-f', 'raw', '-O', 'qcow2', '-o', options, rawFile(model), path);
      {
        using disk = openDisk(path, { readOnly: true });
        assertReads(disk, model);
      }
      {
        using disk = openDisk(path);
        change(disk, model, names);
        assertReads(disk, model);
        disk.flush();
      }
      assertSame(path, model);
    });
  }

  test('backing files, raw below qcow2 below qcow2', () => {
    const model = content(77);
    const [base, middle, top] = [rawFile(model.slice(0, SIZE / 2 + 512)), place(), place()];
    model.fill(0, SIZE / 2 + 512);
    qemuImg('create', '-f', 'qcow2', '-b', base, '-F', 'raw', middle, String(SIZE));
    qemuImg('create', '-f', 'qcow2', '-b', middle, '-F', 'qcow2', top);
    const before = readFileSync(base);
    {
      using disk = openDisk(top);
      assertReads(disk, model);
      change(disk, model, 5);
      assertReads(disk, model);
    }
    assertSame(top, model);
    assert.ok(readFileSync(base).equals(before));
  });

  test('a size that is no multiple of a cluster, and growth by qemu-img', () => {
    const path = place();
    qemuImg('create', '-f', 'qcow2', path, '1000448');
    qemuImg('resize', path, '3000320');
    const model = new Uint8Array(3_000_320);
    {
      using disk = openDisk(path);
      change(disk, model, 9);
    }
    assertSame(path, model);
  });
});

describe('images that we made', { skip }, () => {
  const make = (image: NewImage): string => {
    const path = place();
    using fd = Fd.open(path, OpenFlag.RDWR | OpenFlag.CREAT | OpenFlag.EXCL);
    createQcow2(new HostImageFile(fd), image);
    return path;
  };
  for (const image of [
    { sizeBytes: SIZE },
    { sizeBytes: SIZE, version: 2 },
    { sizeBytes: SIZE, clusterBits: 9 },
    { sizeBytes: SIZE, clusterBits: 9, refcountOrder: 6 },
    { sizeBytes: SIZE, clusterBits: 21, refcountOrder: 0 },
    { sizeBytes: SIZE, clusterBits: 12, refcountOrder: 1 },
  ] as const satisfies readonly NewImage[]) {
    test(`${JSON.stringify(image)} is right for qemu-img`, () => {
      const path = make(image);
      const model = new Uint8Array(SIZE);
      assertSame(path, model);
      {
        using disk = openDisk(path);
        change(disk, model, names);
        assertReads(disk, model);
      }
      assertSame(path, model);
    });
  }

  test('what a crash leaves has leaks at worst', () => {
    const LEAKS_ONLY = 3;
    const random = seeded(8);
    for (const clusterBits of [9, 12]) {
      const { start, events } = record({ sizeBytes: SECTORS * SECTOR, clusterBits }, 2);
      for (let crash = 0; crash < 12; crash++) {
        const path = rawFile(crashed(start, events.slice(0, random(events.length)), random).content);
        const { status, stdout } = spawnSync('qemu-img', ['check', '-f', 'qcow2', path], { encoding: 'utf8' });
        assert.ok(status === 0 || status === LEAKS_ONLY, stdout);
      }
    }
  });

  test('a disk of terabytes is made and checked', () => {
    const path = make({ sizeBytes: 2 ** 43 });
    qemuImg('check', path);
    assert.ok(statSync(path).size < 1 << 20);
    using disk = openDisk(path);
    disk.discard({ offset: 0, sizeBytes: 2 ** 43 });
    using buffer = new RequestBuffer(512);
    buffer.write(disk, 2 ** 43 - 512, new Uint8Array(512).fill(1));
  });

  test('growth is right for qemu-img', () => {
    const path = make({ sizeBytes: SIZE, clusterBits: 9 });
    const model = new Uint8Array(3 * SIZE);
    {
      using fd = Fd.open(path, OpenFlag.RDWR);
      using disk = new Qcow2Disk(new HostImageFile(fd.duplicate()));
      change(disk, model.subarray(0, SIZE), 3);
      disk.grow(3 * SIZE);
      change(disk, model, 4);
      disk.flush();
    }
    assertSame(path, model);
  });
});

describe('chains', { skip }, () => {
  const refused = (path: string, message: RegExp, format?: 'raw' | 'qcow2'): void => {
    assert.throws(() => openChain(path, { format, readOnly: true, lock: true }), { name: 'DiskError', message });
  };
  const overlay = (backing: string, format: string): string => {
    const path = place();
    qemuImg('create', '-u', '-f', 'qcow2', '-b', backing, '-F', format, path, '1M');
    return path;
  };

  test('what looks like qcow2 is not opened unless the user says what it is', () => {
    const path = place();
    qemuImg('create', '-f', 'qcow2', path, '1M');
    refused(path, /say format=qcow2/);
    const [raw] = openChain(path, { format: 'raw', readOnly: true, lock: true });
    assert.equal(raw?.format, 'raw');
    raw?.fd.close();
  });

  test('a raw image below is raw, whatever it looks like', () => {
    const disguised = overlay('/etc/passwd', 'raw');
    const path = overlay(disguised, 'raw');
    const chain = openChain(path, { format: 'qcow2', readOnly: true, lock: true });
    assert.deepEqual(
      chain.map(({ format }) => format),
      ['qcow2', 'raw'],
    );
    for (const { fd } of chain) fd.close();
  });

  test('circles, endless chains, addresses and what is missing are refused', () => {
    const loop = place();
    qemuImg('create', '-u', '-f', 'qcow2', '-b', overlay(loop, 'qcow2'), '-F', 'qcow2', loop, '1M');
    refused(loop, /circle/, 'qcow2');
    const link = place();
    symlinkSync(loop, link);
    refused(overlay(link, 'qcow2'), /circle/, 'qcow2');
    let top = rawFile(new Uint8Array(512));
    for (let depth = 0; depth < 16; depth++) top = overlay(top, depth === 0 ? 'raw' : 'qcow2');
    refused(top, /more than 16/, 'qcow2');
    refused(overlay('nbd://localhost/x', 'raw'), /no path/, 'qcow2');
    refused(overlay('json:{}', 'raw'), /no path/, 'qcow2');
    refused(overlay('not-there', 'raw'), /backing file ".*not-there".*ENOENT/, 'qcow2');
    refused(overlay('/dev/null', 'raw'), /regular file/, 'qcow2');
  });

  test('an image that is written elsewhere is locked, at each place of the chain', () => {
    const base = place();
    qemuImg('create', '-f', 'qcow2', base, '1M');
    const path = overlay(base, 'qcow2');
    using _ = openDisk(base);
    assert.throws(() => openDisk(path), { code: 'LOCKED' });
  });
});
