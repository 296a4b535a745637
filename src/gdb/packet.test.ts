import assert from 'node:assert/strict';
import { test } from 'node:test';
import { escaped, PACKET_MAX_BYTES, PacketReader, packetOf, unescaped } from './packet.ts';

const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const read = (reader: PacketReader, text: string) => [...reader.read(bytesOf(text))];

test('packets, interrupts and acknowledgements come out in order, however they are cut', () => {
  const text = '+$g#67-\x03$m1,2#fc';
  const whole = [
    { kind: 'packet', data: 'g' },
    { kind: 'nak' },
    { kind: 'interrupt' },
    { kind: 'packet', data: 'm1,2' },
  ];
  assert.deepEqual(read(new PacketReader(), text), whole);
  const reader = new PacketReader();
  assert.deepEqual(
    [...text].flatMap((character) => read(reader, character)),
    whole,
  );
});

test('a wrong sum, or one that is no number, makes a damaged packet', () => {
  for (const sum of ['68', '6z', 'zz', '  ']) {
    assert.deepEqual(read(new PacketReader(), `$g#${sum}`), [{ kind: 'damaged' }]);
  }
});

test('a packet that begins anew leaves the one before', () => {
  assert.deepEqual(read(new PacketReader(), '$gg$g#67'), [{ kind: 'packet', data: 'g' }]);
});

test('a packet of the greatest size is taken, and nothing after a larger one', () => {
  const most = 'x'.repeat(PACKET_MAX_BYTES);
  const packet = Buffer.from(packetOf(most)).toString('latin1');
  assert.deepEqual(read(new PacketReader(), packet), [{ kind: 'packet', data: most }]);
  assert.deepEqual(read(new PacketReader(), `$${most}x#00$g#67`), [{ kind: 'too-long' }]);
});

test('what is escaped comes back, and has no byte that means something', () => {
  const data = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte));
  assert.doesNotMatch(escaped(data).replaceAll(/\}./gs, ''), /[#$*}]/);
  assert.deepEqual([...(unescaped(escaped(data)) ?? [])], [...bytesOf(data)]);
  assert.equal(unescaped('a}'), undefined);
});
