import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fd } from '#sys/fd.ts';
import { setNonBlocking, tryRead, writeAll } from '#sys/file.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import { HEADER_BYTES } from './constants.ts';
import { STREAM_FRAME_BYTES_MAX as FRAME_BYTES_MAX, StreamBackend } from './stream-backend.ts';

function create() {
  const [ours, theirs] = socketpair(SocketType.STREAM);
  const socket = new Fd(ours);
  setNonBlocking(ours, true);
  const peer = new Fd(theirs);
  const dispose = () => {
    peer[Symbol.dispose]();
    socket.close();
  };
  return { backend: new StreamBackend(socket), peer, [Symbol.dispose]: dispose };
}

const frameOf = (sizeBytes: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length: sizeBytes }, (_, at) => at + seed);
const encode = (frame: Uint8Array, length = frame.length): Uint8Array => {
  const bytes = new Uint8Array(4 + frame.length);
  new DataView(bytes.buffer).setUint32(0, length);
  bytes.set(frame, 4);
  return bytes;
};
const withHeader = (frame: Uint8Array): Uint8Array => Uint8Array.from([...new Uint8Array(HEADER_BYTES), ...frame]);

describe('frames over a stream', () => {
  test('come one after the other behind a header of zeros, however they were cut', () => {
    using all = create();
    const frames = [frameOf(14), frameOf(60, 9), frameOf(1514, 3)];
    const bytes = Buffer.concat(frames.map((frame) => encode(frame)));
    const got: Uint8Array[] = [];
    for (const [start, stop] of [
      [0, 2],
      [2, 10],
      [10, 90],
      [90, bytes.length],
    ] as const) {
      writeAll(all.peer.fd, bytes.subarray(start, stop));
      for (let packet = all.backend.receive(); packet; packet = all.backend.receive()) got.push(packet.slice());
    }
    assert.deepEqual(got, frames.map(withHeader));
    assert.equal(all.backend.end, undefined);
  });

  test('are sent behind their length', () => {
    using all = create();
    assert.equal(all.backend.send(withHeader(frameOf(70)), HEADER_BYTES + 60), true);
    const bytes = new Uint8Array(200);
    assert.equal(tryRead(all.peer.fd, bytes), 64);
    assert.deepEqual(bytes.slice(0, 64), encode(frameOf(60)));
  });

  test('that are too large for the peer are not sent', () => {
    using all = create();
    const packet = withHeader(frameOf(FRAME_BYTES_MAX + 1));
    assert.equal(all.backend.send(packet, packet.length), true);
    setNonBlocking(all.peer.fd, true);
    assert.equal(tryRead(all.peer.fd, new Uint8Array(4)), undefined);
  });

  test('wait when the peer is slow, and arrive whole', () => {
    using all = create();
    const packet = withHeader(frameOf(FRAME_BYTES_MAX));
    let sent = 0;
    while (all.backend.send(packet, packet.length)) sent += 1;
    assert.ok(sent > 0 && !all.backend.flush());
    const bytes = new Uint8Array(sent * (FRAME_BYTES_MAX + 4));
    let size = 0;
    while (size < bytes.length) {
      size += tryRead(all.peer.fd, bytes.subarray(size)) ?? 0;
      all.backend.flush();
    }
    assert.ok(all.backend.flush());
    const expected = Buffer.concat(Array.from({ length: sent }, () => encode(frameOf(FRAME_BYTES_MAX))));
    assert.ok(expected.equals(bytes));
  });

  for (const length of [0, 13, FRAME_BYTES_MAX + 1, 0xffff_ffff]) {
    test(`of ${length} bytes are none: the peer is given up`, () => {
      using all = create();
      writeAll(all.peer.fd, encode(frameOf(20), length));
      assert.equal(all.backend.receive(), undefined);
      assert.equal(all.backend.end, `it sent a frame of ${length} bytes`);
      assert.equal(all.backend.receive(), undefined);
      assert.equal(all.backend.send(withHeader(frameOf(20)), 32), true);
    });
  }

  test('the largest is received', () => {
    using all = create();
    const bytes = encode(frameOf(FRAME_BYTES_MAX));
    writeAll(all.peer.fd, bytes);
    assert.deepEqual(all.backend.receive(), withHeader(frameOf(FRAME_BYTES_MAX)));
  });

  test('end with the connection, in both directions', () => {
    using all = create();
    writeAll(all.peer.fd, encode(frameOf(14)));
    all.peer.close();
    assert.equal(all.backend.send(withHeader(frameOf(20)), 32), true);
    assert.match(all.backend.end ?? '', /EPIPE/);
  });

  test('that were sent before the end still come', () => {
    using all = create();
    writeAll(all.peer.fd, Buffer.concat([encode(frameOf(14)), encode(frameOf(15))]));
    all.peer.close();
    assert.equal(all.backend.receive()?.length, 26);
    assert.equal(all.backend.receive()?.length, 27);
    assert.equal(all.backend.receive(), undefined);
    assert.equal(all.backend.end, 'it closed the connection');
  });
});
