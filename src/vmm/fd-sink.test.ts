import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EventFd } from '#poll/event-fd.ts';
import { Fd } from '#sys/fd.ts';
import { read } from '#sys/file.ts';
import { SocketType, socketpair } from '#sys/socket.ts';
import type { SyscallError } from '#sys/syscall-error.ts';
import { FdSink, OUTPUT_STATE_BYTES, panicStateOf } from './fd-sink.ts';
import { PanicWatch } from './panic-watch.ts';
import type { OutputDescription } from './serial-output.ts';

class Port implements Disposable {
  readonly #owned = new DisposableStack();
  readonly output: OutputDescription;
  readonly reader: Fd;
  readonly failures: SyscallError[] = [];
  readonly #stop = this.#owned.use(EventFd.create());

  constructor() {
    const [reader, writer] = socketpair(SocketType.STREAM);
    this.reader = this.#owned.use(new Fd(reader));
    const state = new SharedArrayBuffer(OUTPUT_STATE_BYTES);
    this.output = { fd: this.#owned.use(new Fd(writer)).fd, kind: 'socket', state };
  }

  /** The sink of a thread of its own. */
  sink(): FdSink {
    const { output } = this;
    return this.#owned.use(new FdSink({ output, stop: this.#stop, onFailure: (error) => this.failures.push(error) }));
  }

  received(sizeBytes: number): string {
    const bytes = new Uint8Array(sizeBytes);
    const count = read(this.reader.fd, bytes);
    return Buffer.from(bytes.subarray(0, count)).toString('latin1');
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}

const write = (sink: { write(byte: number): void }, text: string): void => {
  for (const byte of Buffer.from(text, 'latin1')) sink.write(byte);
};

describe('the output of a port that several threads write to', () => {
  test('comes in the order of the writes, whichever thread passes it on', () => {
    using port = new Port();
    const [first, second] = [port.sink(), port.sink()];
    write(first, 'one ');
    write(second, 'two ');
    write(first, 'three');
    second.flush();
    assert.equal(port.received(64), 'one two three');
    first.flush();
    write(first, '.');
    first.flush();
    assert.equal(port.received(64), '.');
  });

  test('is passed on when the buffer is full, without being asked', () => {
    using port = new Port();
    const [first, second] = [port.sink(), port.sink()];
    write(first, 'x'.repeat(4000));
    write(second, 'y'.repeat(100));
    assert.equal(port.received(8192), `${'x'.repeat(4000)}${'y'.repeat(96)}`);
  });

  test('a failure is told once, and what comes after is dropped', () => {
    using port = new Port();
    const [first, second] = [port.sink(), port.sink()];
    port.reader.close();
    write(first, 'lost');
    first.flush();
    write(second, 'lost too');
    second.flush();
    assert.deepEqual(
      port.failures.map(({ code }) => code),
      ['EPIPE'],
    );
  });

  test("the kernel's last words are seen when two threads say them", () => {
    using port = new Port();
    let panics = 0;
    const watch = () => new PanicWatch(port.sink(), () => panics++, panicStateOf(port.output));
    const [first, second] = [watch(), watch()];
    write(first, 'Kernel panic - not');
    assert.equal(panics, 0);
    write(second, ' syncing: VFS');
    assert.equal(panics, 1);
  });
});
