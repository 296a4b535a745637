import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CpioEntry, CpioWriter } from './cpio.ts';

const HEADER_BYTES = 110;

interface Parsed {
  readonly name: string;
  readonly fields: readonly number[];
  readonly data: Uint8Array;
}

function archive(...entries: CpioEntry[]): Uint8Array {
  const chunks: Uint8Array[] = [];
  const writer = new CpioWriter((bytes) => chunks.push(bytes.slice()));
  for (const entry of entries) writer.add(entry);
  writer.end();
  const bytes = Buffer.concat(chunks);
  assert.equal(bytes.byteLength, writer.sizeBytes);
  return bytes;
}

/** Reads the form as the kernel does: fixed header of 8-digit numbers, name and data each padded to 4 bytes. */
function parse(bytes: Uint8Array): Parsed[] {
  const text = (start: number, end: number): string => Buffer.from(bytes.subarray(start, end)).toString('latin1');
  const entries: Parsed[] = [];
  for (let at = 0; ; ) {
    assert.equal(text(at, at + 6), '070701');
    const fields = Array.from({ length: 13 }, (_, i) => Number.parseInt(text(at + 6 + 8 * i, at + 14 + 8 * i), 16));
    const [dataBytes = 0, nameBytes = 0] = [fields[6], fields[11]];
    const name = text(at + HEADER_BYTES, at + HEADER_BYTES + nameBytes - 1);
    if (name === 'TRAILER!!!') return entries;
    const dataStart = (at + HEADER_BYTES + nameBytes + 3) & ~3;
    entries.push({ name, fields, data: bytes.slice(dataStart, dataStart + dataBytes) });
    at = (dataStart + dataBytes + 3) & ~3;
  }
}

test('a file keeps its path, mode, time and bytes', () => {
  const data = new Uint8Array([1, 2, 3, 4, 5]);
  const [entry] = parse(archive({ kind: 'file', path: 'a/b', mode: 0o4755, mtimeSeconds: 1700000000, data }));
  assert.equal(entry?.name, 'a/b');
  assert.equal(entry?.fields[1], 0o104755);
  assert.equal(entry?.fields[5], 1700000000);
  assert.deepEqual([...(entry?.data ?? [])], [...data]);
});

test('a directory, a symlink and a device keep their types', () => {
  const entries = parse(
    archive(
      { kind: 'directory', path: 'dev', mode: 0o755 },
      { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
      { kind: 'symlink', path: 'bin', mode: 0o777, target: 'usr/bin' },
    ),
  );
  assert.deepEqual(
    entries.map(({ fields }) => fields[1]),
    [0o040755, 0o020600, 0o120777],
  );
  assert.deepEqual(entries[1]?.fields.slice(9, 11), [5, 1]);
  assert.equal(Buffer.from(entries[2]?.data ?? []).toString(), 'usr/bin');
});

test('each entry has an inode number of its own and belongs to root', () => {
  const directory = (path: string): CpioEntry => ({ kind: 'directory', path, mode: 0o755 });
  const entries = parse(archive(directory('a'), directory('b'), directory('c')));
  assert.deepEqual(
    entries.map(({ fields }) => fields.slice(0, 1).concat(fields.slice(2, 4))),
    [
      [1, 0, 0],
      [2, 0, 0],
      [3, 0, 0],
    ],
  );
});

test('names and contents of every length modulo 4 are aligned', () => {
  const names = ['a', 'ab', 'abc', 'abcd', 'abcde'];
  const entries = names.map((path, i): CpioEntry => ({ kind: 'file', path, mode: 0, data: new Uint8Array(i).fill(7) }));
  const parsed = parse(archive(...entries));
  assert.deepEqual(
    parsed.map(({ name, data }) => [name, data.byteLength]),
    names.map((name, i) => [name, i]),
  );
});

test('a name outside ASCII is counted in bytes', () => {
  const [entry] = parse(archive({ kind: 'file', path: 'é', mode: 0o644, data: new Uint8Array([9]) }));
  assert.equal(entry?.fields[11], 3);
  assert.deepEqual([...(entry?.data ?? [])], [9]);
});

test('an archive ends on a whole block, so that another may follow', () => {
  assert.equal(archive({ kind: 'directory', path: 'x', mode: 0o755 }).byteLength % 512, 0);
  assert.equal(archive().byteLength % 512, 0);
});

test('what the form cannot hold is refused', () => {
  const writer = new CpioWriter(() => {});
  assert.throws(() => writer.add({ kind: 'directory', path: '/abs', mode: 0o755 }), RangeError);
  assert.throws(() => writer.add({ kind: 'directory', path: '', mode: 0o755 }), RangeError);
  assert.throws(() => writer.add({ kind: 'directory', path: 'x', mode: 0o755, mtimeSeconds: 2 ** 32 }), RangeError);
  writer.end();
  assert.throws(() => writer.add({ kind: 'directory', path: 'late', mode: 0o755 }), /ended/);
});
