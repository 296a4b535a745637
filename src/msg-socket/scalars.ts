/** Message types of one value: integers, truth, nothing, descriptors; bytes and text with a stated maximum. */
import type { Fd } from '#sys/fd.ts';
import { assert } from '#util/assert.ts';
import { high32, isSize, low32 } from '#util/bits.ts';
import { MsgError } from './errors.ts';
import { define, type MessageReader, type MessageType, type MessageWriter, signatureOf } from './message-type.ts';

export const u8: MessageType<number> = define({
  maxBytes: 1,
  maxFds: 0,
  signature: signatureOf('u8'),
  write(out, value) {
    assert((value & 0xff) === value, 'a u8');
    out.view.setUint8(out.at++, value);
  },
  read: (input) => input.view.getUint8(input.take(1)),
});

export const u16: MessageType<number> = define({
  maxBytes: 2,
  maxFds: 0,
  signature: signatureOf('u16'),
  write(out, value) {
    assert((value & 0xffff) === value, 'a u16');
    out.view.setUint16(out.at, value, true);
    out.at += 2;
  },
  read: (input) => input.view.getUint16(input.take(2), true),
});

export const u32: MessageType<number> = define({
  maxBytes: 4,
  maxFds: 0,
  signature: signatureOf('u32'),
  write(out, value) {
    assert(value >>> 0 === value, 'a u32');
    out.view.setUint32(out.at, value, true);
    out.at += 4;
  },
  read: (input) => input.view.getUint32(input.take(4), true),
});

export const u64: MessageType<bigint> = define({
  maxBytes: 8,
  maxFds: 0,
  signature: signatureOf('u64'),
  write(out, value) {
    assert(value >= 0n && value < 2n ** 64n, 'a u64');
    out.view.setBigUint64(out.at, value, true);
    out.at += 8;
  },
  read: (input) => input.view.getBigUint64(input.take(8), true),
});

/** An address, offset or size up to 2^53 - 1, without a BigInt; more is refused on both sides. On the wire a u64. */
export const u64AsNumber: MessageType<number> = define({
  maxBytes: 8,
  maxFds: 0,
  signature: signatureOf('u64AsNumber'),
  write(out, value) {
    assert(isSize(value), 'an integer from 0 to 2^53 - 1');
    out.view.setUint32(out.at, low32(value), true);
    out.view.setUint32(out.at + 4, high32(value), true);
    out.at += 8;
  },
  read(input) {
    const at = input.take(8);
    const value = input.view.getUint32(at + 4, true) * 2 ** 32 + input.view.getUint32(at, true);
    if (!Number.isSafeInteger(value)) throw new MsgError('BAD_VALUE', 'a number of 2^53 or more');
    return value;
  },
});

export const bool: MessageType<boolean> = define({
  maxBytes: 1,
  maxFds: 0,
  signature: signatureOf('bool'),
  write(out, value) {
    assert(typeof value === 'boolean', 'a boolean');
    out.view.setUint8(out.at++, value ? 1 : 0);
  },
  read: readBool,
});

/** One byte, 0 or 1. */
export function readBool(input: MessageReader): boolean {
  const value = input.view.getUint8(input.take(1));
  if (value > 1) throw new MsgError('BAD_VALUE', `a boolean of ${value}`);
  return value === 1;
}

/** No value: the request or response that says nothing but its name. */
export const unit: MessageType<void> = define<void>({
  maxBytes: 0,
  maxFds: 0,
  signature: signatureOf('unit'),
  hasUndefined: true,
  write: () => undefined,
  read: () => undefined,
});

/** No message at all: the direction in which a socket is not used. */
export const nothing: MessageType<never> = define<never>({
  maxBytes: 0,
  maxFds: 0,
  signature: signatureOf('nothing'),
  write: () => assert(false, 'nothing is sent in this direction'),
  read: () => {
    throw new MsgError('WRONG_KIND', 'a message where none is expected');
  },
});

/**
 * An open descriptor, which the receiver gets as its own, closed on exec. Sending passes the ownership: the Fd of the sender
 * is closed by the call, also when the call fails. Who wants to keep it sends `fd.duplicate()`. The receiver closes what it gets.
 */
export const descriptor: MessageType<Fd> = define({
  maxBytes: 0,
  maxFds: 1,
  signature: signatureOf('descriptor'),
  write(out, value) {
    assert(value.isOpen, 'an open descriptor');
    out.fds.push(value);
  },
  read: (input) => input.takeFd(),
});

