/** Values of declared types as bytes of their own, for a message whose declaration does not know them: a layer below passes on what it need not read. */
import { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import {
  decodeMessage,
  encodeMessage,
  HEADER_SIZE_BYTES,
  MessageReader,
  type MessageType,
  MessageWriter,
} from './message-type.ts';

/** The bytes that `decodeBytes` with the same type makes the value of. The type has no descriptors. */
export function encodeBytes<T>(type: MessageType<T>, value: T): Uint8Array {
  assert(type.maxFds === 0, 'a type without descriptors');
  const writer = new MessageWriter(new Uint8Array(HEADER_SIZE_BYTES + type.maxBytes));
  return writer.bytes.subarray(0, encodeMessage(type, writer, value));
}

/** Throws MsgError for bytes of another type, or of no value. */
export function decodeBytes<T>(type: MessageType<T>, bytes: Uint8Array): T {
  assert(type.maxFds === 0, 'a type without descriptors');
  const reader = new MessageReader(Uint8Array.from(bytes), NO_FDS, (fd) => new Fd(fd));
  reader.start(bytes.length, 0);
  return decodeMessage(type, reader);
}

const NO_FDS = new Int32Array(0);
