import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadKernel } from './load-kernel.ts';
import { FakeRam } from './testing/fake-ram.ts';
import { buildElf } from './testing/images.ts';
import { SAMPLE_ADDRESS, sampleKernel } from './testing/sample-kernel.ts';

const MIB = 2 ** 20;
const folder = mkdtempSync(join(tmpdir(), 'kernel-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

function ram(): FakeRam {
  return new FakeRam({ guestAddress: 0, sizeBytes: 20 * MIB });
}

test('a vmlinux file is loaded', () => {
  const memory = ram();
  assert.equal(loadKernel(file('vmlinux', sampleKernel()), memory).entry, SAMPLE_ADDRESS);
  assert.equal(Buffer.from(memory.bytes(SAMPLE_ADDRESS + 0x1000, 4)).toString(), 'data');
});

test('a segment of several chunks arrives whole', () => {
  const data = Uint8Array.from({ length: 3 * MIB + 7 }, (_, i) => (i * 31) >>> 4);
  const memory = ram();
  loadKernel(file('large', buildElf({ segments: [{ address: 4 * MIB, data }] })), memory);
  assert.ok(Buffer.from(data).equals(memory.bytes(4 * MIB, data.length)));
});

test('a missing, an empty, an unknown and a special file are refused by name', () => {
  const missing = join(folder, 'missing');
  assert.throws(() => loadKernel(missing, ram()), {
    name: 'KernelLoadError',
    code: 'KERNEL_UNREADABLE',
    message: `kernel ${JSON.stringify(missing)}: cannot be read: no such file or directory (ENOENT)`,
  });
  assert.throws(() => loadKernel(file('empty', new Uint8Array(0)), ram()), { code: 'KERNEL_EMPTY' });
  assert.throws(() => loadKernel(file('byte', new Uint8Array(1)), ram()), { code: 'KERNEL_UNKNOWN_FORMAT' });
  assert.throws(() => loadKernel(file('text', Buffer.from('#!/bin/sh\n')), ram()), { code: 'KERNEL_UNKNOWN_FORMAT' });
  assert.throws(() => loadKernel(folder, ram()), { code: 'KERNEL_UNREADABLE' });
  assert.throws(() => loadKernel('/dev/zero', ram()), { code: 'KERNEL_UNREADABLE' });
});

test('the message stays one line whatever the path holds', () => {
  const message = /^kernel "[^\n]*": cannot be read: [^\n]+$/;
  assert.throws(() => loadKernel(join(folder, 'a\nb'), ram()), { code: 'KERNEL_UNREADABLE', message });
  assert.throws(() => loadKernel('a\0b', ram()), { code: 'KERNEL_UNREADABLE', message });
  assert.throws(() => loadKernel('/\x9b\x7f\u2028', ram()), {
    message: 'kernel "/\\u009b\\u007f\\u2028": cannot be read: no such file or directory (ENOENT)',
  });
});

test('the descriptor is closed after success and after failure', () => {
  const good = file('good', sampleKernel());
  const bad = file('bad', Buffer.from('bad'));
  const before = readdirSync('/proc/self/fd').length;
  loadKernel(good, ram());
  assert.throws(() => loadKernel(bad, ram()));
  assert.throws(() => loadKernel(folder, ram()));
  assert.equal(readdirSync('/proc/self/fd').length, before);
});