/** One of up to 256 stated values, by its place among them. */
export function oneOf<const T extends string | number>(values: readonly T[]): MessageType<T> {
  assert(values.length > 0 && values.length <= 256, '1 to 256 values');
  return define<T>({
    maxBytes: 1,
    maxFds: 0,
    signature: signatureOf(`oneOf ${JSON.stringify(values)}`),
    write(out, value) {
      const place = values.indexOf(value);
      assert(place >= 0, 'one of the stated values');
      out.view.setUint8(out.at++, place);
    },
    read(input) {
      const place = input.view.getUint8(input.take(1));
      const value = values[place];
      if (value === undefined) throw new MsgError('BAD_VALUE', `value ${place} where there are ${values.length}`);
      return value;
    },
  });
}

/** How many bytes a length of up to `max` takes. */
export function lengthSizeBytes(max: number): 1 | 2 | 4 {
  if (max <= 0xff) return 1;
  return max <= 0xffff ? 2 : 4;
}

const lengthTypes = { 1: u8, 2: u16, 4: u32 } as const;

/** Writing and reading a length of up to `max`, in as few bytes as that takes. */
export function lengthCodec(max: number) {
  assert(isSize(max), 'a stated maximum');
  const sizeBytes = lengthSizeBytes(max);
  const type = lengthTypes[sizeBytes];
  return {
    sizeBytes,
    write: (out: MessageWriter, length: number) => type.write(out, length),
    /** Throws MsgError BAD_VALUE. */
    read(input: MessageReader): number {
      const length = type.read(input);
      if (length > max) throw new MsgError('BAD_VALUE', `a length of ${length} where ${max} is the maximum`);
      return length;
    },
  };
}

/** Exactly `length` bytes. Reading makes a copy. */
export function fixedBytes(length: number): MessageType<Uint8Array> {
  return define({
    maxBytes: length,
    maxFds: 0,
    signature: signatureOf(`fixedBytes ${length}`),
    write(out, value) {
      assert(value.length === length, 'as many bytes as the type says');
      out.bytes.set(value, out.at);
      out.at += length;
    },
    read(input) {
      const at = input.take(length);
      return input.bytes.slice(at, at + length);
    },
  });
}

/** Up to `max` bytes. Reading makes a copy. */
export function bytesUpTo(max: number): MessageType<Uint8Array> {
  const length = lengthCodec(max);
  return define({
    maxBytes: length.sizeBytes + max,
    maxFds: 0,
    signature: signatureOf(`bytesUpTo ${max}`),
    write(out, value) {
      assert(value.length <= max, 'no more bytes than the type says');
      length.write(out, value.length);
      out.bytes.set(value, out.at);
      out.at += value.length;
    },
    read(input) {
      const size = length.read(input);
      const at = input.take(size);
      return input.bytes.slice(at, at + size);
    },
  });
}

const encoder = new TextEncoder();
// A byte order mark is a character like any other here: what was sent arrives.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Well-formed text of up to `maxBytes` bytes in UTF-8. `fitText` makes any text fit. */
export function textUpTo(maxBytes: number): MessageType<string> {
  const length = lengthCodec(maxBytes);
  return define({
    maxBytes: length.sizeBytes + maxBytes,
    maxFds: 0,
    signature: signatureOf(`textUpTo ${maxBytes}`),
    write(out, value) {
      assert(value.isWellFormed(), 'well-formed text');
      const start = out.at + length.sizeBytes;
      const { read, written } = encoder.encodeInto(value, out.bytes.subarray(start, start + maxBytes));
      assert(read === value.length, 'no more text than the type says');
      length.write(out, written);
      out.at += written;
    },
    read(input) {
      const size = length.read(input);
      const at = input.take(size);
      try {
        return decoder.decode(input.bytes.subarray(at, at + size));
      } catch (cause) {
        throw new MsgError('BAD_VALUE', 'text that is not UTF-8', { cause });
      }
    },
  });
}

/** The longest beginning of `text` that takes up to `maxBytes` bytes in UTF-8, made well-formed. */
export function fitText(text: string, maxBytes: number): string {
  const wellFormed = text.toWellFormed();
  const { read } = encoder.encodeInto(wellFormed, new Uint8Array(maxBytes));
  return wellFormed.slice(0, read);
}
