import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Fd, openPipe } from '#sys/fd.ts';
import { OpenFlag, tryRead } from '#sys/file.ts';
import { Shutdown, SocketType, shutdown, socketpair } from '#sys/socket.ts';
import type { Log } from '#util/log.ts';
import { silentLog } from '../testing/fakes.ts';
import { FdInput, FdOutput } from './host-ends.ts';

const PIECE = new Uint8Array(4096).fill(0x61);

function recordedLog(): { readonly log: Log; readonly messages: string[] } {
  const messages: string[] = [];
  const record = (message: string): void => void messages.push(message);
  return { log: { ...silentLog, error: record, warn: record }, messages };
}

/** A stream socket's two ends, ours and the peer's. */
function stream(): { readonly ours: Fd; readonly peer: Fd } {
  const [ours, peer] = socketpair(SocketType.STREAM | SocketType.NONBLOCK);
  return { ours: new Fd(ours), peer: new Fd(peer) };
}

/** Writes until there is no room; how much there was. */
function fill(output: FdOutput): number {
  for (let sizeBytes = 0; ; ) {
    const count = output.write(PIECE);
    if (count === 0) return sizeBytes;
    sizeBytes += count;
  }
}

describe('output to a descriptor', () => {
  for (const { what, flags, kind } of [
    { what: 'a pipe that does not block', flags: OpenFlag.NONBLOCK, kind: 'file' },
    { what: 'a pipe that blocks', flags: 0, kind: 'blocking' },
  ] as const) {
    test(`does not wait for the reader of ${what}`, () => {
      const ends = openPipe(flags);
      using reader = ends.reader;
      using writer = ends.writer;
      const output = new FdOutput(writer, kind, silentLog);
      assert.ok(fill(output) > 0);
      assert.equal(tryRead(reader.fd, new Uint8Array(PIECE.length)), PIECE.length);
      assert.equal(output.write(PIECE), PIECE.length);
      assert.equal(output.isClosed, false);
    });
  }

  test('does not wait for a peer, and drops what comes once he is gone, which is told once', () => {
    const { ours, peer } = stream();
    using _ours = ours;
    const { log, messages } = recordedLog();
    const output = new FdOutput(ours, 'socket', log);
    assert.ok(fill(output) > 0);
    peer.close();
    assert.deepEqual([output.write(PIECE), output.write(PIECE)], [PIECE.length, PIECE.length]);
    assert.deepEqual([output.isClosed, messages.length], [true, 1]);
    assert.match(messages[0] ?? '', /^output failed: .*EPIPE/);
  });

  test('a peer who has ended his own direction alone is there still', () => {
    const { ours, peer } = stream();
    using _ours = ours;
    const output = new FdOutput(ours, 'socket', silentLog);
    shutdown(peer.fd, Shutdown.WRITE);
    output.checkPeer();
    assert.equal(output.isClosed, false);
    peer.close();
    output.checkPeer();
    assert.equal(output.isClosed, true);
  });
});

test('input tells nothing now from its end', () => {
  const { ours, peer } = stream();
  using _ours = ours;
  const input = new FdInput(ours, silentLog);
  const target = new Uint8Array(8);
  assert.equal(input.read(target), undefined);
  peer.close();
  assert.equal(input.read(target), 0);
});
