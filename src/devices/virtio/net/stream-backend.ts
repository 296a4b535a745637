/** Frames over a Unix stream socket, as QEMU's stream netdev and passt(1) speak: each behind its length, 4 bytes big endian. */
import type { Fd } from '#sys/fd.ts';
import { addressOf } from '#sys/ffi.ts';
import { tryRead } from '#sys/file.ts';
import { trySend } from '#sys/socket.ts';
import { SyscallError } from '#sys/syscall-error.ts';
import { KiB } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import type { NetBackend, NetEnd } from './backend.ts';
import { FRAME_BYTES_MIN, HEADER_BYTES } from './constants.ts';

const LENGTH_BYTES = 4;
/** More than this passt takes for an error and closes the connection (ETH_MAX_MTU in its tap.c): the guest must not bring that about. */
export const STREAM_FRAME_BYTES_MAX = 0xffff;
/** The header is made over the length and what lies before it, which has been handed out. */
const MARGIN_BYTES = HEADER_BYTES - LENGTH_BYTES;
/** What one read takes at most, many frames: more than the largest, so that it comes together. */
const INPUT_BYTES = 256 * KiB;

export class StreamBackend implements NetBackend {
  /** The peer's frames are complete and of ordinary size. */
  readonly features = 0n;
  readonly #socket: Fd;
  readonly #input = new Uint8Array(INPUT_BYTES);
  readonly #inputView = viewOf(this.#input);
  readonly #inputAddress = addressOf(this.#input);
  /** What the socket did not take of a frame that it took the beginning of, from `outputStart` to `outputStop`. */
  readonly #output = new Uint8Array(LENGTH_BYTES + STREAM_FRAME_BYTES_MAX);
  #packet: Uint8Array | undefined;
  #wire: Uint8Array = new Uint8Array(0);
  #wireView = viewOf(this.#wire);
  /** Bytes that were read and not handed out lie from `start` to `stop`. */
  #start = MARGIN_BYTES;
  #stop = MARGIN_BYTES;
  #outputStart = 0;
  #outputStop = 0;
  #end: NetEnd | undefined;

  /** Takes over the descriptor of a connected stream socket. */
  constructor(socket: Fd) {
    this.#socket = socket;
  }

  get fd(): number {
    return this.#socket.fd;
  }

  get end(): NetEnd | undefined {
    return this.#end;
  }

  useFeatures(_bits: bigint): void {}

  /** It is the only one of its interface. */
  setActive(_isActive: boolean): void {}

  receive(): Uint8Array | undefined {
    const length = this.#nextLength();
    if (length === undefined) return undefined;
    const frame = this.#start + LENGTH_BYTES;
    this.#start = frame + length;
    this.#input.fill(0, frame - HEADER_BYTES, frame);
    return this.#input.subarray(frame - HEADER_BYTES, frame + length);
  }

  send(packet: Uint8Array, sizeBytes: number): boolean {
    const length = sizeBytes - HEADER_BYTES;
    if (this.#end !== undefined || length > STREAM_FRAME_BYTES_MAX) return true;
    if (!this.flush()) return false;
    const wire = this.#wireOf(packet);
    const wireBytes = LENGTH_BYTES + length;
    this.#wireView.setUint32(0, length);
    try {
      const sent = trySend(this.fd, wire, wireBytes);
      if (sent === undefined) return false;
      if (sent < wireBytes) {
        this.#output.set(wire.subarray(sent, wireBytes));
        this.#outputStart = 0;
        this.#outputStop = wireBytes - sent;
      }
    } catch (error) {
      this.#failFor(error);
    }
    return true;
  }

  flush(): boolean {
    while (this.#outputStart < this.#outputStop) {
      const start = this.#outputStart;
      const rest = start === 0 ? this.#output : this.#output.subarray(start);
      try {
        const sent = trySend(this.fd, rest, this.#outputStop - start);
        if (sent === undefined) return false;
        this.#outputStart += sent;
      } catch (error) {
        this.#failFor(error);
        return true;
      }
    }
    return true;
  }

  keepFds(): readonly number[] {
    return [this.fd];
  }

  /** The packet from where its length goes: over the end of its header. Packets come in the same buffer, whose view is kept. */
  #wireOf(packet: Uint8Array): Uint8Array {
    if (packet !== this.#packet) {
      this.#packet = packet;
      this.#wire = packet.subarray(MARGIN_BYTES);
      this.#wireView = viewOf(this.#wire);
    }
    return this.#wire;
  }

  /** The length of the next frame, all of which is here; undefined when it is not. Reads once, when it has to. */
  #nextLength(): number | undefined {
    for (let mayRead = true; ; mayRead = false) {
      const available = this.#stop - this.#start;
      let wanted = LENGTH_BYTES;
      if (available >= LENGTH_BYTES) {
        const length = this.#inputView.getUint32(this.#start);
        if (length < FRAME_BYTES_MIN || length > STREAM_FRAME_BYTES_MAX) {
          this.#fail(`it sent a frame of ${length} bytes`);
          return undefined;
        }
        wanted += length;
        if (available >= wanted) return length;
      }
      if (!mayRead || this.#end !== undefined || !this.#fill()) return undefined;
    }
  }

  /** Reads what there is behind what is left; false when there is nothing. */
  #fill(): boolean {
    const left = this.#stop - this.#start;
    // A beginning of a frame goes to the front: at most one, and what was handed out is no longer valid.
    if (left > 0) this.#input.copyWithin(MARGIN_BYTES, this.#start, this.#stop);
    this.#start = MARGIN_BYTES;
    this.#stop = MARGIN_BYTES + left;
    try {
      const count = tryRead(this.fd, this.#inputAddress + this.#stop, INPUT_BYTES - this.#stop);
      if (count === undefined) return false;
      if (count === 0) this.#fail('it closed the connection');
      else this.#stop += count;
      return count > 0;
    } catch (error) {
      this.#failFor(error);
      return false;
    }
  }

  #failFor(error: unknown): void {
    if (!(error instanceof SyscallError)) throw error;
    this.#fail(error.message);
  }

  #fail(reason: NetEnd): void {
    this.#end = reason;
    this.#start = MARGIN_BYTES;
    this.#stop = MARGIN_BYTES;
    this.#outputStart = this.#outputStop;
  }
}
