import type { ByteSink } from '#devices/legacy/byte-sink.ts';
import type { ConsoleOutput } from '#devices/virtio/console/console-port.ts';

/** So much waits for a slow reader; whoever goes on beyond has as much again, and then bytes are lost, as in a UART without flow control. */
const FULL_BYTES = 64 * 1024;
const BUFFER_BYTES = 2 * FULL_BYTES;
/** PIPE_BUF of Linux: a pipe takes it whole or not at all. */
const PIECE_BYTES = 4096;

/** Bytes on their way to an output that does not block. */
export class OutputBuffer implements ByteSink {
  readonly #output: ConsoleOutput;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  #start = 0;
  #end = 0;

  constructor(output: ConsoleOutput) {
    this.#output = output;
  }

  get isWaiting(): boolean {
    return this.#end > this.#start;
  }

  get isFull(): boolean {
    return this.#end - this.#start >= FULL_BYTES;
  }

  write(byte: number): void {
    if (this.#end === BUFFER_BYTES && this.#start > 0) this.#moveToFront();
    if (this.#end < BUFFER_BYTES) this.#bytes[this.#end++] = byte;
  }

  /** As far as the output takes it now. */
  writeOut(): void {
    while (this.isWaiting) {
      const count = this.#output.write(
        this.#bytes.subarray(this.#start, Math.min(this.#start + PIECE_BYTES, this.#end)),
      );
      if (count === 0) return;
      this.#start += count;
    }
    this.#start = 0;
    this.#end = 0;
  }

  #moveToFront(): void {
    this.#bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}
