import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeOutput } from '#devices/virtio/testing/fake-console.ts';
import { PanicWatch, WatchedOutput } from './panic-watch.ts';

/** How often the watch spoke while `text` passed, and what came out. */
function watch(text: string): { panics: number; output: string } {
  const written: number[] = [];
  let panics = 0;
  const sink = new PanicWatch({ write: (byte) => void written.push(byte) }, () => panics++);
  for (const byte of Buffer.from(text, 'latin1')) sink.write(byte);
  return { panics, output: Buffer.from(written).toString('latin1') };
}

test('a full output shows through', () => {
  const output = { isFull: true, write() {} };
  const sink = new PanicWatch(output, () => {});
  assert.equal(sink.isFull, true);
  output.isFull = false;
  assert.equal(sink.isFull, false);
});

test('every byte passes', () => {
  const text = 'boot\r\n\xff\0Kernel panic - not syncing: VFS\r\n';
  assert.equal(watch(text).output, text);
});

test('the words of a panic are noticed after a time stamp', () => {
  assert.equal(watch('[    1.5] Kernel panic - not syncing: Attempted to kill init!').panics, 1);
});

test('the words are found where a false start comes right before them', () => {
  assert.equal(watch('Kernel pKKernel panic - not syncing').panics, 1);
});

test('each panic is noticed', () => {
  assert.equal(watch('Kernel panic - not syncing\nKernel panic - not syncing').panics, 2);
});

test('other words are not', () => {
  assert.equal(watch('Kernel panic handler registered; kernel panic - not syncing').panics, 0);
});

test('a flush is passed on', () => {
  let flushes = 0;
  new PanicWatch({ write: () => {}, flush: () => flushes++ }, () => {}).flush();
  assert.equal(flushes, 1);
});

test('of a virtio console the bytes that were taken are watched, in whatever pieces they come', () => {
  using output = new FakeOutput();
  let panics = 0;
  const watched = new WatchedOutput(output, () => panics++);
  const text = Buffer.from('[ 1.5] Kernel panic - not syncing: x');
  output.room = 15;
  const taken = watched.write(text);
  assert.deepEqual([taken, panics], [15, 0]);
  output.room = 100;
  watched.write(text.subarray(taken));
  assert.deepEqual([output.text, panics], [text.toString(), 1]);
});
