/** Cases and results as bytes on a pipe, little-endian: a message is its length, a count, and that many records. */
import { type CaseResult, type Patch, STATE, type TestCase, userState } from './case.ts';

/** The largest message that is believed. */
const MAX_MESSAGE_BYTES = 256 * 2 ** 20;

/** A growing buffer; every record begins at a multiple of 8 so that states can be viewed in place. */
class Writer {
  #bytes = new Uint8Array(2 ** 20);
  #view = new DataView(this.#bytes.buffer);
  #at = 8;

  #reserve(sizeBytes: number): number {
    const at = this.#at;
    this.#at += sizeBytes;
    if (this.#at > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#at);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u16(value: number): void {
    const at = this.#reserve(2); // first: it may replace the view
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, value, true);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** A count of bytes, the bytes. */
  blob(bytes: Uint8Array): void {
    this.u16(bytes.length);
    this.raw(bytes);
  }

  patches(patches: readonly Patch[]): void {
    this.u16(patches.length);
    for (const { offset, bytes } of patches) {
      this.u16(offset);
      this.blob(bytes);
    }
  }

  align(): void {
    this.#reserve(-this.#at & 7);
  }

  finish(count: number): Uint8Array<ArrayBuffer> {
    this.#view.setUint32(0, this.#at - 4, true);
    this.#view.setUint32(4, count, true);
    return this.#bytes.subarray(0, this.#at);
  }
}

/** Reads a message without its length word. The buffer's bounds are checked by the views themselves. */
class Reader {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u16(): number {
    this.#at += 2;
    return this.#view.getUint16(this.#at - 2, true);
  }

  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  u64(): bigint {
    this.#at += 8;
    return this.#view.getBigUint64(this.#at - 8, true);
  }

  raw(sizeBytes: number): Uint8Array<ArrayBuffer> {
    this.#at += sizeBytes;
    return this.#bytes.slice(this.#at - sizeBytes, this.#at);
  }

  blob(): Uint8Array<ArrayBuffer> {
    return this.raw(this.u16());
  }

  patches(): Patch[] {
    return Array.from({ length: this.u16() }, () => ({ offset: this.u16(), bytes: this.blob() }));
  }

  align(): void {
    this.#at += (4 - this.#at) & 7; // the length word is not part of the buffer
  }
}

/** Gathers the pieces of a stream into messages. */
export class Messages {
  #pending: Uint8Array<ArrayBuffer>[] = [];
  #sizeBytes = 0;

  add(piece: Uint8Array): void {
    this.#pending.push(new Uint8Array(piece));
    this.#sizeBytes += piece.length;
  }

  /** The next whole message (without its length word), or null. Throws RangeError on a senseless length. */
  next(): Uint8Array<ArrayBuffer> | null {
    if (this.#sizeBytes < 4) return null;
    const head = this.#pending[0] as Uint8Array<ArrayBuffer>;
    if (head.length < 4) this.#join();
    const first = this.#pending[0] as Uint8Array<ArrayBuffer>;
    const sizeBytes = 4 + new DataView(first.buffer, first.byteOffset).getUint32(0, true);
    if (sizeBytes > MAX_MESSAGE_BYTES) throw new RangeError(`a message of ${sizeBytes} bytes`);
    if (this.#sizeBytes < sizeBytes) return null;
    this.#join();
    const whole = this.#pending[0] as Uint8Array<ArrayBuffer>;
    this.#pending = [whole.slice(sizeBytes)];
    this.#sizeBytes -= sizeBytes;
    return whole.slice(4, sizeBytes);
  }

  #join(): void {
    const whole = new Uint8Array(this.#sizeBytes);
    let at = 0;
    for (const piece of this.#pending) {
      whole.set(piece, at);
      at += piece.length;
    }
    this.#pending = [whole];
  }
}

export function encodeCases(cases: readonly TestCase[]): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  for (const { code, state, patches, bits } of cases) {
    writer.align();
    writer.raw(state.bytes);
    writer.u16(bits);
    writer.blob(code);
    writer.patches(patches);
  }
  return writer.finish(cases.length);
}

export function decodeCases(message: Uint8Array<ArrayBuffer>): TestCase[] {
  const reader = new Reader(message);
  const count = reader.u32();
  return Array.from({ length: count }, (_, i) => {
    reader.align();
    const state = userState(reader.raw(STATE.SIZE));
    const bits = reader.u16() === 32 ? 32 : 64;
    return { name: `${i}`, mnemonic: '', bits, state, code: reader.blob(), patches: reader.patches(), details: null };
  });
}

const NO_EXCEPTION = 0xffff_ffff;

export function encodeResults(results: readonly CaseResult[]): Uint8Array<ArrayBuffer> {
  const writer = new Writer();
  for (const { state, changes, exception } of results) {
    writer.align();
    writer.raw(state.bytes);
    writer.u64(exception?.address ?? 0n);
    writer.u32(exception?.vector ?? NO_EXCEPTION);
    writer.u32(exception?.errorCode ?? 0);
    writer.patches(changes);
  }
  return writer.finish(results.length);
}

export function decodeResults(message: Uint8Array<ArrayBuffer>): CaseResult[] {
  const reader = new Reader(message);
  const count = reader.u32();
  return Array.from({ length: count }, () => {
    reader.align();
    const state = userState(reader.raw(STATE.SIZE));
    const address = reader.u64();
    const vector = reader.u32();
    const errorCode = reader.u32();
    const exception = vector === NO_EXCEPTION ? null : { vector, errorCode, address };
    return { state, exception, changes: reader.patches(), failure: null };
  });
}
