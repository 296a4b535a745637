/** Images that are handed over as open descriptors. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { main } from '#cli/main.ts';
import { type ChainImage, type ChainOptions, openChain } from '#disk/image-chain.ts';
import { Fd } from '#sys/fd.ts';
import { OpenFlag } from '#sys/file.ts';

const folder = mkdtempSync(join(tmpdir(), 'disk-descriptors-'));
after(() => rmSync(folder, { recursive: true }));
let names = 0;

function rawImage(): string {
  const path = join(folder, `image${names++}`);
  writeFileSync(path, new Uint8Array(4096));
  return path;
}

const code = (expected: string) => (error: unknown) => (error as { code?: unknown }).code === expected;

function open(fd: number, options: Partial<ChainOptions> = {}): readonly ChainImage[] {
  const chain = openChain(`/proc/self/fd/${fd}`, { format: undefined, readOnly: false, lock: true, ...options });
  for (const image of chain) image.fd.close();
  return chain;
}

describe('a descriptor as the path of an image', () => {
  test('needs no name any more, and stays open', () => {
    const path = rawImage();
    using fd = Fd.open(path, OpenFlag.RDWR);
    unlinkSync(path);
    assert.deepEqual(
      open(fd.fd).map(({ format }) => format),
      ['raw'],
    );
    open(fd.fd);
  });

  test('has the rights that it was opened with', () => {
    const path = rawImage();
    using reader = Fd.open(path, OpenFlag.RDONLY);
    assert.throws(() => open(reader.fd), code('READ_ONLY'));
    open(reader.fd, { readOnly: true });
    using writer = Fd.open(path, OpenFlag.WRONLY);
    assert.throws(() => open(writer.fd, { readOnly: true }), code('READ_ONLY'));
    using appender = Fd.open(path, OpenFlag.RDWR | OpenFlag.APPEND);
    assert.throws(() => open(appender.fd), code('READ_ONLY'));
    assert.throws(() => open(999_999), code('EBADF'));
  });

  test('is locked with whoever else has it, against all others', () => {
    const path = rawImage();
    using fd = Fd.open(path, OpenFlag.RDWR);
    open(fd.fd);
    using other = Fd.open(path, OpenFlag.RDWR);
    assert.throws(() => open(other.fd), code('LOCKED'));
  });

  test('a qcow2 image names what lies below relative to where it is', async () => {
    const [base, top] = [rawImage(), join(folder, 'top')];
    const backing = base.slice(folder.length + 1);
    assert.equal(await main(['create_qcow2', `--backing=${backing}`, '--backing-format=raw', top, '4096']), 0);
    using fd = Fd.open(top, OpenFlag.RDWR);
    assert.deepEqual(
      open(fd.fd, { format: 'qcow2' }).map(({ format }) => format),
      ['qcow2', 'raw'],
    );
  });
});
