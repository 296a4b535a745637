import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadInitrd } from './initrd.ts';
import { FakeRam } from './testing/fake-ram.ts';

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'initrd-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const five = file('five', Buffer.from('12345'));
const three = file('three', Buffer.from('abc'));
const kernel = { kernelStart: 2 * MIB, kernelEnd: 3 * MIB + 1, initrdAddressMax: 0x7fff_ffff };

function ram(...sizes: number[]): FakeRam {
  return new FakeRam(...sizes.map((sizeBytes, i) => ({ guestAddress: i * 16 * MIB, sizeBytes })));
}

test('without files there is no initrd', () => {
  assert.equal(loadInitrd([], ram(MIB), kernel), undefined);
});

test('files follow each other with zeros up to a multiple of 4', () => {
  const memory = ram(4 * MIB);
  const initrd = loadInitrd([five, three, five], memory, kernel);
  assert.deepEqual(initrd, { address: 4 * MIB - 4096, sizeBytes: 17 });
  const bytes = Buffer.from(memory.bytes(4 * MIB - 4096, 18));
  assert.equal(bytes.toString('latin1'), '12345\0\0\0abc\x0012345\xcc');
});

test('the initrd ends at or below the address that the kernel allows', () => {
  const limited = { ...kernel, initrdAddressMax: 4 * MIB - 1 };
  const page = file('page', new Uint8Array(4096));
  assert.deepEqual(loadInitrd([page], ram(16 * MIB), limited), { address: 4 * MIB - 4096, sizeBytes: 4096 });
  const oneLess = { ...kernel, initrdAddressMax: 4 * MIB - 2 };
  assert.equal(loadInitrd([page], ram(16 * MIB), oneLess)?.address, 4 * MIB - 8192);
});

test('the highest region with room is used', () => {
  assert.equal(loadInitrd([five], ram(4 * MIB, MIB), kernel)?.address, 17 * MIB - 4096);
});

test('an initrd that does not fit above the kernel goes below it', () => {
  const large = file('large', new Uint8Array(MIB));
  assert.deepEqual(loadInitrd([large], ram(4 * MIB), kernel), { address: MIB, sizeBytes: MIB });
});

test('an initrd that fits neither above nor below the kernel is refused', () => {
  const larger = file('larger', new Uint8Array(MIB + 1));
  assert.throws(() => loadInitrd([larger], ram(4 * MIB), kernel), {
    name: 'KernelLoadError',
    code: 'INITRD_TOO_LARGE',
    path: larger,
    message: `initrd ${JSON.stringify(larger)}: 1048577 bytes of initrd do not fit beside the kernel into 4194304 bytes of RAM`,
  });
});

test('files that together exceed RAM are refused before anything is written', () => {
  const half = file('half', new Uint8Array(2 * MIB + 1));
  const memory = ram(4 * MIB);
  assert.throws(() => loadInitrd([half, half], memory, kernel), { code: 'INITRD_TOO_LARGE' });
  assert.ok(memory.bytes(0, 4 * MIB).every((byte) => byte === 0xcc));
});

test('a missing, an empty and a special file are refused by name', () => {
  const missing = join(folder, 'missing');
  assert.throws(() => loadInitrd([five, missing], ram(4 * MIB), kernel), {
    code: 'INITRD_UNREADABLE',
    message: `initrd ${JSON.stringify(missing)}: cannot be read: no such file or directory (ENOENT)`,
  });
  const empty = file('empty', new Uint8Array(0));
  assert.throws(() => loadInitrd([empty], ram(4 * MIB), kernel), { code: 'INITRD_EMPTY', path: empty });
  assert.throws(() => loadInitrd([folder], ram(4 * MIB), kernel), { code: 'INITRD_UNREADABLE' });
  assert.throws(() => loadInitrd(['/dev/null'], ram(4 * MIB), kernel), { code: 'INITRD_UNREADABLE' });
});
