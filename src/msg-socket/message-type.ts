/**
 * What a message type is: the TypeScript type of its values, their form on the wire, and how large that can be.
 *
 * Wire: fields follow each other without padding, little endian. Descriptors take no bytes; they travel beside them in the
 * order of the fields.
 */
import type { Fd } from '#sys/fd.ts';
import { MESSAGE_FDS_MAX } from '#sys/message.ts';
import { assert } from '#util/assert.ts';
import { isSize, KiB } from '#util/bits.ts';
import { viewOf } from '#util/struct.ts';
import { MsgError } from './errors.ts';

/** A third of what a socket's buffer has by default (net.core.wmem_default): a message always fits into an empty one. */
export const MESSAGE_BYTES_MAX = 64 * KiB;

/** A declared type. The functions of this layer make them; use `define` for one of your own. */
export interface MessageType<T> {
  /** The most bytes of a value on the wire. */
  readonly maxBytes: number;
  /** The most descriptors of a value. */
  readonly maxFds: number;
  /** u32: a hash of the declaration. Equal declarations have equal signatures. */
  readonly signature: number;
  /** A value may be undefined, so that the type cannot be optional once more. */
  readonly hasUndefined?: boolean;
  /** Appends a value. One that is not of the type is a programmer error: AssertionError. */
  write(out: MessageWriter, value: T): void;
  /** Takes a value. Throws MsgError for bytes that are none. */
  read(input: MessageReader): T;
  /** As `read`, into an object of the same type; a MsgError may leave it half overwritten. Structures have it. */
  readInto?(input: MessageReader, target: T): void;
}

export type ValueOf<M> = M extends MessageType<infer T> ? T : never;

/** Checks a declaration: a type without an upper limit in bytes and descriptors is a programmer error. */
export function define<T>(type: MessageType<T>): MessageType<T> {
  assert(isSize(type.maxBytes), 'a message type has a fixed upper limit in bytes');
  assert(type.maxBytes <= MESSAGE_BYTES_MAX, 'a message type has at most MESSAGE_BYTES_MAX bytes');
  assert(isSize(type.maxFds), 'a message type has a fixed upper limit in descriptors');
  assert(type.maxFds <= MESSAGE_FDS_MAX, 'a message type has at most MESSAGE_FDS_MAX descriptors');
  return type;
}

/** FNV-1a, 32 bits (draft-eastlake-fnv). */
export function signatureOf(declaration: string): number {
  let hash = 0x811c_9dc5;
  for (const byte of new TextEncoder().encode(declaration)) hash = Math.imul(hash ^ byte, 0x0100_0193);
  return hash >>> 0;
}

/** A message as it is written. Types write at `at` and move it on; room for `maxBytes` is there. */
export class MessageWriter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** Position in bytes. */
  at = 0;
  /** The descriptors so far; they are still the sender's. */
  readonly fds: Fd[] = [];

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
  }

  start(): void {
    this.at = 0;
    // Writing the length of an array costs a call into the engine, also when it is 0 already.
    if (this.fds.length > 0) this.fds.length = 0;
  }
}

/** A message as it is read. Types take bytes and descriptors; `finish` sees that nothing is left over. */
export class MessageReader {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  /** The descriptors that came with the message; nobody owns those that were not taken. */
  readonly rawFds: Int32Array;
  readonly #wrap: (fd: number) => Fd;
  #at = 0;
  #end = 0;
  #fdAt = 0;
  #fdEnd = 0;
  /** Those of the last message that were taken. */
  readonly fds: Fd[] = [];

  constructor(bytes: Uint8Array<ArrayBuffer>, rawFds: Int32Array, wrap: (fd: number) => Fd) {
    this.bytes = bytes;
    this.view = viewOf(bytes);
    this.rawFds = rawFds;
    this.#wrap = wrap;
  }

  /** Begins a message of the first `sizeBytes` bytes and the first `fdCount` descriptors. */
  start(sizeBytes: number, fdCount: number): void {
    this.#at = 0;
    this.#end = sizeBytes;
    this.#fdAt = 0;
    this.#fdEnd = fdCount;
    if (this.fds.length > 0) this.fds.length = 0;
  }

  /** The position of the next `sizeBytes` bytes, which are the caller's. Throws MsgError TOO_SHORT. */
  take(sizeBytes: number): number {
    const at = this.#at;
    if (sizeBytes > this.#end - at) {
      throw new MsgError('TOO_SHORT', `a message of ${this.#end} bytes ends within a value`);
    }
    this.#at = at + sizeBytes;
    return at;
  }

  /** The next descriptor. Throws MsgError WRONG_DESCRIPTORS. */
  takeFd(): Fd {
    if (this.#fdAt === this.#fdEnd) {
      throw new MsgError(
        'WRONG_DESCRIPTORS',
        `a message came with ${this.#fdEnd} descriptors and has more in its value`,
      );
    }
    const fd = this.#wrap(this.rawFds[this.#fdAt++] as number);
    this.fds.push(fd);
    return fd;
  }

  /** Throws MsgError when bytes (TOO_LONG) or descriptors (WRONG_DESCRIPTORS) are left over. */
  finish(): void {
    if (this.#at !== this.#end) {
      throw new MsgError('TOO_LONG', `a message of ${this.#end} bytes has its value in ${this.#at}`);
    }
    if (this.#fdAt !== this.#fdEnd) {
      throw new MsgError('WRONG_DESCRIPTORS', `a message came with ${this.#fdEnd} descriptors, not ${this.#fdAt}`);
    }
  }
}

/** Before every message: the signature of its type, so that a peer of another declaration is noticed, and no message empty. */
export const HEADER_SIZE_BYTES = 4;

/** Writes a whole message. `writer` has room for the header and the type's maximum. Returns the size in bytes. */
export function encodeMessage<T>(type: MessageType<T>, writer: MessageWriter, value: T): number {
  writer.start();
  writer.view.setUint32(0, type.signature, true);
  writer.at = HEADER_SIZE_BYTES;
  type.write(writer, value);
  assert(writer.at - HEADER_SIZE_BYTES <= type.maxBytes, 'no more bytes than the type says');
  assert(writer.fds.length <= type.maxFds, 'no more descriptors than the type says');
  return writer.at;
}

/** Takes the header. Throws MsgError: TOO_SHORT, WRONG_KIND. */
export function takeHeader<T>(type: MessageType<T>, reader: MessageReader): void {
  const signature = reader.view.getUint32(reader.take(HEADER_SIZE_BYTES), true);
  if (signature !== type.signature) throw new MsgError('WRONG_KIND', 'a message of another declaration');
}

/** Reads a whole message, which the reader has started. Throws MsgError. */
export function decodeMessage<T>(type: MessageType<T>, reader: MessageReader): T {
  takeHeader(type, reader);
  const value = type.read(reader);
  reader.finish();
  return value;
}
